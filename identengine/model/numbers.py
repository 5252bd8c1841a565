"""Telephone numbers as text: the normal form of engine.md 2.1 and prefixes. Nothing here knows a country."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_LENGTH = 64
"""Longest number in normal form, in characters (engine.md 2.1)."""

_DROPPED = dict.fromkeys(map(ord, " -.()"))
is_normal = re.compile(rf"[0-9A-Za-z*#]{{1,{MAX_LENGTH}}}", re.ASCII).fullmatch
"""Match a text that is in normal form as it stands, as most are; other texts may be as well."""


def normal_number(text: str) -> str:
    """Return ``text`` in normal form; ``""`` where nothing is left, which is an absent number.

    Spaces, ``-``, ``.``, ``(``, ``)`` and then one leading ``+`` go. Raises ValueError, saying what is wrong,
    where something else than printable ASCII is left or more than 64 characters are.
    """
    if is_normal(text):
        return text
    number = text.translate(_DROPPED).removeprefix("+")
    if len(number) > MAX_LENGTH:
        raise ValueError(f"a number of at most {MAX_LENGTH} characters is wanted, this one has {len(number)}")
    if not (number.isascii() and number.isprintable()):
        odd = next(c for c in number if not (c.isascii() and c.isprintable()))
        raise ValueError(f"a number is digits, letters, * and # in plain ASCII; {odd!r} has no place in it")
    return number


def national(number: str, international_prefixes: tuple[str, ...]) -> str:
    """Return ``number`` without the first of the prefixes that begins it.

    ``international_prefixes`` come longest first (:func:`longest_first`), so that the longest fitting one goes.
    """
    for prefix in international_prefixes:
        if number.startswith(prefix):
            return number[len(prefix) :]
    return number


def longest_first(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes longest first, in an order that their set alone determines."""
    return tuple(sorted(set(prefixes), key=lambda prefix: (-len(prefix), prefix)))
