"""The process that holds the sockets and keeps the others running.

Rule: no event loop, no book and no set of calls here. The code of the children comes as
:class:`~identengine.server.link.Entries`, so that nothing here imports it.
"""
