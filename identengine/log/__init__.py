"""What the server writes to its log: events with fields, where they go, and how often rejects may be repeated.

Rule: each event is defined once, in :mod:`~identengine.log.events`. No other module chooses its words.
"""
