"""The columns of a book's three tables (interfaces.md 1): the values that each accepts, and how a cell is read.

A converter takes a CSV cell (text) or a JSON value and returns the value of the field. It raises ValueError
with the whole message, which quotes the value. The converter of ``password`` returns None, because
:mod:`identengine.book.passwords` reads that column.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum

import msgspec

from identengine.book.numbers import book_number, book_prefix
from identengine.errors import expected, nearest, one_of, quoted
from identengine.model.addresses import parse_address
from identengine.model.records import ClientStatus, DidStatus, IdentBy, SrcPolicy

MAX_TEXT = 255
"""Longest text of a name, tag, table, plan, gateway or proxy, in characters.

Answers repeat these texts, and an answer must fit into a datagram.
"""
MAX_NOTES = 65_536
"""Longest notes, in characters."""
MAX_INTEGER = 2**63 - 1
"""Largest id and capacity."""


Converter = Callable[[object], object]
"""Return the value of a cell, or None if the cell is empty. Raise ValueError if the cell cannot be read."""


def read_text(value: object) -> str | None:
    """Return the trimmed text of a cell, or None if it is empty.

    Raise ValueError if the cell is not a string, is too long or holds a control character.
    """
    text = read_string(value).strip()
    if len(text) > MAX_TEXT:
        raise ValueError(expected(f"at most {MAX_TEXT} characters", len(text)))
    if not text.isprintable():
        reject_control(text)
    return text or None


def _notes(value: object) -> str | None:
    text = read_string(value).strip()
    if len(text) > MAX_NOTES:
        raise ValueError(expected(f"at most {MAX_NOTES} characters", len(text)))
    if not text.isprintable():
        reject_control(text, allowed="\t\r\n")
    return text or None


def read_string(value: object) -> str:
    """Return a cell that is a string, unchanged. Raise ValueError for any other JSON value."""
    if isinstance(value, str):
        return value
    number = isinstance(value, int) and not isinstance(value, bool)
    raise ValueError(expected("a string", value, meant=quoted(str(value)) if number else None))


def reject_control(text: str, allowed: str = "") -> None:
    """Raise ValueError if ``text`` holds a control character or half a surrogate pair.

    Bytes that are not UTF-8 arrive as halves of surrogate pairs (``surrogateescape``).
    """
    for place, char in enumerate(text, 1):
        code = ord(char)
        if (char < " " or "\x7f" <= char <= "\x9f" or char in "\u2028\u2029") and char not in allowed:
            message = expected("text without control characters", text)
            raise ValueError(f"{message} (U+{code:04X} at character {place})")
        if 0xDC80 <= code <= 0xDCFF:
            raise ValueError(f"expected UTF-8, got the byte {code - 0xDC00:02X} at character {place}")
        if 0xD800 <= code <= 0xDFFF:
            raise ValueError(f"expected text, got half a surrogate pair (U+{code:04X}) at character {place}")


def _integer(least: int, most: int, what: str) -> Converter:
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
        raise ValueError(expected(what, value))

    return convert


_identifier = _integer(1, MAX_INTEGER, f"a whole number from 1 to {MAX_INTEGER}")
_capacity = _integer(0, MAX_INTEGER, "a whole number from 0 (no calls) up or an empty cell (no limit)")
_port = _integer(1, 65535, "a port from 1 to 65535")


def _cps(value: object) -> float | None:
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
        pass  # not a number, or a JSON integer too large for a float
    if math.isfinite(number) and number >= 0:
        return abs(number)  # -0.0 becomes 0.0
    raise ValueError(expected("calls per second from 0 (no calls) up or an empty cell (no limit)", value))


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _boolean(value: object) -> bool | None:
    if isinstance(value, str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    if isinstance(value, int) and value in (0, 1):  # True and False too
        return bool(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _BOOLEANS:
            return _BOOLEANS[word]
        if not word:
            return None
    raise ValueError(expected("true, false, 1, 0, yes or no", value))


def _choice(words: type[StrEnum]) -> Converter:
    known: dict[object, StrEnum] = {word.value: word for word in words}
    choices = one_of(words)

    def convert(value: object) -> StrEnum | None:
        if not isinstance(value, str):
            raise ValueError(expected(choices, value))  # noqa: TRY004 - converters raise ValueError alone
        if value in known:
            return known[value]
        word = value.strip()
        if word in known or not word:
            return known.get(word)
        near = nearest(word.lower().replace("-", "_").replace(" ", "_"), words)
        raise ValueError(expected(choices, value, meant=near))

    return convert


def read_number(value: object) -> str | None:
    """Return the telephone number of a cell in normal form (engine.md 2.1), or None if the cell is empty.

    Raise ValueError if the cell is not a number.
    """
    return book_number(read_string(value)) or None


def _tech_prefix(value: object) -> str | None:
    return book_prefix(read_string(value)) or None


def _single_address(value: object) -> str | None:
    text = read_string(value).strip()
    if not text:
        return None
    parse_address(text)
    return text


def _list(value: object) -> tuple[str, ...] | None:
    """Return the items of a list, trimmed and without empty ones (engine.md 2.4). Items are checked later."""
    if isinstance(value, str):
        if ";" not in value:
            item = value.strip()
            return (item,) if item else None
        return _not_empty([item for part in value.split(";") if (item := part.strip())], value)
    if isinstance(value, list | tuple):
        items = []
        for part in value:
            item = read_string(part).strip()
            if ";" in item:
                raise ValueError(expected("items without ;", item))
            if item:
                items.append(item)
        return _not_empty(items, value) if value else None
    raise ValueError(expected("a string with ; between items, or an array of strings", value))


def _not_empty(items: list[str], value: object) -> tuple[str, ...]:
    """Return the items of a list. Raise ValueError if it is empty, because an absent list means "any"."""
    if not items:
        raise ValueError(expected("at least one item", value))  # engine.md 2.4
    return tuple(items)


def _unread(value: object) -> None:
    """Ignore a password: its column depends on the row's earlier password, so it is read elsewhere."""


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
    "tech_prefix": _tech_prefix,
    "password": _unread,
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
    """A table of a book: its name, the column that is its key, all columns, and the required columns."""

    name: str
    key: str
    columns: tuple[str, ...]
    required: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    """Columns of names that a spreadsheet shows next to an id, each with the column of the id."""

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of names next to an id. An import compares them with the book."""
        return tuple(label for label, _ in self.labels)


CLIENTS = Table("clients", "id", CLIENT_COLUMNS, _CLIENT_REQUIRED, (("parent_name", "parent_id"),))
ACCOUNTS = Table("accounts", "id", ACCOUNT_COLUMNS, _ACCOUNT_REQUIRED, (("client_name", "client_id"),))
DIDS = Table(
    "dids", "number", DID_COLUMNS, _DID_REQUIRED, (("account_name", "account_id"), ("client_name", "account_id"))
)
TABLES = (CLIENTS, ACCOUNTS, DIDS)
"""The tables in the order in which they are loaded: rows refer only to rows of earlier tables or of their own."""


def id_in(value: object) -> int | None:
    """Return the id in a cell, or None if it cannot be read."""
    try:
        found = _identifier(value)
    except ValueError:
        return None
    return found if isinstance(found, int) else None


def number_in(value: object) -> str | None:
    """Return the number in a cell in normal form, or None if it cannot be read."""
    try:
        return read_number(value)
    except ValueError:
        return None
