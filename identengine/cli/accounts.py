"""``identengine accounts …``: look at accounts, make, change, switch and remove them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from identengine.cli import accountview as view
from identengine.cli import cells, passwords
from identengine.cli.accountview import Keep, Status
from identengine.cli.editing import Edited, change, report, would
from identengine.cli.fields import as_object, changed, shown
from identengine.cli.lookup import NAMED, Clients, Inherited, find_account, find_client, listed
from identengine.cli.options import AsJson, ConfigFile, Limit, Offset, StoreDir, Who, Yes
from identengine.cli.output import emit, emit_many, facts, none_shown, progress, screenful, table, when
from identengine.cli.workspace import place
from identengine.model.addresses import parse_network
from identengine.model.numbers import normal_number
from identengine.model.records import Account, Did

if TYPE_CHECKING:
    from identengine.store.draft import Draft
    from identengine.store.snapshot import Snapshot
    from identengine.store.versions import Store

app = typer.Typer(
    no_args_is_help=True,
    help="Accounts: the ways in and out of clients.",
    epilog="Example: identengine accounts list --store STORE --address 192.0.2.10",
)
app.add_typer(passwords.app, name="password")

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its id, or its name.")]
Columns = Annotated[
    list[str],
    typer.Argument(
        metavar="COLUMN=VALUE",
        help="Columns as in a book's accounts file; lists with ; between the items; an empty value clears.",
    ),
]
Orig = Annotated[bool, typer.Option("--orig", help="The originator: calls from it.")]
Term = Annotated[bool, typer.Option("--term", help="The terminator: calls to it.")]


class Filters(NamedTuple):
    """The options of ``accounts list``."""

    client: str | None = None
    address: str | None = None
    number: str | None = None
    tag: str | None = None
    status: Status | None = None


@app.command("list")
def list_accounts(
    client: Annotated[str | None, typer.Option(metavar="CLIENT", help="Of this client: id or name.")] = None,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="That cover this address or network.")
    ] = None,
    number: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="That this number fits: their ANI, a DID of theirs, or their tech prefix."
        ),
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="With this tag in either part.")] = None,
    status: Annotated[
        Status | None,
        typer.Option(
            help="enabled: a part is on; disabled: none is; orig, term: that part is; blocked: the client is."
        ),
    ] = None,
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List accounts.

    Example: identengine accounts list --store STORE --client "Northwind Telecom" --status enabled
    """
    filters = Filters(client, address, number, tag, status)
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        clients = Clients(book)
        _show(book, clients, _keeps(filters, book, clients), limit, offset, as_json=as_json)


