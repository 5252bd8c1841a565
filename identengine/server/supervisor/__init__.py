"""The supervisor: the process that holds the sockets and keeps the other processes running.

Rule: it has no event loop, no book and no set of calls. It imports no code of its children; that code comes as
:class:`~identengine.server.link.Entries`.
"""
