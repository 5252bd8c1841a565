"""The decider: the process that has the book, the set of calls and the listeners, and that decides every request.

Rule: it has one thread and one event loop. Long work is done in short steps, and requests are decided between
them.
"""
