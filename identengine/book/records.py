"""Turns rows of a book into clients, accounts and DIDs (engine.md 1.1 to 1.3).

Imports (CSV cells, JSON values) and the command line (``accounts set column=value``) both use this module, so
that both accept the same values. Nothing here reads a file or a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from identengine.book.accountwarnings import account_warnings
from identengine.book.columns import (
    ACCOUNT_CONVERTERS,
    ACCOUNTS,
    CLIENT_CONVERTERS,
    CLIENTS,
    DID_CONVERTERS,
    DIDS,
    Converter,
    read_number,
    read_text,
)
from identengine.book.mistakes import Mistake, RowError, cell_text, unknown_column
from identengine.book.numbers import number_warnings
from identengine.book.passwords import password_token
from identengine.errors import expected, quoted, sentences
from identengine.model.addresses import Network, format_network, parse_network
from identengine.model.records import Account, Client, Did, IdentBy
from identengine.store.vault import Vault

Cells = Mapping[str, object]
"""Column name to text or JSON value. None and ``""`` are empty cells."""


def client_from(cells: Cells, before: Client | None = None) -> Client:
    """Return the client that ``cells`` describe (engine.md 1.1).

    The columns that are not in ``cells`` stay as in ``before``. Raise RowError with all mistakes.
    """
    mistakes: list[Mistake] = []
    fields = _fields(cells, CLIENT_CONVERTERS, mistakes)
    fields = _completed(fields, cells, before, CLIENTS.required, mistakes)
    if fields.get("parent_id") is not None and fields["parent_id"] == fields.get("id"):
        own = str(fields["id"])
        mistakes.append(Mistake("parent_id", own, f"reseller loop: {own} → {own}"))
    if mistakes:
        raise RowError(mistakes)
    return Client(**fields)


def account_from(
    cells: Cells,
    before: Account | None,
    vault: Vault | None,
    *,
    warnings: list[Mistake] | None = None,
) -> Account:
    """Return the account that ``cells`` describe (engine.md 1.2).

    The columns that are not in ``cells`` stay as in ``before``, and so does an empty password. ``warnings``
    receives a warning for host bits that were cleared, and those of
    :func:`account_warnings`. ``vault`` may be None if ``cells`` has no password. Raise RowError with all mistakes.
    """
    mistakes: list[Mistake] = []
    fields = _fields(cells, ACCOUNT_CONVERTERS, mistakes)
    fields = _completed(fields, cells, before, ACCOUNTS.required, mistakes)
    same_kind = before is not None and fields.get("ident_by") is before.ident_by
    kept_ident = same_kind and "ident" not in cells  # in normal form already
    if "ident" in fields and "ident_by" in fields and not kept_ident:
        fields["ident"] = _ident(fields["ident"], fields["ident_by"], mistakes, warnings)
    if "gateways" in fields:
        fields["gateways"] = _gateways(fields["gateways"], mistakes)
    if fields.get("term_routing_ip") is not None and fields.get("ident_by", IdentBy.ANI) is not IdentBy.ANI:
        given = fields["term_routing_ip"]
        message = expected('an empty cell unless ident_by is "ani"', given)
        mistakes.append(Mistake("term_routing_ip", given, message))
    password = password_token(cells.get("password"), before.password if before else None, vault, mistakes)
    if mistakes:
        raise RowError(mistakes)
    fields["password"] = password
    account = Account(**fields)
    if warnings is not None:
        warnings.extend(account_warnings(account))
    return account


def did_from(cells: Cells, before: Did | None = None, *, warnings: list[Mistake] | None = None) -> Did:
    """Return the DID that ``cells`` describe (engine.md 1.3). Raise RowError with all mistakes.

    ``warnings`` receives a warning for a number that is probably wrong.
    """
    mistakes: list[Mistake] = []
    fields = _fields(cells, DID_CONVERTERS, mistakes)
    fields = _completed(fields, cells, before, DIDS.required, mistakes)
    if mistakes:
        raise RowError(mistakes)
    if warnings is not None and isinstance(number := cells.get("number"), str):
        warnings += number_warnings("number", number)
    return Did(**fields)


def _fields(cells: Cells, columns: dict[str, Converter], mistakes: list[Mistake]) -> dict[str, Any]:
    """Return the fields that are set in ``cells``, converted one by one."""
    fields: dict[str, Any] = {}  # Any: the fields of three Structs; each converter gives the type of its own
    for name, value in cells.items():
        if not value and (value is None or value == ""):
            continue
        try:
            found = columns[name](value)
        except ValueError as error:
            mistakes.append(Mistake(name, cell_text(value), str(error)))
        except KeyError:
            mistakes.append(Mistake(name, None, unknown_column(name, columns)))
        else:
            if found is not None:
                fields[name] = found
    return fields


_KEPT = frozenset({"status", "orig_enabled", "term_enabled", "src_policy"})
"""Columns whose empty cells keep the value of the row, as those of ``password`` do (engine.md 9.1)."""


def _same_lines(notes: str | None, before: str | None) -> bool:
    """Return True if notes differ at most in their line ends, which spreadsheets replace."""
    return notes is not None and before is not None and notes.splitlines() == before.splitlines()


def _completed(
    fields: dict[str, Any],
    cells: Cells,
    before: Client | Account | Did | None,
    required: tuple[str, ...],
    mistakes: list[Mistake],
) -> dict[str, Any]:
    """Return ``fields``, completed from ``before`` (engine.md 9.1). Add a mistake for each required column."""
    if before is not None:
        key = required[0]
        old = msgspec.structs.asdict(before)
        if key in fields and fields[key] != old[key]:
            text = f"the {key} cannot be changed from {quoted(old[key])} to {quoted(fields[key])}"
            mistakes.append(Mistake(key, cell_text(cells[key]), text))
        if _same_lines(fields.get("notes"), old.get("notes")):
            fields["notes"] = old["notes"]
        fields = {name: value for name, value in old.items() if name not in cells or name in _KEPT} | fields
    if fields.keys() >= set(required):
        return fields
    for name in required:
        if name not in fields and not any(mistake.column == name for mistake in mistakes):
            value = cells.get(name)
            mistakes.append(Mistake(name, None if value is None else cell_text(value), "a value is required"))
    return fields


def _ident(
    items: tuple[str, ...], ident_by: IdentBy, mistakes: list[Mistake], warnings: list[Mistake] | None
) -> tuple[str, ...]:
    """Return the items in the form in which the store keeps them, each once (engine.md 2.4)."""
    kept: dict[Network | str, str] = {}
    found: list[Mistake] = []
    for item in items:
        try:
            if ident_by is IdentBy.IP:
                network, cleared = _network(item)
                text = format_network(network) if cleared else item
                kept.setdefault(network, text)
                if cleared:
                    message = f"{quoted(item)} has bits set after the mask; stored as {quoted(text)}"
                    found.append(Mistake("ident", item, message, _HOST_BITS))
                elif network in _UNSPECIFIED:
                    found.append(Mistake("ident", item, _unspecified(item), _NO_SOURCES))
            else:
                name = read_text(item) if ident_by is IdentBy.NAME else _ani(item)
                if name is not None:
                    kept.setdefault(name, name)
                if ident_by is IdentBy.ANI:
                    found += number_warnings("ident", item)
                elif "," in item:
                    found.append(
                        Mistake("ident", item, sentences(f"{quoted(item)} is one name", _SEPARATE), _COMMAS)
                    )
        except ValueError as error:
            mistakes.append(Mistake("ident", cell_text(item), str(error)))
    if warnings is not None:
        warnings += found
    return tuple(kept.values())


_UNSPECIFIED = frozenset(parse_network(text)[0] for text in ("0.0.0.0", "::"))  # noqa: S104 - nothing is bound
"""The addresses that no call comes from."""


def _network(item: str) -> tuple[Network, bool]:
    """Return the result of :func:`parse_network`. Raise ValueError."""
    try:
        return parse_network(item)
    except ValueError:
        if "," in item or len(item.split()) > 1:
            raise ValueError(expected('";" between the items', item)) from None
        raise


def _ani(item: str) -> str | None:
    """Return the number of an item. Raise ValueError."""
    if "," in item:
        raise ValueError(expected('";" between the items', item))
    return read_number(item)


def _unspecified(item: str) -> str:
    """Return the warning for the address ``0.0.0.0`` or ``::``."""
    network = "::/0" if ":" in item else "0.0.0.0/0"
    return f"no call comes from {quoted(item)}. Write {network} if you mean every address."


_SEPARATE = 'Write ";" between two names.'
_COMMAS = f"{{}} names have a comma in them: {{}}. {_SEPARATE}"
_HOST_BITS = "{} networks have bits set after the mask: {}. The bits were cleared."
_NO_SOURCES = "{} addresses are 0.0.0.0 or ::, and no call comes from them: {}. Write 0.0.0.0/0 for every address."


def _gateways(items: tuple[str, ...], mistakes: list[Mistake]) -> tuple[str, ...]:
    """Return the gateways as written, each once without regard to case (engine.md 2.3)."""
    kept: dict[str, str] = {}
    for item in items:
        try:
            read_text(item)
        except ValueError as error:
            mistakes.append(Mistake("gateways", cell_text(item), str(error)))
        else:
            kept.setdefault(item.casefold(), item)
    return tuple(kept.values())
