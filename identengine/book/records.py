"""Rows of a book become clients, accounts and DIDs (engine.md 1.1 to 1.3).

An import (CSV cells, JSON values) and the command line (``accounts set column=value``) both come through here,
so a value is right or wrong in both alike. Nothing here reads a file or a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

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
from identengine.book.mistakes import Mistake, RowError, shown, unknown_column
from identengine.book.passwords import password_token
from identengine.model.addresses import Network, format_network, parse_network
from identengine.model.records import Account, Client, Did, IdentBy
from identengine.store.vault import Vault

Cells = Mapping[str, object]
"""Column name to what stands there: text, or a JSON value. None and ``""`` mean that nothing stands there."""


def client_from(cells: Cells, before: Client | None = None, *, partial: bool = False) -> Client:
    """Return the client that ``cells`` describe (engine.md 1.1).

    With ``partial`` the columns that are not in ``cells`` stay as in ``before``. Raises RowError.
    """
    mistakes: list[Mistake] = []
    fields = _fields(cells, CLIENT_CONVERTERS, mistakes)
    fields = _completed(fields, cells, before, partial, CLIENTS.required, mistakes)
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
    fields = _fields(cells, ACCOUNT_CONVERTERS, mistakes)
    fields = _completed(fields, cells, before, partial, ACCOUNTS.required, mistakes)
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
    password = password_token(cells.get("password"), before.password if before else None, vault, mistakes)
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
    fields = _fields(cells, DID_CONVERTERS, mistakes)
    fields = _completed(fields, cells, before, partial, DIDS.required, mistakes)
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
                name = read_text(item) if ident_by is IdentBy.NAME else read_number(item)
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
            read_text(item)
        except ValueError as error:
            mistakes.append(Mistake("gateways", shown(item), str(error)))
        else:
            kept.setdefault(item.casefold(), item)
    return tuple(kept.values())
