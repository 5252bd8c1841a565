"""The errors that identengine raises deliberately, and the wording of its messages about wrong values.

All errors have one root, so that a caller can catch all of them. A rejected call is *not* an error. It is an
answer, a :class:`~identengine.model.records.Decision`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import msgspec

LONGEST_QUOTE = 80
"""Longest value that a message quotes, in characters. Longer values are cut."""
_ABSENT = object()


class IdentengineError(Exception):
    """The root of all errors that identengine raises deliberately."""


class Problem(msgspec.Struct, frozen=True):
    """One mistake in a book that is being loaded: its location, the value and the expectation."""

    file: str
    """Path of the file as the operator named it, or another source of rows (``command line``)."""
    line: int | None
    """Line of the file, counted from 1, or None if the mistake concerns the whole file."""
    column: str | None
    """Name of the column, or None if the mistake concerns the whole row."""
    value: str | None
    """The value as written, or None if no value is present. Never a password."""
    expected: str
    """The mistake as a clause that can follow a colon. It quotes the value if that helps the reader."""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.column}: {self.expected}" if self.column else f"{place}: {self.expected}"


class LoadError(IdentengineError):
    """A book could not be loaded, so nothing was changed.

    ``problems`` holds the first mistakes (at most 100, interfaces.md 1). ``total`` counts all of them.
    """

    def __init__(self, problems: Sequence[Problem], total: int | None = None) -> None:
        self.problems = tuple(problems)
        self.total = len(self.problems) if total is None else total
        super().__init__(counted(self.total, "mistake") if self.total != 1 else str(self.problems[0]))


class ConfigError(IdentengineError):
    """The config cannot be used. ``problems`` names each mistake with its key."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class StoreError(IdentengineError):
    """The store cannot be read or written: it is missing, damaged, full, read-only or of another format."""


class DamagedError(StoreError):
    """Content of the store does not match its checksums."""


class KeyFileError(IdentengineError):
    """The key file of the passwords cannot be used.

    It is missing, unreadable, accessible to other users, or holds another key than the passwords need.
    """


class RecordError(IdentengineError):
    """The record of decisions cannot be read: it is missing, unreadable or of another format."""


class WireError(IdentengineError):
    """A peer sent bytes that are not a message of the protocol."""


def expected(what: str, got: object = _ABSENT, *, meant: str | None = None) -> str:
    """Return ``expected X``, ``expected X, got Y`` or ``expected X, got Y; did you mean Z?``.

    The message shows ``what`` and ``meant`` unchanged, and ``got`` as :func:`quoted`. Omit ``got`` for a secret.
    """
    text = f"expected {what}"
    if got is not _ABSENT:
        text += f", got {quoted(got)}"
    return text if meant is None else f"{text}; did you mean {meant}?"


def sentences(first: object, *more: str) -> str:
    """Return a message of several sentences: ``first``, with a full stop if it has none, then ``more``.

    The rule for all messages: a single clause has no full stop, and each of several sentences ends with one. A
    message that embeds another one after a colon appends only whole sentences to it, by this function. Empty
    sentences are left out.
    """
    text, rest = str(first), [one for one in more if one]
    return " ".join((text if text.endswith((".", "?")) else f"{text}.", *rest)) if rest else text


def counted(number: int, what: str) -> str:
    """Return a number with its noun, ``1 leg`` or ``2 legs``. ``what`` is the singular."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def quoted(value: object) -> str:
    """Return ``value`` as JSON for a message, cut to LONGEST_QUOTE characters.

    Characters that cannot be printed are escaped, so that a value cannot send control sequences to the terminal.
    """
    if isinstance(value, str):
        value = value[:LONGEST_QUOTE]  # the quotes count too, so that a longer text is still cut below
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:
        return "an integer of thousands of digits"  # Python refuses to format one of over 4300
    if not text.isprintable():
        text = "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


def one_of(choices: Iterable[object]) -> str:
    """Return the choices as a message lists them: ``"active" or "blocked"``."""
    *first, last = [quoted(choice) for choice in choices]
    return f"{', '.join(first)} or {last}" if first else last


def nearest(value: str, choices: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the quoted choice that looks most like ``value``, or None if no choice is similar.

    ``likeness`` is the least similarity, from 0 to 1 (equal).
    """
    found = get_close_matches(value, list(choices), n=1, cutoff=likeness)
    return quoted(found[0]) if found else None
