"""The record of decisions (engine.md 8.8): a ring of files that the decider appends to and that commands read.

Rule: plain values in, plain values out. The room knows no engine, no book and no protocol.
"""
