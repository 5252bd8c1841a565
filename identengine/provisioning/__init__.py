"""The book as an operator works on it: editing, finding and listing clients, accounts and DIDs.

The command line uses it, and HTTP will. Rule: it prints nothing and knows no protocol.
"""
