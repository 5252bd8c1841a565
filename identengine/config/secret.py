"""Secrets of the config, which no log, list or traceback shows."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Self

from identengine.errors import quoted

_LONGEST_KEY = 100
"""Longest key that a message shows unquoted, in characters."""


class Secret:
    """A text that no log, list or traceback shows. Only :meth:`reveal` returns it.

    ``variable`` is the environment variable that holds the text, or None if the config itself holds it. ``text``
    may be None for a variable that is read when its text is needed.
    """

    __slots__ = ("_checks", "_text", "variable")

    def __init__(self, text: str | None, variable: str | None = None) -> None:
        self._text = text
        self.variable = variable
        self._checks: list[Callable[[Secret], None]] = []

    def is_set(self) -> bool:
        """Return True if there is a text: the config has it, or the environment variable is not empty."""
        return self._text is not None or bool(os.environ.get(self.variable or ""))

    def reveal(self) -> str:
        """Return the text. Raise ValueError if the environment variable is not set."""
        return _value_of(self.variable) if self._text is None else self._text

    def resolve(self) -> None:
        """Read the environment variable now. Raise ValueError if it is not set or holds a wrong text."""
        self._text = self.reveal()
        for check in self._checks:
            check(self)

    def checked(self, check: Callable[[Secret], None]) -> Self:
        """Return this secret. Its text is checked now or, if a variable holds it, when it is resolved."""
        if self._text is None:
            self._checks.append(check)
        else:
            check(self)
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._identity() == self._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str | None, str | None]:
        return self._text, self.variable if self._text is None else None

    def __repr__(self) -> str:
        return "Secret(…)"


def _value_of(variable: str | None) -> str:
    found = os.environ.get(variable or "")
    if not found:
        what = "not set" if found is None else "empty"
        raise ValueError(f"the environment variable {bare(variable or '')} is {what}. Set it to the secret.")
    return found


def bare(key: str) -> str:
    """Return a key as messages name it: unquoted if it is short and printable."""
    return key if key.isprintable() and len(key) <= _LONGEST_KEY else quoted(key)
