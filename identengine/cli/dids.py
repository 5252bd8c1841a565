"""``identengine dids …``: show, add, change and remove the numbers that accounts own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from identengine.cli.display import Display, Facts, Field, Page, Shape, watched
from identengine.cli.editcommands import add_edits
from identengine.cli.filters import DidFilters
from identengine.cli.options import AsJson, ConfigFile, Limit, Offset, StoreDir
from identengine.cli.optionsets import spread
from identengine.cli.output import Column
from identengine.cli.styles import Painted, Style
from identengine.cli.tables import Table, add_commands, reading, show_list
from identengine.errors import DamagedError
from identengine.model.records import Did, DidStatus
from identengine.provisioning.changes import as_object
from identengine.provisioning.listing import SINGLE_READS
from identengine.provisioning.search import did_has_words

if TYPE_CHECKING:
    from identengine.provisioning.rows import Rows
    from identengine.store.snapshot import Snapshot
    from identengine.store.versions import Store

_STEP = 50_000

app = typer.Typer(
    no_args_is_help=True,
    help="Manage DIDs, the numbers that accounts own. Src Policy lets accounts show their active DIDs.",
    epilog="Example: identengine dids list --store STORE --account 181",
)


class _DidDisplay(Display[Did]):
    """DIDs with the names of their accounts."""

    record = Did
    noun = "DID"

    def __init__(self, book: Snapshot) -> None:
        super().__init__(book)
        self._names: dict[int, str] = {}

    def every(self) -> Iterator[Did]:
        return self.watched(self.book.dids())

    def watched(self, dids: Iterator[Did]) -> Iterator[Did]:
        """Yield the DIDs, and show a progress bar if they are many."""
        return watched(dids, "DIDs", self.book.counts.dids, _STEP)

    @property
    def total(self) -> int:
        return self.book.counts.dids

    def usual(self, *, compact: bool) -> Sequence[str]:
        return tuple(self.own(compact=compact))

    def own(self, *, compact: bool) -> dict[str, Field[Did]]:
        return {
            "number": Field(
                Column("Number", firm=True), lambda did: did.number, lambda did: did.number, ("number",)
            ),
            "account_id": Field(
                Column("Account ID", right=True),
                lambda did: str(did.account_id),
                lambda did: did.account_id,
                ("account_id",),
            ),
            "account": Field(
                Column("Account", least=9),
                lambda did: self.name_of(did.account_id) or "?",
                lambda did: self.name_of(did.account_id).casefold() or None,
            ),
            "status": Field(Column("Status"), _status, lambda did: did.status.value, ("status",)),
        }

    def name_of(self, account_id: int) -> str:
        """Return the name of an account, or an empty text if it does not exist."""
        names = self._names
        if account_id not in names:
            if len(names) == SINGLE_READS:
                with suppress(DamagedError):  # single reads find out whether an account that is needed is sound
                    names.update((account.id, account.name) for account in self.book.accounts())
            if account_id not in names:
                account = self.book.account(account_id)
                names[account_id] = account.name if account else ""
        return names[account_id]

    def as_object(self, row: Did) -> dict[str, object]:
        return as_object(row)

    def has_words(self, words: Sequence[str]) -> Callable[[Did], bool]:
        return did_has_words(words, self.name_of)

    def details(self, opened: Store, row: Did) -> tuple[dict[str, object], Facts]:
        account = self.book.account(row.account_id)
        client = self.book.client(account.client_id) if account else None
        return {
            "account_name": account.name if account else None,
            "client_id": client.id if client else None,
            "client_name": client.name if client else None,
        }, [
            ("number", row.number),
            ("status", row.status.value),
            ("account", f"{row.account_id} {account.name if account else '?'}"),
            ("client", f"{client.id} {client.name}" if client else None),
        ]


def _status(did: Did) -> str:
    status = did.status.value
    return status if did.status is DidStatus.ACTIVE else Painted(status, Style.BLOCKED)


def _rows() -> Rows[Did]:
    from identengine.provisioning.rows import DIDS

    return DIDS


_TABLE = Table(
    family="dids",
    noun="DID",
    metavar="NUMBER",
    key_help="The number in any spelling, or a range: 442079460100-442079460199.",
    columns_help="Columns as in the dids file of a book: number, account_id, status.",
    display=_DidDisplay,
    rows=_rows,
    filters=DidFilters,
    search_help=(
        "Search DIDs by any part of the number, by status, or by id or name of the account.\n\n"
        "Example: identengine dids search --store STORE 7946"
    ),
    show_help=(
        "Show a DID with its account and client.\n\n"
        'Example: identengine dids show --store STORE "+44 20 7946 0201"'
    ),
    add_help=(
        "Add a DID to an account.\n\n"
        'Example: identengine dids add --store STORE number="+44 20 7946 0950" account_id=181'
    ),
    set_help=(
        "Change the status of DIDs, or assign them to another account. Filters select all DIDs of an account.\n\n"
        "Example: identengine dids set --store STORE --account 181 account_id=182"
    ),
    edit_help=(
        "Change the DIDs of a file: the columns that it has, by number or range. No DID is added.\n\n"
        "Example: identengine dids edit --store STORE --from numbers.csv --dry-run"
    ),
    remove_help=(
        "Remove DIDs from their accounts.\n\n"
        'Example: identengine dids remove --store STORE "+44 20 7946 0205" --yes'
    ),
)


@spread
def list_dids(
    filters: DidFilters,
    shape: Shape,
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List DIDs.

    Example: identengine dids list --store STORE --account 181 --status on_hold
    """
    with reading(store, config) as (_, book):
        display = _DidDisplay(book)
        kept = filters.among(display.watched(filters.every(book)), book)
        show_list(display, kept, Page(limit, offset), shape, filtered=filters.is_set, as_json=as_json)


add_commands(app, _TABLE, listing=list_dids)
add_edits(app, _TABLE)
