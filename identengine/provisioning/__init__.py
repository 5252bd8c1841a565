"""Operations on the book for operators: find, list and edit clients, accounts and DIDs.

The command line uses this package, and HTTP will. Rule: it prints nothing and knows no
commands or protocols.
"""
