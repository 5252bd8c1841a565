"""Edits of the book: each is one transaction and one new version (engine.md 8.1).

An edit is a function of a :class:`~identengine.store.draft.Draft`, which :func:`apply` runs. The
:class:`~identengine.provisioning.rows.Rows` of a table check the values of a row and its references to other rows.
A :data:`~identengine.provisioning.choices.Choice` selects the rows; a text selects the row of this id or name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from identengine.book.items import ItemChange, changed_items, has_already, has_not
from identengine.book.loosening import FieldChange, loosened
from identengine.book.mistakes import Mistake, RowError
from identengine.book.records import Cells, account_from
from identengine.book.report import FieldChanges
from identengine.errors import Problem
from identengine.lint.findings import Finding
from identengine.lint.scope import Scope
from identengine.model.records import Account, Client, ClientStatus
from identengine.provisioning.changes import changed, verb
from identengine.provisioning.choices import Choice, named
from identengine.provisioning.findings import NO_SCOPE, findings_of
from identengine.provisioning.manyrows import Make, ManyRows
from identengine.provisioning.rows import ACCOUNTS, CLIENTS, ExistsError, R, Rows
from identengine.store.draft import Draft
from identengine.store.format import Change
from identengine.store.vault import Vault
from identengine.store.versions import Store

MANY = 100
"""Largest number of rows that an edit changes without ``--yes`` (interfaces.md 2)."""


class Edited(NamedTuple):
    """The result of an edit of the draft."""

    changes: Iterable[Change]
    """The changes. They are read before the transaction ends."""
    warnings: Sequence[Mistake | Problem] = ()
    """Values that are valid but probably a mistake (engine.md 8.5)."""
    finish: Callable[[], None] | None = None
    """The last step before the commit, such as to keep a new key."""


class Applied(NamedTuple):
    """The result of an edit of the store, with the version that it created."""

    version: int | None
    """None if the edit changed nothing, was refused, or was a dry run."""
    changes: tuple[Change, ...]
    """The first changes, as many as the caller asked for."""
    warnings: tuple[Mistake | Problem, ...]
    counts: tuple[tuple[str, str, int], ...] = ()
    """Table, kind of change (:func:`~identengine.provisioning.changes.verb`) and number of rows."""
    loosens: tuple[FieldChange, ...] = ()
    """The first fields that let more calls pass than before (engine.md 9.2)."""
    loosens_count: int = 0
    findings: tuple[Finding, ...] = ()
    """Troubles that the edit brings (engine.md 8.5)."""
    needs_yes: bool = False
    """True if more than :data:`MANY` rows would change and the operator did not agree. Nothing was changed."""

    @property
    def total(self) -> int:
        """Number of rows that changed."""
        return sum(count for _, _, count in self.counts)


Edit = Callable[[Draft], Edited]
"""Change the draft. Raise RowError, NotFoundError or IdentengineError to leave the book as it was."""


class _NeedsYesError(Exception):
    """Rolls back the transaction of an edit that changes many rows."""

    def __init__(self, applied: Applied) -> None:
        self.applied = applied


def apply(
    store: Store,
    who: str,
    what: str,
    edit: Edit,
    *,
    dry_run: bool = False,
    most: int | None = None,
    allowed: int | None = None,
    scope: Scope = NO_SCOPE,
) -> Applied:
    """Apply ``edit`` as one version, or only try it if ``dry_run`` is set. An error in ``edit`` changes nothing.

    The audit log records ``who`` and ``what`` (engine.md 8.4). The result holds at most ``most`` changes. An edit
    that changes more than ``allowed`` rows changes nothing, and its result has ``needs_yes``. The findings are
    those by ``scope``. Raise StoreError, or any error of ``edit``.
    """

    def run(draft: Draft) -> Applied:
        edited = edit(draft)
        applied = _gathered(edited, most)
        if applied.total:
            all_known = applied.total == len(applied.changes)
            changes = applied.changes if all_known else draft.changes()
            applied = applied._replace(findings=findings_of(draft, changes, scope))
        if allowed is not None and applied.total > allowed:
            applied = applied._replace(needs_yes=True)
            if not dry_run:
                raise _NeedsYesError(applied)
        if edited.finish is not None and not dry_run:
            edited.finish()
        return applied

    try:
        info, applied = store.change(who, what, run, dry_run=dry_run)
    except _NeedsYesError as stop:
        return stop.applied
    return applied if dry_run or not applied.total else applied._replace(version=info.version)


def _gathered(edited: Edited, most: int | None) -> Applied:
    """Return the result of an edit without a version. The changes are read once and not all kept."""
    counts: Counter[tuple[str, str]] = Counter()
    loosens = FieldChanges()

    def counted(change: Change) -> Change:
        counts[change.table, verb(change)] += 1
        for field in loosened(change):
            loosens.add(field)
        return change

    real = (counted(change) for change in edited.changes if change.before != change.after)
    first = tuple(islice(real, most))
    for _ in real:
        pass
    return Applied(
        version=None,
        changes=first,
        warnings=tuple(edited.warnings),
        counts=tuple((table, word, count) for (table, word), count in counts.items()),
        loosens=loosens.done(),
        loosens_count=loosens.total,
    )


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
        return Edited(changes, found)

    return edit


def alter(rows: Rows[R], chosen: str | Choice[R], make: Make[R], finish: Callable[[], None] | None = None) -> Edit:
    """Return the edit that replaces each chosen row with the result of ``make``.

    ``finish`` runs before the commit.
    """
    choose = _choice(rows, chosen)

    def edit(draft: Draft) -> Edited:
        many = ManyRows(rows, draft)
        for before in choose(draft):
            many.change(before, make)
        return Edited(draft.changes(), many.finish(), finish)

    return edit


def set_columns(rows: Rows[R], chosen: str | Choice[R], cells: Cells, items: Sequence[ItemChange] = ()) -> Edit:
    """Return the edit that changes the columns of ``cells`` in each chosen row, and then ``items`` of its lists.

    The other columns keep their values.
    """
    choose = _choice(rows, chosen)

    def edit(draft: Draft) -> Edited:
        given = rows.resolved(draft, cells)
        lists = _Items(items)
        many = ManyRows(rows, draft)

        def make(before: R) -> tuple[R, Sequence[Mistake]]:
            found, idle = lists.cells(before) if isinstance(before, Account) else ({}, [])
            after, warnings = rows.read({**given, **found}, before)
            return after, [*warnings, *idle]

        for before in choose(draft):
            many.change(before, make)
        warnings = many.finish()
        lists.require_effect()
        return Edited(draft.changes(), warnings)

    return edit


class _Items:
    """The items that one edit adds to the lists of accounts or removes from them."""

    def __init__(self, changes: Sequence[ItemChange]) -> None:
        self._changes = changes
        self._rows = 0
        self._first: Account | None = None
        self._absent: Counter[tuple[int, str]] = Counter()
        """Place of a removal and its item, to the number of accounts that do not have the item."""

    def cells(self, row: Account) -> tuple[dict[str, tuple[str, ...]], list[Mistake]]:
        """Return the cells of the lists that change in an account, and a warning for each item that it had."""
        self._rows += 1
        self._first = self._first or row
        cells: dict[str, tuple[str, ...]] = {}
        warnings: list[Mistake] = []
        for place, change in enumerate(self._changes):
            before = cells.get(change.column, getattr(row, change.column))
            found = changed_items(row, before, change)
            cells[change.column] = found.items
            if change.sign == "+":
                warnings += [has_already(change, item, row.id) for item in found.idle]
            else:
                self._absent.update((place, item) for item in found.idle)
        return cells, warnings

    def require_effect(self) -> None:
        """Raise RowError for each item that should be removed and that no account has."""
        if self._first is not None and (
            wrong := [one for one, count in self._absent.items() if count == self._rows]
        ):
            found = [has_not(self._changes[place], item, self._first, self._rows) for place, item in wrong]
            raise RowError(list(dict.fromkeys(found)))


def remove(rows: Rows[R], chosen: str | Choice[R]) -> Edit:
    """Return the edit that removes the chosen rows, and the DIDs of removed accounts."""
    choose = _choice(rows, chosen)

    def edit(draft: Draft) -> Edited:
        rows.delete_all(draft, choose(draft))
        return Edited(draft.changes())

    return edit


def switch_parts(chosen: str | Choice[Account], *, orig: bool, term: bool, on: bool) -> Edit:
    """Return the edit that switches the named parts of accounts on or off (engine.md 1.2)."""

    def make(before: Account) -> tuple[Account, Sequence[Mistake]]:
        return msgspec.structs.replace(
            before,
            orig_enabled=on if orig else before.orig_enabled,
            term_enabled=on if term else before.term_enabled,
        ), ()

    return alter(ACCOUNTS, chosen, make)


def enable(chosen: str | Choice[Account]) -> Edit:
    """Return the edit that switches on the parts of accounts which were on when they were last enabled.

    An account that was never enabled gets the originator alone. An account with a part that is on stays as it is.
    """
    choose = _choice(ACCOUNTS, chosen)

    def edit(draft: Draft) -> Edited:
        many = ManyRows(ACCOUNTS, draft)

        def make(before: Account) -> tuple[Account, Sequence[Mistake]]:
            orig, term = _parts_before(draft, before)
            return msgspec.structs.replace(before, orig_enabled=orig, term_enabled=term), ()

        for before in choose(draft):
            many.change(before, make)
        return Edited(draft.changes(), many.finish())

    return edit


def _parts_before(draft: Draft, account: Account) -> tuple[bool, bool]:
    """Return the parts that were on when the account was last enabled, as (orig, term)."""
    if not account.disabled:
        return (account.orig_enabled, account.term_enabled)
    for _info, before, after in draft.history(account):
        for state in (after, before):
            if isinstance(state, Account) and not state.disabled:
                return (state.orig_enabled, state.term_enabled)
    return (True, False)


def set_status(chosen: str | Choice[Client], status: ClientStatus) -> Edit:
    """Return the edit that blocks or unblocks clients (engine.md 3.5)."""
    return alter(CLIENTS, chosen, lambda before: (msgspec.structs.replace(before, status=status), ()))


def set_password(chosen: str | Choice[Account], plain: str, vault: Vault) -> Edit:
    """Return the edit that sets the password of an account (engine.md 1.7) and keeps a new key."""
    return set_passwords(chosen, lambda _account: plain, vault)


def set_passwords(chosen: str | Choice[Account], plain_of: Callable[[Account], str], vault: Vault) -> Edit:
    """Return the edit that gives each account the password that ``plain_of`` returns, and keeps a new key."""

    def make(before: Account) -> tuple[Account, Sequence[Mistake]]:
        return account_from({"password": plain_of(before)}, before, vault), ()

    return alter(ACCOUNTS, chosen, make, vault.keep)


def clear_password(chosen: str | Choice[Account]) -> Edit:
    """Return the edit that clears the password of accounts."""
    return alter(ACCOUNTS, chosen, lambda before: (msgspec.structs.replace(before, password=None), ()))


def _choice(rows: Rows[R], chosen: str | Choice[R]) -> Choice[R]:
    return named(rows, (chosen,)) if isinstance(chosen, str) else chosen
