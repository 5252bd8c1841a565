"""Edits of the book: each is one transaction and one new version (engine.md 8.1).

An edit is a function of a :class:`~identengine.store.draft.Draft`, which :func:`apply` runs. The
:class:`~identengine.provisioning.rows.Rows` of a table check the values of a row and its references to other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from identengine.book.mistakes import Mistake
from identengine.book.records import Cells, account_from
from identengine.lint.findings import Finding
from identengine.lint.scope import Scope
from identengine.model.records import Account, ClientStatus
from identengine.provisioning.changes import changed
from identengine.provisioning.findings import NO_SCOPE, findings_of
from identengine.provisioning.rows import ACCOUNTS, CLIENTS, ExistsError, R, Rows
from identengine.store.draft import Draft
from identengine.store.format import Change
from identengine.store.vault import Vault
from identengine.store.versions import Store


class Edited(NamedTuple):
    """The result of an edit of the draft."""

    changes: tuple[Change, ...]
    warnings: tuple[Mistake, ...] = ()
    """Values that are valid but probably a mistake (engine.md 8.5)."""


class Applied(NamedTuple):
    """The result of an edit of the store, with the version that it created."""

    version: int | None
    """None if the edit changed nothing, or was a dry run."""
    changes: tuple[Change, ...]
    warnings: tuple[Mistake, ...]
    findings: tuple[Finding, ...] = ()
    """Troubles that the edit brings (engine.md 8.5)."""


Edit = Callable[[Draft], Edited]
"""Change the draft. Raise RowError, NotFoundError or IdentengineError to leave the book as it was."""


def apply(
    store: Store, who: str, what: str, edit: Edit, *, dry_run: bool = False, scope: Scope = NO_SCOPE
) -> Applied:
    """Apply ``edit`` as one version, or only try it if ``dry_run`` is set. An error in ``edit`` changes nothing.

    The audit log records ``who`` and ``what`` (engine.md 8.4). The findings are those by ``scope``. Raise
    StoreError, or any error of ``edit``.
    """

    def judged(draft: Draft) -> Applied:
        edited = edit(draft)
        real = tuple(change for change in edited.changes if change.before != change.after)
        return Applied(None, real, edited.warnings, findings_of(draft, real, scope) if real else ())

    info, done = store.change(who, what, judged, dry_run=dry_run)
    return done._replace(version=info.version if done.changes and not dry_run else None)


def add(rows: Rows[R], cells: Cells, *, reuse_id: bool = False) -> Edit:
    """Return the edit that adds a row, or the DIDs of a range.

    The edit raises ExistsError if a row has this key already. ``reuse_id`` allows the id of a removed account.
    """

    def edit(draft: Draft) -> Edited:
        changes: list[Change] = []
        found: list[Mistake] = []
        for one in rows.each(rows.resolved(draft, cells)):
            made, warnings = rows.read(rows.with_key(draft, one), None)
            if (there := rows.same(draft, made)) is not None:
                raise ExistsError(rows.name, there)
            rows.check(draft, made)
            if not reuse_id:
                rows.check_new(draft, made)
            rows.put(draft, made)
            changes.append(changed(None, made))
            found += warnings
        return Edited(tuple(changes), tuple(found))

    return edit


def set_columns(rows: Rows[R], wanted: str, cells: Cells) -> Edit:
    """Return the edit that changes the columns of ``cells`` in a row, or in the DIDs of a range.

    The other columns keep their values.
    """

    def edit(draft: Draft) -> Edited:
        changes: list[Change] = []
        found: list[Mistake] = []
        named = rows.resolved(draft, cells)
        for before in rows.find_all(draft, wanted):
            after, warnings = rows.read(named, before)
            rows.check(draft, after)
            rows.put(draft, after)
            changes.append(changed(before, after))
            found += warnings
        return Edited(tuple(changes), tuple(found))

    return edit


def remove(rows: Rows[R], wanted: str) -> Edit:
    """Return the edit that removes a row, or the DIDs of a range."""

    def edit(draft: Draft) -> Edited:
        return Edited(tuple(change for row in rows.find_all(draft, wanted) for change in rows.delete(draft, row)))

    return edit


def switch_parts(wanted: str, *, orig: bool, term: bool, on: bool) -> Edit:
    """Return the edit that switches the named parts of an account on or off (engine.md 1.2)."""

    def make(before: Account) -> Account:
        return msgspec.structs.replace(
            before,
            orig_enabled=on if orig else before.orig_enabled,
            term_enabled=on if term else before.term_enabled,
        )

    return _alter(ACCOUNTS, wanted, make)


def parts_before(store: Store, account: Account) -> tuple[bool, bool]:
    """Return the parts that were on when the account was last enabled, as (orig, term).

    If it was never enabled, return the originator alone.
    """
    if not account.disabled:
        return (account.orig_enabled, account.term_enabled)
    found = (True, False)
    for entry in store.audit(account=account.id):
        for state in (entry.change.before, entry.change.after) if entry.change else ():
            if isinstance(state, Account) and state.id == account.id and not state.disabled:
                found = (state.orig_enabled, state.term_enabled)
    return found


def set_status(wanted: str, status: ClientStatus) -> Edit:
    """Return the edit that blocks or unblocks a client (engine.md 3.5)."""
    return _alter(CLIENTS, wanted, lambda before: msgspec.structs.replace(before, status=status))


def set_password(wanted: str, plain: str, vault: Vault) -> Edit:
    """Return the edit that sets the password of an account (engine.md 1.7) and keeps a new key."""

    def make(before: Account) -> Account:
        return account_from({"password": plain}, before, vault)

    return _alter(ACCOUNTS, wanted, make, vault.keep)


def clear_password(wanted: str) -> Edit:
    """Return the edit that clears the password of an account."""
    return _alter(ACCOUNTS, wanted, lambda before: msgspec.structs.replace(before, password=None))


def _alter(rows: Rows[R], wanted: str, make: Callable[[R], R], finish: Callable[[], None] = lambda: None) -> Edit:
    """Return the edit that replaces a row with the result of ``make``. ``finish`` runs last in the transaction."""

    def edit(draft: Draft) -> Edited:
        before = rows.find(draft, wanted)
        after = make(before)
        rows.put(draft, after)
        finish()
        return Edited((changed(before, after),))

    return edit
