"""Every error that identengine raises on purpose, and the words in which a message names a mistake.

All errors have one root, so that a caller can catch all of them. A rejected call is *not* an error. It is an answer,
a :class:`~identengine.model.records.Decision`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import msgspec

LONGEST_QUOTE = 80
"""Longest value that a message shows, in characters. Longer values are cut."""
_ABSENT = object()


class IdentengineError(Exception):
    """The root of all errors raised on purpose."""


class Problem(msgspec.Struct, frozen=True):
    """One mistake in a book that is being loaded, with its place and what would be right."""

    file: str
    """Path of the file as the operator named it, or what stands for it (``command line``)."""
    line: int | None
    """Line of the file, counted from 1; None where the mistake is the file's as a whole."""
    column: str | None
    """Name of the column; None where the mistake is the row's as a whole."""
    value: str | None
    """The value as it stands there; None where there is none. Never a password."""
    expected: str
    """What is wrong and what would be right, as a clause that can follow a colon."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        what = [self.column] if self.column else []
        if self.value is not None:
            what.append(repr(self.value))
        return f"{place}: {' '.join(what)}: {self.expected}" if what else f"{place}: {self.expected}"


class LoadError(IdentengineError):
    """A book could not be loaded; nothing was changed.

    ``problems`` holds the first of them (at most 100, interfaces.md 1), ``total`` how many there are.
    """

    def __init__(self, problems: Sequence[Problem], total: int | None = None) -> None:
        self.problems = tuple(problems)
        self.total = len(self.problems) if total is None else total
        super().__init__(f"{self.total} mistakes" if self.total != 1 else str(self.problems[0]))


class ConfigError(IdentengineError):
    """The config cannot be used; ``problems`` names each mistake with its key."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class StoreError(IdentengineError):
    """The store cannot be read or written: missing, damaged, full, read-only, of another format."""


class KeyFileError(IdentengineError):
    """The key of the passwords is missing, unreadable, open to others, or not the one they were kept under."""


class WireError(IdentengineError):
    """Bytes from a peer that are not a message of the protocol."""


def expected(what: str, got: object = _ABSENT, *, meant: str | None = None) -> str:
    """Return ``expected X``, ``expected X, got Y`` or ``expected X, got Y; did you mean Z?``.

    ``what`` and ``meant`` are shown as they are, ``got`` as :func:`quoted` shows it. Omit ``got`` for a secret.
    """
    text = f"expected {what}"
    if got is not _ABSENT:
        text += f", got {quoted(got)}"
    return text if meant is None else f"{text}; did you mean {meant}?"


def quoted(value: object) -> str:
    """Return ``value`` as a message shows it: as JSON, a text in double quotes, cut to LONGEST_QUOTE characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


def one_of(choices: Iterable[object]) -> str:
    """Return the choices as a message lists them: ``"active" or "blocked"``."""
    *first, last = [quoted(choice) for choice in choices]
    return f"{', '.join(first)} or {last}" if first else last


def nearest(value: str, choices: Iterable[str]) -> str | None:
    """Return the quoted choice that looks most like ``value``, or None if none does."""
    found = get_close_matches(value, list(choices), n=1)
    return quoted(found[0]) if found else None
