"""Telephone numbers as text: the normal form of engine.md 2.1, and prefixes. No rule depends on a country."""

from __future__ import annotations

import re
from collections.abc import Iterable

from identengine.errors import expected, quoted

MAX_LENGTH = 64
"""Longest number in normal form, in characters (engine.md 2.1)."""

_BLANKS = " "
_is_plain = re.compile(r"[^<;:@%]*").fullmatch
"""Match a text that is certainly no URI."""
_BRACKETED = re.compile(r"<([^<>]*)>")
_AFTER_USER = re.compile(r"[;?:]")
_AFTER_NUMBER = re.compile(r"[;@]")
_is_user = re.compile(r"\+?[0-9*#]+", re.ASCII).fullmatch
"""Match the text of a SIP URI without a user part that is a number rather than a host."""
_ESCAPES = (
    (re.compile("%23"), "#"),
    (re.compile("%2A", re.IGNORECASE), "*"),
    (re.compile("%2B", re.IGNORECASE), "+"),
)
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


def requested_number(text: str) -> str:
    """Return the number of a request in normal form, or ``""`` for an absent number (engine.md 2.1).

    The text may be a URI, as a switch copies it from a header. Raise ValueError as :func:`normal_number` does, and
    for an escape other than ``%23``, ``%2A`` and ``%2B``.
    """
    return normal_number(text) if is_normal(text) or _is_plain(text) else _from_uri(text)


def _from_uri(text: str) -> str:
    """Return the number in a header value or URI."""
    if bracketed := _BRACKETED.search(text):
        text = bracketed[1]
    text = text.strip(_BLANKS)
    scheme, colon, rest = text.partition(":")
    match scheme.lower() if colon else "":
        case "sip" | "sips":
            user, at, _ = rest.partition("@")
            number = _unescaped(_AFTER_USER.split(user, maxsplit=1)[0])
            return normal_number(number) if at or _is_user(number) else ""
        case "tel":
            number, *parameters = rest.split(";")
            local = normal_number(_unescaped(number))
            return normal_number(context + local) if (context := _context(parameters)) else local
        case _:
            return normal_number(_unescaped(_AFTER_NUMBER.split(text, maxsplit=1)[0]))


def _context(parameters: list[str]) -> str:
    """Return the digits that a ``phone-context`` puts in front of a local number (RFC 3966, section 5.1.5)."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        context = _unescaped(value) if name.strip(_BLANKS).lower() == "phone-context" else ""
        if context.strip(_BLANKS).startswith("+"):
            return normal_number(context)
    return ""


def _unescaped(text: str) -> str:
    """Return ``text`` with its escapes replaced. Raise ValueError for an escape that no number needs."""
    if "%" not in text:
        return text
    for escape, character in _ESCAPES:
        text = escape.sub(character, text)
    if "%" in text:
        raise ValueError(expected("a number with no escape but %23, %2A and %2B", text))
    return text


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
