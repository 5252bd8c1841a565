"""The process that decides: listeners, the book that it follows, the set of calls, reports."""
