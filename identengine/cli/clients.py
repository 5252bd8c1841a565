"""``identengine clients …``: look at clients, make, change, block and remove them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup

from identengine.cli import cells
from identengine.cli.accountview import client_has_words, client_is
from identengine.cli.editing import Edited, change, report, would
from identengine.cli.fields import as_object, changed, shown
from identengine.cli.lookup import NAMED, Clients, Inherited, find_client, listed
from identengine.cli.options import AsJson, ConfigFile, Limit, Offset, StoreDir, Who, Yes
from identengine.cli.output import Column, emit, emit_many, facts, none_shown, screenful, table, when
from identengine.cli.workspace import place
from identengine.errors import IdentengineError
from identengine.model.records import Client, ClientStatus
from identengine.model.resellers import DEEPEST, SHOWN, chain_told, deepened, loops

if TYPE_CHECKING:
    from identengine.store.draft import Draft
    from identengine.store.snapshot import Snapshot

_MEANT = {"enable": "unblock", "disable": "block"}


class _Clients(TyperGroup):
    """Accounts are enabled and disabled, clients are blocked: the one word points to the other."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # Any: typer does not name these types
        if meant := _MEANT.get(args[0]):
            ctx.fail(f"No such command '{args[0]}': a client is blocked or unblocked, use '{meant}'.")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Clients,
    no_args_is_help=True,
    help="Clients: customers, vendors and resellers.",
    epilog="Example: identengine clients show --store STORE 5",
)

ClientName = Annotated[str, typer.Argument(metavar="CLIENT", help="Its id, or its name.")]
Columns = Annotated[
    list[str],
    typer.Argument(metavar="COLUMN=VALUE", help="Columns as in a book's clients file; an empty value clears."),
]

_COLUMNS = (
    Column("ID", right=True),
    Column("Client"),
    Column("Status"),
    Column("Reseller"),
    Column("Limits"),
    Column("Rate Table"),
    Column("Routing Plan"),
    Column("Term Rate Table"),
)


