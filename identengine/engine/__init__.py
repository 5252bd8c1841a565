"""One authorization from start to end (engine.md 6).

:mod:`~identengine.engine.core` has the order of its steps.
"""
