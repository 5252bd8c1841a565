"""The records of the book and of a request, and their normal forms: plain data and pure functions.

No module in this package uses a store, an index, a socket or a clock. Names are those of the specification.
"""
