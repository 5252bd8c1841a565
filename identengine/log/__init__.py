"""The server's log: its events, its two output formats, and the limit on repeated rejects.

Rule: each event is defined once, in :mod:`~identengine.log.events`. No other module writes the text of a line.
"""
