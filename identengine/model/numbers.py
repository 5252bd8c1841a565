"""Telephone numbers as text: the normal form of engine.md 2.1, and prefixes. No rule depends on a country."""

from __future__ import annotations

import re
from collections.abc import Iterable

from identengine.errors import expected, quoted

MAX_LENGTH = 64
"""Longest number in normal form, in characters (engine.md 2.1)."""

_DROPPED = dict.fromkeys(map(ord, " -.()"))
is_normal = re.compile(rf"[0-9A-Za-z*#]{{1,{MAX_LENGTH}}}", re.ASCII).fullmatch
"""Match a text that is certainly in normal form, as most numbers are. Some normal texts do not match."""


def normal_number(text: str) -> str:
    """Return ``text`` in normal form, or ``""`` (an absent number) if no character remains.

    Spaces, ``-``, ``.``, ``(``, ``)`` and then one leading ``+`` are removed. Raise ValueError, with the expected
    form, if the rest has more than 64 characters, or any that is not printable ASCII.
    """
    if is_normal(text):
        return text
    number = text.translate(_DROPPED).removeprefix("+")
    if len(number) > MAX_LENGTH:
        raise ValueError(expected(f"a number of at most {MAX_LENGTH} characters", len(number)))
    if not (number.isascii() and number.isprintable()):
        odd = next(c for c in number if not (c.isascii() and c.isprintable()))
        characters = "a number in printable ASCII (digits, letters, * and #)"
        raise ValueError(f"{expected(characters, text)}; {quoted(odd)} is not allowed")
    return number


def national(number: str, international_prefixes: tuple[str, ...]) -> str:
    """Return ``number`` without the first of the prefixes that begins it.

    ``international_prefixes`` are sorted by :func:`longest_first`, so that the longest matching one is removed.
    """
    for prefix in international_prefixes:
        if number.startswith(prefix):
            return number[len(prefix) :]
    return number


def longest_first(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct prefixes, longest first. The order does not depend on that of the input."""
    return tuple(sorted(set(prefixes), key=lambda prefix: (-len(prefix), prefix)))
