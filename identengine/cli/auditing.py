"""Entries in the audit log for commands that change no row of the book (engine.md 8.4).

Rule: a command that shows something secret records it first. Without an entry, it shows nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from identengine.cli.output import hint
from identengine.cli.workspace import Workspace, author, find_workspace
from identengine.errors import StoreError, counted, sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from identengine.store.versions import Noted
    from identengine.wire.operator import LegRow

_ACCOUNTS = 100
"""Most accounts with an entry of their own when calls are ended. For more, one entry has their number."""


def record(
    here: Workspace,
    who: str | None,
    what: str,
    *,
    account: int | None = None,
    client: int | None = None,
    number: str | None = None,
) -> None:
    """Record in the audit log that ``who`` (``--who``, or None for the login name) did ``what``.

    ``what`` is a clause such as ``rejects read: --account 17``. ``account``, ``client`` and ``number`` (a DID in
    normal form) are the rows that it is about, by which ``audit`` finds the entry. Raise StoreError if the store
    cannot be written.
    """
    from identengine.store.versions import Noted

    record_all(here, who, [Noted(what, account, client, number)])


def record_all(here: Workspace, who: str | None, events: Sequence[Noted]) -> None:
    """Record several events at once, all or none. Raise as :func:`record` does."""
    name = author(who)
    try:
        with here.open() as opened:
            opened.note_all(name, events)
    except StoreError as error:
        raise StoreError(sentences(f"the audit log cannot be written: {error}")) from error


class CallsEnded:
    """The entry that ``calls end`` leaves: which calls it ended, for each account.

    The store is opened before a call is ended, so that a command that cannot record anything ends nothing.
    """

    def __init__(self, store: Path | None, config: Path | None, who: str | None, selection: str) -> None:
        """Prepare the entry. Raise StoreError if the store that an option names cannot be written."""
        self._here = None if store is None and config is None else find_workspace(store, config)
        self._who = author(who)
        self._selection = selection
        self._legs: Counter[int] = Counter()
        if self._here is not None:
            try:
                self._here.open().close()
            except StoreError as error:
                remedy = "No call was ended. Use --calls DIR alone to end calls without an entry."
                raise StoreError(sentences(f"the audit log cannot be written: {error}", remedy)) from error

    def add(self, legs: Iterable[LegRow]) -> None:
        """Count legs that the server was asked to end."""
        self._legs.update(leg.account_id for leg in legs)

    def record(self) -> None:
        """Record the legs, or hint that no option names the store. Raise StoreError."""
        from identengine.store.versions import Noted

        if not self._legs:
            return
        if self._here is None:
            hint("This is not in the audit log: no option names the store. Use --config FILE or --store DIR.")
            return
        what = f"calls end {self._selection}"
        if len(self._legs) > _ACCOUNTS:
            total = f"{counted(self._legs.total(), 'leg')} of {counted(len(self._legs), 'account')}"
            record_all(self._here, self._who, [Noted(f"{what}: {total}")])
            return
        events = [Noted(f"{what}: {counted(legs, 'leg')}", account) for account, legs in self._legs.items()]
        record_all(self._here, self._who, events)
