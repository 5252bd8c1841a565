"""Rows and changes as text for people and as objects for JSON, field by field.

Rule: a password appears only as set or not set.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from identengine.errors import quoted
from identengine.model.records import Account, BookRow, Client, Did
from identengine.store.format import Change, field_changes


def shown(value: object) -> str:
    """Return the value of a field as text. It is empty if the field is not set."""
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        return ";".join(map(str, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def as_object(row: BookRow) -> dict[str, object]:
    """Return a row for JSON: the columns of interfaces.md 1, and ``password`` as true or false."""
    found: dict[str, object] = msgspec.structs.asdict(row)
    if "password" in found:
        found["password"] = found["password"] is not None
    return found


def changed(before: BookRow | None, after: BookRow | None) -> Change:
    """Return the change from one state of a row to another. None means that the row does not exist.

    Raise ValueError if both are None.
    """
    row = after if before is None else before
    if isinstance(row, Did):
        return Change("did", row.number, before, after)
    if row is None:
        raise ValueError("expected a row before or after the change, got none")
    return Change("client" if isinstance(row, Client) else "account", row.id, before, after)


def summary(change: Change) -> str:
    """Return the changed fields on one line: ``name "a" -> "b", orig_tag "x" -> not set``."""
    parts = []
    for name, before, after in field_changes(change):
        if name == "password":
            parts.append(f"password {before} -> {after}")
        else:
            parts.append(f"{name} {told(before)} -> {told(after)}")
    return ", ".join(parts)


def change_rows(change: Change) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield a change as table rows: change, key, field, before, after. Only the first row has change and key."""
    head = (f"{change.table} {verb(change)}", str(change.key))
    for name, before, after in field_changes(change):
        yield (*head, name, shown(before), shown(after))
        head = ("", "")


def change_object(change: Change) -> dict[str, object]:
    """Return a change for JSON: table, key, kind of change, and before and after of each field that differs."""
    fields = {name: {"before": before, "after": after} for name, before, after in field_changes(change)}
    return {"table": change.table, "key": change.key, "change": verb(change), "fields": fields}


def verb(change: Change) -> str:
    """Return the kind of change: added, changed, disabled (an account's last part went off) or removed."""
    before, after = change.before, change.after
    if before is None:
        return "added"
    if after is None:
        return "removed"
    if isinstance(before, Account) and isinstance(after, Account) and after.disabled and not before.disabled:
        return "disabled"
    return "changed"


def told(value: object) -> str:
    """Return the value of a field as a sentence shows it: quoted, or ``not set``."""
    return "not set" if value in (None, ()) else quoted(shown(value))
