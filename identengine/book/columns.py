"""Rows of a book: what stands in the columns of interfaces.md 1, turned into clients, accounts and DIDs.

The one place that knows what a column may hold. An import (CSV cells, JSON values) and the command line
(``accounts set column=value``) both come through here, so a value is right or wrong in both alike, and every
mistake says what would be right. Nothing here reads a file or a store.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from identengine.errors import IdentengineError, KeyFileError
from identengine.model.addresses import Network, format_network, parse_address, parse_network
from identengine.model.numbers import normal_number
from identengine.model.records import Account, Client, ClientStatus, Did, DidStatus, IdentBy, SrcPolicy
from identengine.store.vault import Vault, key_id

MAX_TEXT = 255
"""Longest text of a name, tag, table, plan, gateway or proxy, in characters: it has to fit into answers."""
MAX_NOTES = 65_536
"""Longest notes, in characters."""
MAX_PASSWORD = 255
"""Longest password, in characters."""
MAX_INTEGER = 2**63 - 1
"""Largest id and capacity."""

_SHOWN = 80


class Mistake(NamedTuple):
    """What is wrong in one column of a row, or in the row as a whole (``column`` is None)."""

    column: str | None
    value: str | None
    expected: str


class RowError(IdentengineError):
    """A row cannot be used; ``mistakes`` names all of them."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(_said(mistake) for mistake in mistakes))


Cells = Mapping[str, object]
"""Column name to what stands there: text, or a JSON value. None and ``""`` mean that nothing stands there."""

Converter = Callable[[object], object]


def client_from(cells: Cells, before: Client | None = None, *, partial: bool = False) -> Client:
    """Return the client that ``cells`` describe (engine.md 1.1).

    With ``partial`` the columns that are not in ``cells`` stay as in ``before``. Raises RowError.
    """
    mistakes: list[Mistake] = []
    fields = _fields(cells, _CLIENT, mistakes)
    fields = _completed(fields, cells, before, partial, _CLIENT_REQUIRED, mistakes)
    if fields.get("parent_id") is not None and fields["parent_id"] == fields.get("id"):
        mistakes.append(Mistake("parent_id", str(fields["id"]), "a client cannot be its own reseller"))
    if mistakes:
        raise RowError(mistakes)
    return Client(**fields)


def account_from(
    cells: Cells,
    before: Account | None,
    vault: Vault | None,
    *,
    partial: bool = False,
    warnings: list[Mistake] | None = None,
) -> Account:
    """Return the account that ``cells`` describe (engine.md 1.2).

    The password of ``before`` is kept where none is given; all other columns only with ``partial``. ``warnings``
    receives what is no mistake but should be known: host bits that were cleared, and what
    :func:`account_warnings` finds. ``vault`` may be None where no password is given. Raises RowError.
    """
    mistakes: list[Mistake] = []
    fields = _fields(cells, _ACCOUNT, mistakes)
    fields = _completed(fields, cells, before, partial, _ACCOUNT_REQUIRED, mistakes)
    same_kind = before is not None and fields.get("ident_by") is before.ident_by
    kept_ident = partial and same_kind and "ident" not in cells  # in normal form already
    if "ident" in fields and "ident_by" in fields and not kept_ident:
        fields["ident"] = _ident(fields["ident"], fields["ident_by"], mistakes, warnings)
    if "gateways" in fields:
        fields["gateways"] = _gateways(fields["gateways"], mistakes)
    if fields.get("term_routing_ip") is not None and fields.get("ident_by", IdentBy.ANI) is not IdentBy.ANI:
        mistakes.append(
            Mistake(
                "term_routing_ip", fields["term_routing_ip"], "only where ident_by is ani a value is wanted here"
            )
        )
    password = _password(cells.get("password"), before.password if before else None, vault, mistakes)
    if mistakes:
        raise RowError(mistakes)
    fields["password"] = password
    account = Account(**fields)
    if warnings is not None:
        warnings.extend(account_warnings(account))
    return account


def did_from(cells: Cells, before: Did | None = None, *, partial: bool = False) -> Did:
    """Return the DID that ``cells`` describe (engine.md 1.3). Raises RowError."""
    mistakes: list[Mistake] = []
    fields = _fields(cells, _DID, mistakes)
    fields = _completed(fields, cells, before, partial, _DID_REQUIRED, mistakes)
    if mistakes:
        raise RowError(mistakes)
    return Did(**fields)


