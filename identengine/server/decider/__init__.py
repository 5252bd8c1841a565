"""The process that decides: listeners, the book that it follows, the set of calls, reports.

Rule: one thread and one event loop. Long work is done in short steps, between which requests are decided.
"""
