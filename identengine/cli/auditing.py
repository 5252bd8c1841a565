"""Entries in the audit log for commands that change no row of the book (engine.md 8.4).

Rule: a command that shows something secret records it first. Without an entry, it shows nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from identengine.cli.workspace import Workspace, author
from identengine.errors import StoreError, sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from identengine.store.versions import Noted


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
