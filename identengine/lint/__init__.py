"""Lint: settings of the book that will cause trouble (engine.md 8.5).

A check is a small function that yields troubles. One walk over the book serves all checks.
"""
