"""``identengine dids …``: the numbers that accounts own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli import cells
from identengine.cli.editing import Edited, change, report, would
from identengine.cli.fields import as_object, changed
from identengine.cli.lookup import NotFoundError, find_account, find_client
from identengine.cli.options import AsJson, ConfigFile, Limit, Offset, StoreDir, Who, Yes
from identengine.cli.output import Column, emit, emit_many, facts, none_shown, progress, screenful, table
from identengine.cli.workspace import place
from identengine.model.numbers import normal_number
from identengine.model.records import Account, Did, DidStatus

if TYPE_CHECKING:
    from identengine.store.draft import Draft
    from identengine.store.snapshot import Snapshot

app = typer.Typer(
    no_args_is_help=True,
    help="DIDs: the numbers that accounts own; the active ones are those that Src Policy lets them show.",
    epilog="Example: identengine dids list --store STORE --account 181",
)

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The number, however it is written.")]
Columns = Annotated[
    list[str],
    typer.Argument(metavar="COLUMN=VALUE", help="Columns as in a book's dids file: number, account_id, status."),
]

_COLUMNS = (Column("Number", firm=True), Column("Account ID", right=True), Column("Account"), Column("Status"))


@app.command("list")
def list_dids(
    client: Annotated[str | None, typer.Option(metavar="CLIENT", help="Of this client: id or name.")] = None,
    account: Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Of this account: id or name.")] = None,
    status: Annotated[DidStatus | None, typer.Option(help="With this status.")] = None,
    number: Annotated[str | None, typer.Option(metavar="NUMBER", help="That begin with this number.")] = None,
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List DIDs.

    Example: identengine dids list --store STORE --account 181 --status on_hold
    """
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        start = _normal(number) if number is not None else ""
        source = _of(book, client, account)
        kept = (
            did
            for did in _told(source, book)
            if (status is None or did.status is status) and did.number.startswith(start)
        )
        _show(book, kept, limit, offset, as_json=as_json)


@app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Digits that have to be in the number.")],
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Search DIDs by any part of their number.

    Example: identengine dids search --store STORE 7946
    """
    part = _normal(text)
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        _show(
            book, (did for did in _told(book.dids(), book) if part in did.number), limit, offset, as_json=as_json
        )


@app.command()
def show(number: Number, store: StoreDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show one DID and whose it is.

    Example: identengine dids show --store STORE "+44 20 7946 0201"
    """
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        found = _find(book, number)
        account = book.account(found.account_id)
        client = book.client(account.client_id) if account else None
        if as_json:
            emit(
                as_object(found)
                | {
                    "account_name": account.name if account else None,
                    "client_id": client.id if client else None,
                    "client_name": client.name if client else None,
                }
            )
            return
        facts(
            [
                ("number", found.number),
                ("status", found.status.value),
                ("account", f"{found.account_id} {account.name if account else '?'}"),
                ("client", f"{client.id} {client.name}" if client else None),
            ]
        )


@app.command()
def add(
    columns: Columns,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Give an account a number.

    Example: identengine dids add --store STORE number="+44 20 7946 0950" account_id=181
    """
    given = cells.read(columns, Did)

    def edit(draft: Draft) -> Edited:
        made = cells.did(given)
        if (there := draft.did(made.number)) is not None:
            expected = (
                f"account {there.account_id} has this number; `identengine dids set {made.number} …` changes it"
            )
            raise cells.mistake("number", made.number, expected)
        _check_account(draft, made)
        draft.put_did(made)
        return Edited((changed(None, made),))

    report(change(place(store, config), who, "dids add", edit), as_json=as_json)


@app.command("set")
def set_columns(
    number: Number,
    columns: Columns,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Change a DID's status, or give it to another account.

    Example: identengine dids set --store STORE "+44 20 7946 0205" status=active
    """
    given = cells.read(columns, Did)

    def edit(draft: Draft) -> Edited:
        before = _find(draft, number)
        after = cells.did(given, before)
        _check_account(draft, after)
        draft.put_did(after)
        return Edited((changed(before, after),))

    report(change(place(store, config), who, f"dids set {number}", edit), as_json=as_json)


@app.command()
def remove(
    number: Number,
    yes: Yes = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Take a number away from its account.

    Example: identengine dids remove --store STORE "+44 20 7946 0205" --yes
    """

    def edit(draft: Draft) -> Edited:
        found = _find(draft, number)
        draft.delete_did(found.number)
        return Edited((changed(found, None),))

    done = change(place(store, config), who, f"dids remove {number}", edit, dry_run=not yes)
    if not yes:
        would(done, as_json=as_json)
    report(done, as_json=as_json)


def _of(book: Snapshot, client: str | None, account: str | None) -> Iterator[Did]:
    """Return the DIDs of a client's accounts or of one account; all where neither is named."""
    if client is None and account is None:
        return book.dids()
    owners: Iterable[Account] = book.accounts() if account is None else [find_account(book, account)]
    if client is not None:
        wanted = find_client(book, client).id
        owners = [owner for owner in owners if owner.client_id == wanted]
    return chain.from_iterable(book.account_dids(owner.id) for owner in owners)


def _find(book: Snapshot | Draft, number: str) -> Did:
    normal = _normal(number)
    found = book.did(normal)
    if found is None:
        # The numbers that share the most of its beginning are those that a slip of the finger would miss.
        raise NotFoundError(
            f"there is no DID {normal}; `identengine dids search {normal[:-2] or normal}` shows near ones"
        )
    return found


def _normal(number: str) -> str:
    try:
        normal = normal_number(number)
    except ValueError as error:
        raise cells.mistake("number", number, str(error)) from None
    if not normal:
        raise cells.mistake("number", number, "a number is wanted; nothing is left of this one")
    return normal


def _check_account(draft: Draft, did: Did) -> None:
    if draft.account(did.account_id) is None:
        raise cells.mistake("account_id", str(did.account_id), "there is no such account; add it first")


def _told(source: Iterator[Did], book: Snapshot) -> Iterator[Did]:
    """Yield the DIDs, with a progress bar where they are many."""
    with progress("DIDs") as tell:
        for done, did in enumerate(source, 1):
            if done % 50_000 == 0:
                tell(done, book.counts.dids)
            yield did


def _show(book: Snapshot, kept: Iterator[Did], limit: int | None, offset: int, *, as_json: bool) -> None:
    names: dict[int, str] = {}

    def row(did: Did) -> tuple[str, str, str, str]:
        if did.account_id not in names:
            account = book.account(did.account_id)
            names[did.account_id] = account.name if account else "?"
        return did.number, str(did.account_id), names[did.account_id], did.status.value

    if as_json:
        emit_many(as_object(did) for did in islice(kept, offset, offset + limit if limit else None))
    elif not table(_COLUMNS, (row(did) for did in screenful(kept, limit, offset))):
        none_shown("DID", "fits", offset)
