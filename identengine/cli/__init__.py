"""The command line ``identengine COMMAND`` (interfaces.md 2), one module for each family of commands.

Rule: commands import the engine, the store and the vault when they run, not when this package is imported. These
rooms import heavy libraries, and `identengine --help` should respond immediately.
"""

from identengine.cli.root import app, main

__all__ = ["app", "main"]
