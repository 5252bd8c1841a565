"""One authorization from start to end (engine.md 6).

:meth:`identengine.engine.core.Engine._authorize` holds the order of its steps.
"""