@app.command()
def search(
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="Words that all have to be in it.")],
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Search accounts in all columns and in their client's name, never in passwords.

    Example: identengine accounts search --store STORE northwind premium
    """
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        clients = Clients(book)
        words = [word for part in text for word in part.split()]
        _show(book, clients, [view.has_words(words, clients)], limit, offset, as_json=as_json)


@app.command()
def show(
    account: AccountName,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show all of one account: what it inherits, its resellers, its DIDs, who changed it last.

    Example: identengine accounts show --store STORE 101
    """
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        found = find_account(book, account)
        clients = Clients(book)
        numbers = book.account_dids(found.id)
        first = list(islice(numbers, NAMED))
        count = len(first) + sum(1 for _ in numbers)
        last = _last_change(opened, found.id)
        if as_json:
            emit(
                view.as_json(found, clients)
                | {
                    "resellers": [as_object(client) for client in clients.chain(found.client_id)[1:]],
                    "dids": {"count": count, "first": [as_object(did) for did in first]},
                    "last_change": None if last is None else {"at": last[0], "who": last[1], "what": last[2]},
                }
            )
            return
        told = listed(f"{did.number} ({did.status})" for did in first)
        more = f" and {count - len(first)} more" if count > len(first) else ""
        facts(
            [
                *_facts(found, clients),
                ("DIDs", f"{count}: {told}{more}" if count else "none"),
                ("last changed", f"{when(last[0])} by {last[1]}: {last[2]}" if last else None),
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
    """Make an account; without id it takes the next free one.

    Example: identengine accounts add --store STORE client_id=1 name=Lab ident_by=ip ident=192.0.2.77
    """
    given = cells.read(columns, Account)

    def edit(draft: Draft) -> Edited:
        filled = given if given.get("id") else {**given, "id": str(draft.next_account_id())}
        made, warnings = cells.account(filled)
        if draft.account(made.id) is not None:
            expected = f"there is an account {made.id}; `identengine accounts set {made.id} …` changes it"
            raise cells.mistake("id", str(made.id), expected)
        _check_client(draft, made)
        draft.put_account(made)
        return Edited((changed(None, made),), warnings)

    report(change(place(store, config), who, "accounts add", edit), as_json=as_json)


@app.command("set")
def set_columns(
    account: AccountName,
    columns: Columns,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Change columns of an account; all others stay.

    Example: identengine accounts set --store STORE 101 orig_tag=gold orig_capacity=
    """
    given = cells.read(columns, Account)

    def edit(draft: Draft) -> Edited:
        before = find_account(draft, account)
        after, warnings = cells.account(given, before)
        _check_client(draft, after)
        draft.put_account(after)
        return Edited((changed(before, after),), warnings)

    report(change(place(store, config), who, f"accounts set {account}", edit), as_json=as_json)


@app.command()
def enable(
    account: AccountName,
    orig: Orig = False,
    term: Term = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Switch parts of an account on; without --orig or --term those that were on before it was disabled.

    Example: identengine accounts enable --store STORE 107 --orig
    """
    here = place(store, config)
    parts = (orig, term)
    if not (orig or term):
        with here.open(readonly=True) as opened, opened.read() as book:
            parts = _parts_before(opened, find_account(book, account))
    _switch(account, parts, on=True, store=store, config=config, who=who, as_json=as_json)


@app.command()
def disable(
    account: AccountName,
    orig: Orig = False,
    term: Term = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Switch parts of an account off, both without --orig or --term; it is kept for its statistics.

    Example: identengine accounts disable --store STORE 101
    """
    parts = (orig, term) if orig or term else (True, True)
    _switch(account, parts, on=False, store=store, config=config, who=who, as_json=as_json)


@app.command()
def remove(
    account: AccountName,
    yes: Yes = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Remove an account and its DIDs; `disable` keeps it for its statistics.

    Example: identengine accounts remove --store STORE 107 --yes
    """

    def edit(draft: Draft) -> Edited:
        found = find_account(draft, account)
        numbers = list(draft.account_dids(found.id))
        for did in numbers:
            draft.delete_did(did.number)
        draft.delete_account(found.id)
        changes = [changed(did, None) for did in numbers]
        return Edited((changed(found, None), *changes))

    done = change(place(store, config), who, f"accounts remove {account}", edit, dry_run=not yes)
    if not yes:
        would(done, as_json=as_json)
    report(done, as_json=as_json)


def _switch(  # the two parts and the store's options, as both commands have them
    account: str,
    parts: tuple[bool, bool],
    *,
    on: bool,
    store: StoreDir,
    config: ConfigFile,
    who: Who,
    as_json: bool,
) -> None:
    def edit(draft: Draft) -> Edited:
        before = find_account(draft, account)
        after = msgspec.structs.replace(
            before,
            orig_enabled=on if parts[0] else before.orig_enabled,
            term_enabled=on if parts[1] else before.term_enabled,
        )
        draft.put_account(after)
        return Edited((changed(before, after),))

    what = f"accounts {'enable' if on else 'disable'} {account}"
    report(change(place(store, config), who, what, edit), as_json=as_json)


def _parts_before(opened: Store, account: Account) -> tuple[bool, bool]:
    """Return which parts were on when the account was last on; the originator where it never was."""
    if not account.disabled:
        return (account.orig_enabled, account.term_enabled)
    found = (True, False)
    for entry in opened.audit(account=account.id):
        for state in (entry.change.before, entry.change.after) if entry.change else ():
            if isinstance(state, Account) and state.id == account.id and not state.disabled:
                found = (state.orig_enabled, state.term_enabled)
    return found


def _check_client(draft: Draft, account: Account) -> None:
    if draft.client(account.client_id) is None:
        raise cells.mistake("client_id", str(account.client_id), "there is no such client; add it first")


def _keeps(filters: Filters, book: Snapshot, clients: Clients) -> list[Keep]:
    keeps: list[Keep] = []
    if filters.client is not None:
        wanted = find_client(book, filters.client).id
        keeps.append(lambda account: account.client_id == wanted)
    if filters.status is not None:
        keeps.append(view.has_status(filters.status, clients))
    if filters.tag is not None:
        keeps.append(view.has_tag(filters.tag))
    if filters.number is not None:
        with _usage("--number"):
            number = normal_number(filters.number)
        did = book.did(number) if number else None
        keeps.append(view.fits_number(number, did.account_id if did else None))
    if filters.address is not None:
        with _usage("--address"):
            keeps.append(view.covers(parse_network(filters.address)[0]))
    return keeps


@contextmanager
def _usage(option: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _show(
    book: Snapshot, clients: Clients, keeps: list[Keep], limit: int | None, offset: int, *, as_json: bool
) -> None:
    with progress("accounts") as tell:
        total = book.counts.accounts

        def kept() -> Iterator[Account]:
            for done, account in enumerate(book.accounts(), 1):
                if done % 10_000 == 0:
                    tell(done, total)
                if all(keep(account) for keep in keeps):
                    yield account

        if as_json:
            rows = kept()
            emit_many(
                view.as_json(account, clients)
                for account in islice(rows, offset, offset + limit if limit else None)
            )
        elif not table(view.COLUMNS, (view.row(account, clients) for account in screenful(kept(), limit, offset))):
            none_shown("account", "fits" if keeps else f"in version {book.version}", offset)


def _facts(account: Account, clients: Clients) -> Iterator[tuple[str, str | None]]:
    chain = clients.chain(account.client_id)
    blocker = clients.blocked_by(account.client_id)
    for name in Account.__struct_fields__:
        if name == "client_id":
            yield "client", view.client_label(account.client_id, clients)
            if len(chain) > 1:
                yield "resellers", " < ".join(f"{client.id} {client.name}" for client in chain[1:])
        elif name == "password":
            yield "password", "set" if account.password else "not set"
        elif name == "notes":
            yield "notes", account.notes
        elif name == "orig_rate_table":
            yield name, _told(clients.rate_table(account))
        elif name == "orig_routing_plan":
            yield name, _told(clients.routing_plan(account))
        elif name == "term_rate_table":
            yield name, _told(clients.term_rate_table(account))
        else:
            yield name, shown(getattr(account, name)) or None
    if account.disabled:
        yield "state", "disabled: both parts are off"
    elif blocker is not None:
        yield "state", f"blocked: client {blocker.id} {blocker.name} is"


def _told(found: Inherited | None) -> str | None:
    if found is None:
        return None
    return (
        found.value
        if found.client is None
        else f"{found.value} (from client {found.client.id} {found.client.name})"
    )


def _last_change(opened: Store, account_id: int) -> tuple[float, str, str] | None:
    last = None
    for entry in opened.audit(account=account_id):
        if entry.change is not None and isinstance(entry.change.after or entry.change.before, Account | Did):
            last = (entry.at, entry.who, entry.what)
    return last
