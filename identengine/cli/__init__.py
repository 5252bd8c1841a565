"""The command line: one file per family of commands, ``identengine COMMAND`` (interfaces.md 2).

Commands import what they need when they run, not when this package is imported: `identengine --help` is to be
there at once, and the engine, the store and the vault bring heavy libraries.
"""

from identengine.cli.root import app, main

__all__ = ["app", "main"]
