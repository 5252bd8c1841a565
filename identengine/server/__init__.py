"""The processes of ``serve``: the supervisor, the decider and the HTTP process, and the link between them.

Rule: none of the three imports another. :mod:`identengine.server.serve` connects them.
"""
