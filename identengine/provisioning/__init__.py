"""The book as an operator works on it: what the command line and HTTP share, without printing or protocol."""
