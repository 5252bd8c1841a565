"""The processes of ``serve``: the supervisor, the decider and the HTTP process, and the link between them.

None of the three imports another; :mod:`serve` puts them together.
"""
