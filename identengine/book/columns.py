"""The columns of a book's three tables (interfaces.md 1): what each may hold, and how a cell is read.

A converter takes a CSV cell (text) or a JSON value and returns the field's value. It raises ValueError, whose
message says which value is expected. The converter of ``password`` returns nothing, since
:mod:`identengine.book.passwords` reads that column.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from enum import StrEnum

import msgspec

from identengine.model.addresses import parse_address
from identengine.model.numbers import normal_number
from identengine.model.records import ClientStatus, DidStatus, IdentBy, SrcPolicy

MAX_TEXT = 255
"""Longest text of a name, tag, table, plan, gateway or proxy, in characters: it has to fit into answers."""
MAX_NOTES = 65_536
"""Longest notes, in characters."""
MAX_INTEGER = 2**63 - 1
"""Largest id and capacity."""


Converter = Callable[[object], object]
"""Return the value that a cell holds, or None if the cell is empty. Raise ValueError if the cell is wrong."""


def read_text(value: object) -> str | None:
    """Return the trimmed text of a cell, or None if it is empty. Raise ValueError if it is not a short text."""
    text = read_string(value).strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"at most {MAX_TEXT} characters are wanted, these are {len(text)}")
    if not text.isprintable():
        refuse_control(text)
    return text or None


def _notes(value: object) -> str | None:
    text = read_string(value).strip()
    if len(text) > MAX_NOTES:
        raise ValueError(f"at most {MAX_NOTES} characters are wanted, these are {len(text)}")
    if not text.isprintable():
        refuse_control(text, allowed="\t\r\n")
    return text or None


def read_string(value: object) -> str:
    """Return a cell that is a string, as it is. Raise ValueError for any other JSON value."""
    if isinstance(value, str):
        return value
    raise ValueError("a text is wanted, in quotes")


def refuse_control(text: str, allowed: str = "") -> None:
    """Raise ValueError where a control character or half a surrogate pair stands in ``text``."""
    for place, char in enumerate(text, 1):
        if (char < " " or "\x7f" <= char <= "\x9f" or char in "\u2028\u2029") and char not in allowed:
            raise ValueError(f"no control characters (tab, line end) are wanted; character {place} is {char!r}")
        if "\ud800" <= char <= "\udfff":
            raise ValueError(f"characters are wanted; {char!r} at {place} is half of one")


def _integer(least: int, most: int, expected: str) -> Converter:
    def convert(value: object) -> int | None:
        number = -1
        if isinstance(value, str):
            text = value.strip()
            if text.isdigit() and text.isascii() and len(text) <= 32:
                number = int(text)
            elif not text:
                return None
        elif isinstance(value, int) and not isinstance(value, bool):
            number = value
        if least <= number <= most:
            return number
        raise ValueError(expected)

    return convert


_identifier = _integer(1, MAX_INTEGER, f"a whole number from 1 to {MAX_INTEGER} is wanted")
_capacity = _integer(0, MAX_INTEGER, "a whole number from 0 (nothing passes) is wanted, or nothing (unlimited)")
_port = _integer(1, 65535, "a port from 1 to 65535 is wanted")


def _cps(value: object) -> float | None:
    expected = "calls a second, a number from 0 (0.5, 30), are wanted, or nothing (unlimited)"
    number = math.nan
    try:
        if isinstance(value, str):
            text = value.strip()
            if not text:
                return None
            if text.isascii() and "_" not in text:
                number = float(text)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
    except (ValueError, OverflowError):
        pass  # no number, or one beyond all bounds
    if math.isfinite(number) and number >= 0:
        return abs(number)  # of -0.0 too
    raise ValueError(expected)


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _boolean(value: object) -> bool | None:
    if isinstance(value, str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        value = str(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _BOOLEANS:
            return _BOOLEANS[word]
        if not word:
            return None
    raise ValueError("true, false, 1, 0, yes or no is wanted")


def _choice(words: type[StrEnum]) -> Converter:
    known: dict[object, StrEnum] = {word.value: word for word in words}
    *first, last = words
    expected = f"{', '.join(first)} or {last} is wanted"

    def convert(value: object) -> StrEnum | None:
        if not isinstance(value, str):
            raise ValueError(expected)  # noqa: TRY004 - one kind of error for all that a cell may hold
        if value in known:
            return known[value]
        word = value.strip()
        if word in known or not word:
            return known.get(word)
        near = get_close_matches(word.lower().replace("-", "_").replace(" ", "_"), list(words), n=1)
        raise ValueError(f"{expected}; {near[0]} is meant?" if near else expected)

    return convert


def read_number(value: object) -> str | None:
    """Return the telephone number of a cell in normal form (engine.md 2.1), or None if the cell is empty.

    Raise ValueError if the cell holds no number.
    """
    text = read_string(value)
    number = normal_number(text)
    if not number and text.strip():
        raise ValueError("a number is wanted; nothing is left of this one without its punctuation")
    return number or None


def _single_address(value: object) -> str | None:
    text = read_string(value).strip()
    if not text:
        return None
    parse_address(text)
    return text


def _list(value: object) -> tuple[str, ...] | None:
    """Return the items of a list, trimmed, without empty ones (engine.md 2.4); what they are is checked later."""
    if isinstance(value, str):
        if ";" not in value:
            item = value.strip()
            return (item,) if item else None
        return _some([item for part in value.split(";") if (item := part.strip())])
    if isinstance(value, list | tuple):
        items = []
        for part in value:
            item = read_string(part).strip()
            if ";" in item:
                raise ValueError(f"no ; may stand within an item of a list, as in {item!r}")
            if item:
                items.append(item)
        return _some(items) if value else None
    raise ValueError("a text with ; between the items is wanted, or an array of texts")


def _some(items: list[str]) -> tuple[str, ...]:
    """Return the items of a list that is set; were it taken for not set, it would mean "any" (engine.md 2.4)."""
    if not items:
        raise ValueError("at least one item is wanted; here are separators or blanks alone")
    return tuple(items)


def _unchecked(value: object) -> None:
    """Pass over the password here: it is the only column that depends on what was there before."""


CLIENT_CONVERTERS: dict[str, Converter] = {
    "id": _identifier,
    "name": read_text,
    "status": _choice(ClientStatus),
    "parent_id": _identifier,
    "rate_table": read_text,
    "routing_plan": read_text,
    "term_rate_table": read_text,
    "capacity": _capacity,
    "orig_capacity": _capacity,
    "term_capacity": _capacity,
    "orig_cps": _cps,
    "notes": _notes,
}
ACCOUNT_CONVERTERS: dict[str, Converter] = {
    "id": _identifier,
    "client_id": _identifier,
    "name": read_text,
    "ident_by": _choice(IdentBy),
    "ident": _list,
    "tech_prefix": read_number,
    "password": _unchecked,
    "gateways": _list,
    "notes": _notes,
    "orig_enabled": _boolean,
    "orig_rate_table": read_text,
    "orig_routing_plan": read_text,
    "orig_tag": read_text,
    "src_policy": _choice(SrcPolicy),
    "orig_capacity": _capacity,
    "orig_cps": _cps,
    "term_enabled": _boolean,
    "term_rate_table": read_text,
    "term_tag": read_text,
    "term_routing_ip": _single_address,
    "term_capacity": _capacity,
    "term_protocol": read_text,
    "term_proxy": read_text,
    "term_port": _port,
}
DID_CONVERTERS: dict[str, Converter] = {
    "number": read_number,
    "account_id": _identifier,
    "status": _choice(DidStatus),
}
_CLIENT_REQUIRED = ("id", "name")
_ACCOUNT_REQUIRED = ("id", "client_id", "name", "ident_by", "ident")
_DID_REQUIRED = ("number", "account_id")

CLIENT_COLUMNS = tuple(CLIENT_CONVERTERS)
"""Columns of ``clients``, in the order of interfaces.md 1."""
ACCOUNT_COLUMNS = tuple(ACCOUNT_CONVERTERS)
"""Columns of ``accounts``, in the order of interfaces.md 1."""
DID_COLUMNS = tuple(DID_CONVERTERS)
"""Columns of ``dids``, in the order of interfaces.md 1."""


class Table(msgspec.Struct, frozen=True):
    """One of the three tables of a book: its name, columns, those that must be there, and the key of a row."""

    name: str
    key: str
    columns: tuple[str, ...]
    required: tuple[str, ...]


CLIENTS = Table("clients", "id", CLIENT_COLUMNS, _CLIENT_REQUIRED)
ACCOUNTS = Table("accounts", "id", ACCOUNT_COLUMNS, _ACCOUNT_REQUIRED)
DIDS = Table("dids", "number", DID_COLUMNS, _DID_REQUIRED)
TABLES = (CLIENTS, ACCOUNTS, DIDS)
"""The tables in the order in which they are loaded: each names rows of those before it."""


def id_in(value: object) -> int | None:
    """Return the id that stands in a cell; None where none can be read."""
    try:
        found = _identifier(value)
    except ValueError:
        return None
    return found if isinstance(found, int) else None


def number_in(value: object) -> str | None:
    """Return the number that stands in a cell, in normal form; None where none can be read."""
    try:
        return read_number(value)
    except ValueError:
        return None
