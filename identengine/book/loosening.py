"""The fields that an import opens: those that it loosens, and those that it leaves as a person closed them.

They are reported by name (engine.md 9.2, 9.3). Rule: a new row loosens nothing, because nothing was closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TypeVar

import msgspec

from identengine.model.addresses import Network, parse_network
from identengine.model.records import Account, BookRow, Client, ClientStatus, Did, IdentBy, SrcPolicy
from identengine.store.draft import Draft
from identengine.store.format import Change, field_changes

T = TypeVar("T", Client, Account, Did)

IMPORT = "import "
"""Beginning of the description of each version that an import made. A person made every other version."""
_CLOSED: dict[str, object] = {"status": ClientStatus.BLOCKED, "orig_enabled": False, "term_enabled": False}
"""Fields that close a client or a part of an account, and the value that closes."""
_DROPPED = frozenset({"tech_prefix", "password", "gateways", "term_port", "term_protocol"})
"""Fields of an account that restrict its calls if they are set."""
_LIMITS = frozenset({"capacity", "orig_capacity", "term_capacity", "orig_cps"})


class FieldChange(msgspec.Struct, frozen=True, gc=False):
    """A field of a row, its value before the import, and the value of the file."""

    table: str
    """``client`` or ``account``."""
    key: int | str
    field: str
    before: object
    """The value, or for a password ``set`` or ``not set``."""
    after: object


def loosened(change: Change) -> Iterator[FieldChange]:
    """Yield the fields that a change of a row loosens (engine.md 9.2)."""
    if isinstance(change.after, Did) or change.before is None or change.after is None:
        return
    for field, before, after in field_changes(change):
        if _loosens(change.before, change.after, field):
            yield FieldChange(change.table, change.key, field, before, after)


def _loosens(before: BookRow, after: BookRow, field: str) -> bool:
    """Return True if the new value of a field lets calls pass that the old one rejected."""
    old, new = getattr(before, field), getattr(after, field)
    if field in _CLOSED:
        return bool(old == _CLOSED[field])
    if field in _LIMITS:
        return old is not None and (new is None or new > old)
    if field == "src_policy":
        return bool(new == SrcPolicy.ALLOW_ANY)
    if field == "tech_prefix" and new:
        return bool(old) and old.startswith(new)
    if field in _DROPPED:
        return bool(old) and not new
    if field == "ident" and isinstance(before, Account) and isinstance(after, Account):
        return before.ident_by is after.ident_by is IdentBy.IP and _widened(before, after)
    return False


def _widened(before: Account, after: Account) -> bool:
    """Return True if a network of an account was replaced or joined by one that contains it."""
    old = [parse_network(text)[0] for text in before.ident]
    new = {parse_network(text)[0] for text in after.ident} - set(old)
    return any(_contains(wide, narrow) for wide, narrow in product(new, old))


def _contains(wide: Network, narrow: Network) -> bool:
    return wide.length < narrow.length and wide.covers(narrow.address)


def held_fields(draft: Draft, before: T, after: T) -> dict[str, object]:
    """Return the fields that a person closed and ``after`` would open, with their values (engine.md 9.3)."""
    if isinstance(after, Did):
        return {}
    return {
        field: closed
        for field, closed in _CLOSED.items()
        if getattr(before, field, None) == closed != getattr(after, field, closed)
        and _closed_by_hand(draft, before, field, closed)
    }


def _closed_by_hand(draft: Draft, row: Client | Account, field: str, closed: object) -> bool:
    """Return True if the newest change that closed the field was not an import.

    The originator of an account that a person added without it is closed, and the terminator is not: without it is
    the default.
    """
    for info, before, after in draft.history(row):
        if getattr(after, field, None) != closed:
            return False
        if before is None or getattr(before, field) != closed:
            is_default = before is None and field == "term_enabled"
            return not is_default and not info.what.startswith(IMPORT)
    return False
