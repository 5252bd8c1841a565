"""Identification: the index of one version of the book, and the matching of requests (engine.md 3, 4).

Rule: no I/O, no clock. Only :mod:`~identengine.identify.index` uses pytricia.
"""