@app.command("list")
def list_clients(
    status: Annotated[ClientStatus | None, typer.Option(help="With this status themselves.")] = None,
    reseller: Annotated[
        str | None, typer.Option(metavar="CLIENT", help="Directly below this reseller: id or name.")
    ] = None,
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List clients.

    Example: identengine clients list --store STORE --status blocked
    """
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        keeps = [] if status is None else [client_is(status)]
        if reseller is not None:
            above = find_client(book, reseller).id
            keeps.append(lambda client: client.parent_id == above)
        _show(book, keeps, limit, offset, as_json=as_json)


@app.command()
def search(
    text: Annotated[list[str], typer.Argument(metavar="TEXT", help="Words that all have to be in it.")],
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Search clients in all columns.

    Example: identengine clients search --store STORE hosted
    """
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        words = [word for part in text for word in part.split()]
        _show(book, [client_has_words(words)], limit, offset, as_json=as_json)


@app.command()
def show(client: ClientName, store: StoreDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show all of one client: what it inherits, its resellers, those below it, its accounts, who changed it last.

    Example: identengine clients show --store STORE 5
    """
    with place(store, config).open(readonly=True) as opened, opened.read() as book:
        found = find_client(book, client)
        clients = Clients(book)
        accounts, below = _accounts_of(book, found.id), _below(book, found.id)
        last = None
        for entry in opened.audit(client=found.id):
            if entry.change is not None and entry.change.table == "client":
                last = entry
        if as_json:
            emit(
                _as_json(found, clients)
                | {
                    "resellers": [as_object(one) for one in clients.chain(found.id)[1:]],
                    "clients_below": [{"id": one.id, "name": one.name} for one in below],
                    "accounts": [{"id": number, "name": name} for number, name in accounts],
                    "last_change": None if last is None else {"at": last.at, "who": last.who, "what": last.what},
                }
            )
            return
        facts(
            [
                *_facts(found, clients),
                ("below it", listed(f"{one.id} {one.name}" for one in below) or "none"),
                ("accounts", f"{len(accounts)}: {_named(accounts)}" if accounts else "none"),
                ("last changed", f"{when(last.at)} by {last.who}: {last.what}" if last else None),
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
    """Make a client; without id it takes the next free one.

    Example: identengine clients add --store STORE name="Acme Voice" rate_table=Retail
    """
    given = cells.read(columns, Client)

    def edit(draft: Draft) -> Edited:
        made = cells.client(given if given.get("id") else {**given, "id": str(draft.next_client_id())})
        if draft.client(made.id) is not None:
            expected = f"there is a client {made.id}; `identengine clients set {made.id} …` changes it"
            raise cells.mistake("id", str(made.id), expected)
        _check_reseller(draft, made)
        draft.put_client(made)
        return Edited((changed(None, made),))

    report(change(place(store, config), who, "clients add", edit), as_json=as_json)


@app.command("set")
def set_columns(
    client: ClientName,
    columns: Columns,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Change columns of a client; all others stay.

    Example: identengine clients set --store STORE 4 capacity=300 notes=
    """
    given = cells.read(columns, Client)

    def make(draft: Draft, before: Client) -> Client:
        after = cells.client(given, before)
        _check_reseller(draft, after)
        return after

    _edit(client, make, "set", store=store, config=config, who=who, as_json=as_json)


@app.command()
def block(
    client: ClientName,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Block a client and all below it: their calls are rejected.

    Example: identengine clients block --store STORE 6
    """
    _status(client, ClientStatus.BLOCKED, "block", store=store, config=config, who=who, as_json=as_json)


@app.command()
def unblock(
    client: ClientName,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Let a blocked client's calls pass again.

    Example: identengine clients unblock --store STORE 6
    """
    _status(client, ClientStatus.ACTIVE, "unblock", store=store, config=config, who=who, as_json=as_json)


@app.command()
def remove(
    client: ClientName,
    yes: Yes = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Remove a client that has neither accounts nor clients below it.

    Example: identengine clients remove --store STORE 7 --yes
    """

    def edit(draft: Draft) -> Edited:
        found = find_client(draft, client)
        if accounts := _accounts_of(draft, found.id):
            raise IdentengineError(
                f"client {found.id} {found.name} still has {_count(len(accounts), 'account')}: {_named(accounts)};"
                " remove them first, or block the client"
            )
        if below := _below(draft, found.id):
            raise IdentengineError(
                f"client {found.id} {found.name} is the reseller of {_count(len(below), 'client')}:"
                f" {_named([(one.id, one.name) for one in below])}; give them another parent_id first"
            )
        draft.delete_client(found.id)
        return Edited((changed(found, None),))

    done = change(place(store, config), who, f"clients remove {client}", edit, dry_run=not yes)
    if not yes:
        would(done, as_json=as_json)
    report(done, as_json=as_json)


def _status(
    client: str,
    status: ClientStatus,
    verb: str,
    *,
    store: StoreDir,
    config: ConfigFile,
    who: Who,
    as_json: bool,
) -> None:
    def make(_draft: Draft, before: Client) -> Client:
        return msgspec.structs.replace(before, status=status)

    _edit(client, make, verb, store=store, config=config, who=who, as_json=as_json)


def _edit(
    client: str,
    make: Callable[[Draft, Client], Client],
    verb: str,
    *,
    store: StoreDir,
    config: ConfigFile,
    who: Who,
    as_json: bool,
) -> None:
    def edit(draft: Draft) -> Edited:
        before = find_client(draft, client)
        after = make(draft, before)
        draft.put_client(after)
        return Edited((changed(before, after),))

    report(change(place(store, config), who, f"clients {verb} {client}", edit), as_json=as_json)


def _check_reseller(draft: Draft, client: Client) -> None:
    """Refuse a reseller that is not there, that stands below the client itself, or too deep (engine.md 1.1)."""
    if client.parent_id is None:
        return
    if draft.client(client.parent_id) is None:
        raise cells.mistake("parent_id", str(client.parent_id), "there is no such client; add it first")

    def parent_of(client_id: int) -> int | None:
        one = client if client_id == client.id else draft.client(client_id)
        return one.parent_id if one else None

    if loop := loops([client.id], parent_of).get(client.id):
        path = " -> ".join(map(str, (*loop, loop[0] if len(loop) < SHOWN else "…")))
        raise cells.mistake("parent_id", str(client.parent_id), f"a client cannot stand above itself: {path}")
    old = draft.client(client.id)
    if old is not None and old.parent_id == client.parent_id:
        return
    before = {one.id: one.parent_id for one in draft.clients()}
    after = before | {client.id: client.parent_id}
    # Those below it come deeper too.
    if too_deep := deepened(after, after.get, before.get):
        deep, depth = next(iter(too_deep.items()))
        whose = "its" if deep == client.id else f"client {deep}'s"
        raise cells.mistake(
            "parent_id",
            str(client.parent_id),
            f"a client and the resellers above it may be {DEEPEST} at most; {whose} chain would be {depth}: "
            f"{chain_told(deep, after.get)}",
        )


def _accounts_of(book: Snapshot | Draft, client_id: int) -> list[tuple[int, str]]:
    return [(account.id, account.name) for account in book.accounts() if account.client_id == client_id]


def _below(book: Snapshot | Draft, client_id: int) -> list[Client]:
    return [client for client in book.clients() if client.parent_id == client_id]


def _named(rows: list[tuple[int, str]]) -> str:
    more = len(rows) - NAMED
    return ", ".join(f"{number} {name}" for number, name in rows[:NAMED]) + (
        f" and {more} more" if more > 0 else ""
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _show(
    book: Snapshot,
    keeps: list[Callable[[Client], bool]],
    limit: int | None,
    offset: int,
    *,
    as_json: bool,
) -> None:
    clients = Clients(book)
    kept = (client for client in book.clients() if all(keep(client) for keep in keeps))
    if as_json:
        emit_many(_as_json(client, clients) for client in islice(kept, offset, offset + limit if limit else None))
    elif not table(_COLUMNS, (_row(client, clients) for client in screenful(kept, limit, offset))):
        none_shown("client", "fits" if keeps else f"in version {book.version}", offset)


def _row(client: Client, clients: Clients) -> tuple[str, ...]:
    parent = clients.get(client.parent_id) if client.parent_id is not None else None
    limits = [
        f"{name} {shown(value)}"
        for name in ("capacity", "orig_capacity", "term_capacity", "orig_cps")
        if (value := getattr(client, name)) is not None
    ]
    return (
        str(client.id),
        client.name,
        _state(client, clients),
        f"{parent.id} {parent.name}" if parent else "",
        ", ".join(limits),
        *(_brief(found) for found in _tables(client, clients)),
    )


def _tables(client: Client, clients: Clients) -> tuple[Inherited | None, Inherited | None, Inherited | None]:
    return (
        clients.of_client(client.id, lambda one: one.rate_table),
        clients.of_client(client.id, lambda one: one.routing_plan),
        clients.of_client(client.id, lambda one: one.term_rate_table),
    )


def _brief(found: Inherited | None) -> str:
    return found.value if found else ""


def _state(client: Client, clients: Clients) -> str:
    blocker = clients.blocked_by(client.id)
    if blocker is None or blocker.id == client.id:
        return client.status.value
    return f"below blocked {blocker.id} {blocker.name}"


def _as_json(client: Client, clients: Clients) -> dict[str, object]:
    names = ("rate_table", "routing_plan", "term_rate_table")
    return as_object(client) | {
        "blocked": clients.blocked_by(client.id) is not None,
        "inherited": {
            name: {"value": found.value, "client_id": found.client.id if found.client else None} if found else None
            for name, found in zip(names, _tables(client, clients), strict=True)
        },
    }


def _facts(client: Client, clients: Clients) -> Iterator[tuple[str, str | None]]:
    inherited = dict(zip(("rate_table", "routing_plan", "term_rate_table"), _tables(client, clients), strict=True))
    for name in Client.__struct_fields__:
        if name == "status":
            yield name, _state(client, clients)
        elif name == "parent_id":
            chain = clients.chain(client.id)[1:]
            yield "resellers", " < ".join(f"{one.id} {one.name}" for one in chain) or None
        elif name == "notes":
            yield name, client.notes
        elif found := inherited.get(name):
            above = found.client if found.client and found.client.id != client.id else None
            yield name, f"{found.value} (from client {above.id} {above.name})" if above else found.value
        else:
            yield name, shown(getattr(client, name)) or None