def account_warnings(account: Account) -> list[Mistake]:
    """Return what is allowed in an account and will bite (engine.md 8.5, 3.6)."""
    found = []
    if account.orig_enabled and account.term_enabled:
        for column, value in (("term_port", account.term_port), ("term_protocol", account.term_protocol)):
            if value is not None:
                what = column.removeprefix("term_")
                found.append(
                    Mistake(
                        column,
                        str(value),
                        f"both parts are on, so a call from this account is rejected unless its request"
                        f" carries this {what}; two accounts, one for each direction, would be right",
                    )
                )
    if account.ident_by is IdentBy.NAME and account.orig_enabled and account.password is None:
        found.append(
            Mistake(
                "password",
                None,
                "an account known by name without a password sends no calls as long as passwordless_name is"
                " deny (the default); set one",
            )
        )
    return found


def unknown_column(name: str, columns: Iterable[str]) -> str:
    """Say what would be right instead of the column ``name``."""
    known = tuple(columns)
    near = get_close_matches(name.strip().lower().replace(" ", "_"), known, n=1)
    return f"no such column; {near[0]} is meant?" if near else f"no such column; there are {', '.join(known)}"


def shown(value: object) -> str:
    """Return ``value`` as a message shows it: text as it is, a JSON value as JSON, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


# ---- columns ---------------------------------------------------------------------------------------------


def _text(value: object) -> str | None:
    text = _string(value).strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"at most {MAX_TEXT} characters are wanted, these are {len(text)}")
    if not text.isprintable():
        _refuse_control(text)
    return text or None


def _notes(value: object) -> str | None:
    text = _string(value).strip()
    if len(text) > MAX_NOTES:
        raise ValueError(f"at most {MAX_NOTES} characters are wanted, these are {len(text)}")
    if not text.isprintable():
        _refuse_control(text, allowed="\t\r\n")
    return text or None


def _string(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("a text is wanted, in quotes")


def _refuse_control(text: str, allowed: str = "") -> None:
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


def _number(value: object) -> str | None:
    text = _string(value)
    number = normal_number(text)
    if not number and text.strip():
        raise ValueError("a number is wanted; nothing is left of this one without its punctuation")
    return number or None


def _single_address(value: object) -> str | None:
    text = _string(value).strip()
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
            item = _string(part).strip()
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


_CLIENT: dict[str, Converter] = {
    "id": _identifier,
    "name": _text,
    "status": _choice(ClientStatus),
    "parent_id": _identifier,
    "rate_table": _text,
    "routing_plan": _text,
    "term_rate_table": _text,
    "capacity": _capacity,
    "orig_capacity": _capacity,
    "term_capacity": _capacity,
    "orig_cps": _cps,
    "notes": _notes,
}
_ACCOUNT: dict[str, Converter] = {
    "id": _identifier,
    "client_id": _identifier,
    "name": _text,
    "ident_by": _choice(IdentBy),
    "ident": _list,
    "tech_prefix": _number,
    "password": _unchecked,
    "gateways": _list,
    "notes": _notes,
    "orig_enabled": _boolean,
    "orig_rate_table": _text,
    "orig_routing_plan": _text,
    "orig_tag": _text,
    "src_policy": _choice(SrcPolicy),
    "orig_capacity": _capacity,
    "orig_cps": _cps,
    "term_enabled": _boolean,
    "term_rate_table": _text,
    "term_tag": _text,
    "term_routing_ip": _single_address,
    "term_capacity": _capacity,
    "term_protocol": _text,
    "term_proxy": _text,
    "term_port": _port,
}
_DID: dict[str, Converter] = {
    "number": _number,
    "account_id": _identifier,
    "status": _choice(DidStatus),
}
_CLIENT_REQUIRED = ("id", "name")
_ACCOUNT_REQUIRED = ("id", "client_id", "name", "ident_by", "ident")
_DID_REQUIRED = ("number", "account_id")

CLIENT_COLUMNS = tuple(_CLIENT)
"""Columns of ``clients``, in the order of interfaces.md 1."""
ACCOUNT_COLUMNS = tuple(_ACCOUNT)
"""Columns of ``accounts``, in the order of interfaces.md 1."""
DID_COLUMNS = tuple(_DID)
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
        return _number(value)
    except ValueError:
        return None


# ---- rows ------------------------------------------------------------------------------------------------


def _fields(cells: Cells, columns: dict[str, Converter], mistakes: list[Mistake]) -> dict[str, Any]:
    """Return the fields that are set in ``cells``, converted one by one."""
    fields: dict[str, Any] = {}  # Any: the fields of three Structs; each converter gives the type of its own
    for name, value in cells.items():
        if not value and (value is None or value == ""):
            continue
        try:
            found = columns[name](value)
        except ValueError as error:
            mistakes.append(Mistake(name, shown(value), str(error)))
        except KeyError:
            mistakes.append(Mistake(name, None, unknown_column(name, columns)))
        else:
            if found is not None:
                fields[name] = found
    return fields


def _completed(
    fields: dict[str, Any],
    cells: Cells,
    before: Client | Account | Did | None,
    partial: bool,
    required: tuple[str, ...],
    mistakes: list[Mistake],
) -> dict[str, Any]:
    """Return ``fields`` with those of ``before`` that ``cells`` do not name, and miss what is required."""
    if before is not None and partial:
        key = required[0]
        old = msgspec.structs.asdict(before)
        if key in fields and fields[key] != old[key]:
            mistakes.append(Mistake(key, shown(cells[key]), f"the {key} cannot be changed, it is {old[key]}"))
        fields = {name: value for name, value in old.items() if name not in cells} | fields
    if fields.keys() >= set(required):
        return fields
    for name in required:
        if name not in fields and not any(mistake.column == name for mistake in mistakes):
            value = cells.get(name)
            mistakes.append(Mistake(name, None if value is None else shown(value), "a value is wanted here"))
    return fields


def _ident(
    items: tuple[str, ...], ident_by: IdentBy, mistakes: list[Mistake], warnings: list[Mistake] | None
) -> tuple[str, ...]:
    """Return the items in the form in which they are kept, each once (engine.md 2.4)."""
    kept: dict[Network | str, str] = {}
    for item in items:
        try:
            if ident_by is IdentBy.IP:
                network, cleared = parse_network(item)
                text = format_network(network) if cleared else item
                kept.setdefault(network, text)
                if cleared and warnings is not None:
                    warnings.append(Mistake("ident", item, f"bits after the mask were set; taken as {text}"))
            else:
                name = _text(item) if ident_by is IdentBy.NAME else _number(item)
                if name is not None:
                    kept.setdefault(name, name)
        except ValueError as error:
            mistakes.append(Mistake("ident", shown(item), str(error)))
    return tuple(kept.values())


def _gateways(items: tuple[str, ...], mistakes: list[Mistake]) -> tuple[str, ...]:
    """Return the gateways as written, each once whatever its case (engine.md 2.3)."""
    kept: dict[str, str] = {}
    for item in items:
        try:
            _text(item)
        except ValueError as error:
            mistakes.append(Mistake("gateways", shown(item), str(error)))
        else:
            kept.setdefault(item.casefold(), item)
    return tuple(kept.values())


def _password(value: object, before: str | None, vault: Vault | None, mistakes: list[Mistake]) -> str | None:
    """Return the token to keep for what stands in the column ``password``; it is shown to nobody."""
    if value is None or value in ("", before):
        return before
    if value == "-":
        return None
    try:
        return _token(_string(value), before, vault)
    except ValueError as error:
        mistakes.append(Mistake("password", None, str(error)))
        return None


def _token(given: str, before: str | None, vault: Vault | None) -> str:
    """Return the token for a password or token that was given. Raises ValueError, which does not show it."""
    if vault is None:
        raise ValueError("a password can be kept only where the key file is")
    if any("\ud800" <= char <= "\udfff" for char in given):  # how bytes that are no text get here
        raise ValueError("a password in UTF-8 is wanted; these bytes are something else")
    try:
        if not given.isprintable():
            _refuse_control(given)
    except ValueError:
        raise ValueError("a password without control characters (tab, line end) is wanted") from None
    encrypted = given.startswith("enc:")
    plain = _revealed(given, vault) if encrypted else given
    if len(plain) > MAX_PASSWORD:
        raise ValueError(f"a password of at most {MAX_PASSWORD} characters is wanted, this one has {len(plain)}")
    if before is not None and _same(before, plain, vault):
        return before
    if encrypted and key_id(given) == vault.key_ids[0]:
        return given
    return vault.encrypt(plain)  # a token of a key that is on its way out gets a new one too


def _revealed(token: str, vault: Vault) -> str:
    try:
        return vault.decrypt(token)
    except KeyFileError:
        raise ValueError("it was encrypted under another key; the password, or that key, is wanted") from None
    except ValueError:
        raise ValueError("it begins with enc: and is no encrypted password as an export writes it") from None


def _same(before: str, plain: str, vault: Vault) -> bool:
    """Whether ``before`` keeps just this password, so that its token may stay and the row is unchanged."""
    try:
        return vault.decrypt(before) == plain
    except (KeyFileError, ValueError):
        return False  # kept under a key that is gone: it is replaced


def _said(mistake: Mistake) -> str:
    parts = [part for part in (mistake.column, None if mistake.value is None else repr(mistake.value)) if part]
    return f"{' '.join(parts)}: {mistake.expected}" if parts else mistake.expected
