"""Whose call is it: the index of one version of the book, and the matching (engine.md 3, 4).

No I/O, no clock. pytricia is used in :mod:`~identengine.identify.index` and nowhere else.
"""
