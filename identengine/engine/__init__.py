"""One authorization from start to end (engine.md 6), and the messages of a call's life (engine.md 5).

:meth:`identengine.engine.core.Engine._authorize` holds the order of the steps. Rule: no I/O and no clock; the time
is an argument.
"""
