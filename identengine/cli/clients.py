"""``identengine clients …``: show, add, change, block and remove clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from identengine.cli.display import Display, Facts, Field, Page, Shape, watched
from identengine.cli.editcommands import add_edits
from identengine.cli.editing import EditOptions, chosen, described, report, run_edit
from identengine.cli.endcalls import report_and_end
from identengine.cli.filters import ClientFilters
from identengine.cli.operatorclient import CallsDir, calls_folder
from identengine.cli.options import AsJson, ConfigFile, Limit, Offset, StoreDir
from identengine.cli.optionsets import spread
from identengine.cli.output import Column, when
from identengine.cli.styles import Painted, Style
from identengine.cli.tables import Table, add_commands, reading, show_list
from identengine.model.records import Client, ClientStatus
from identengine.provisioning.changes import as_object, shown
from identengine.provisioning.listing import (
    Clients,
    accounts_of,
    client_object,
    clients_below,
    last_change_of_client,
    listed,
)
from identengine.provisioning.search import client_has_words

if TYPE_CHECKING:
    from identengine.provisioning.rows import Rows
    from identengine.store.snapshot import Snapshot, View
    from identengine.store.versions import Store

_MEANT = {"enable": "unblock", "disable": "block"}
_STEP = 10_000
_LIMITS = {"capacity": "capacity", "orig_capacity": "orig", "term_capacity": "term", "orig_cps": "cps"}
"""The columns of limits, and their names on a terminal that is not wide."""


class _Clients(TyperGroup):
    """A group that answers the commands of accounts, ``enable`` and ``disable``, with those of clients."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # Any: typer does not name these types
        if meant := _MEANT.get(args[0]):
            ctx.fail(
                f"No such command '{args[0]}'. Did you mean '{meant}'? Accounts are {args[0]}d, clients {meant}ed."
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Clients,
    no_args_is_help=True,
    help="Manage clients: customers, vendors and resellers.",
    epilog="Example: identengine clients show --store STORE 5",
)

ClientNames = Annotated[
    list[str] | None, typer.Argument(metavar="[CLIENT]...", help="Ids or names of clients, or filters below.")
]
EndCalls = Annotated[
    bool, typer.Option("--end-calls", help="Ask the running server to end the calls of the clients, too.")
]


class _ClientDisplay(Display[Client]):
    """Clients with their resellers and with inherited values."""

    record = Client
    noun = "client"

    def __init__(self, book: Snapshot) -> None:
        super().__init__(book)
        self.clients = Clients(book)

    def every(self) -> Iterator[Client]:
        return watched(self.book.clients(), "clients", self.book.counts.clients, _STEP)

    @property
    def total(self) -> int:
        return self.book.counts.clients

    def usual(self, *, compact: bool) -> Sequence[str]:
        return tuple(self.own(compact=compact))

    def own(self, *, compact: bool) -> dict[str, Field[Client]]:
        clients = self.clients

        def reseller(client: Client) -> str:
            return (
                "" if client.parent_id is None else f"{client.parent_id} {clients.name(client.parent_id)}".strip()
            )

        def table(title: str, column: str) -> Field[Client]:
            def value(client: Client) -> str:
                found = clients.tables(client.id)[column]
                return found.value if found else ""

            return Field(Column(title, least=8), value, lambda row: value(row).casefold() or None, (column,))

        return {
            "id": Field(Column("ID", right=True), lambda row: str(row.id), lambda row: row.id, ("id",)),
            "client": Field(
                Column("Client", least=9), lambda row: row.name, lambda row: row.name.casefold(), ("name",)
            ),
            "status": Field(
                Column("Status", least=8),
                lambda row: _state(row, clients),
                lambda row: _state(row, clients),
                ("status",),
            ),
            "reseller": Field(
                Column("Reseller", least=9),
                reseller,
                lambda row: row.parent_id and clients.name(row.parent_id).casefold(),
                ("parent_id",),
            ),
            "limits": Field(
                Column("Limits", least=8),
                lambda row: _limits(row, compact=compact),
                lambda row: _limits(row, compact=compact) or None,
                tuple(_LIMITS),
            ),
            "rate_table": table("Rate Table", "rate_table"),
            "routing_plan": table("Routing Plan", "routing_plan"),
            "term_rate_table": table("Term Rate Table", "term_rate_table"),
        }

    def as_object(self, row: Client) -> dict[str, object]:
        return client_object(row, self.clients)

    def has_words(self, words: Sequence[str]) -> Callable[[Client], bool]:
        return client_has_words(words, self.clients)

    def details(self, opened: Store, row: Client) -> tuple[dict[str, object], Facts]:
        accounts, below = accounts_of(self.book, row.id), clients_below(self.book, row.id)
        last = last_change_of_client(opened, row.id)
        named = listed(f"{number} {name}" for number, name in accounts)
        return {
            "resellers": [as_object(one) for one in self.clients.chain(row.id)[1:]],
            "clients_below": [{"id": one.id, "name": one.name} for one in below],
            "accounts": [{"id": number, "name": name} for number, name in accounts],
            "last_change": None if last is None else {"at": last.at, "who": last.who, "what": last.what},
        }, [
            *_facts(row, self.clients),
            ("clients below", listed(f"{one.id} {one.name}" for one in below) or "none"),
            ("accounts", f"{len(accounts)}: {named}" if accounts else "none"),
            ("last changed", f"{when(last.at)} by {last.who}: {last.what}" if last else None),
        ]


def _rows() -> Rows[Client]:
    from identengine.provisioning.rows import CLIENTS

    return CLIENTS


_TABLE = Table(
    family="clients",
    noun="client",
    metavar="CLIENT",
    key_help="Id or name of the client.",
    columns_help="Columns as in the clients file of a book. An empty value clears the column.",
    display=_ClientDisplay,
    rows=_rows,
    filters=ClientFilters,
    search_help=("Search all columns of clients.\n\nExample: identengine clients search --store STORE hosted"),
    show_help=(
        "Show one client with inherited values, resellers, clients below, accounts and the last change.\n\n"
        "Example: identengine clients show --store STORE 5"
    ),
    add_help=(
        "Add a client. Without an id, it gets the next free id.\n\n"
        'Example: identengine clients add --store STORE name="Acme Voice" rate_table=Retail'
    ),
    set_help=(
        "Change columns of clients, named by id or selected by filters. All other columns keep their values.\n\n"
        "Example: identengine clients set --store STORE 4 5 capacity=300 notes="
    ),
    edit_help=(
        "Change the clients of a file: the columns that it has, by id. No client is added.\n\n"
        "Example: identengine clients edit --store STORE --from limits.csv --dry-run"
    ),
    remove_help=(
        "Remove clients that have no accounts and no clients below them.\n\n"
        "Example: identengine clients remove --store STORE 7 --yes"
    ),
)


@spread
def list_clients(
    filters: ClientFilters,
    shape: Shape,
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List clients.

    Example: identengine clients list --store STORE --status blocked
    """
    with reading(store, config) as (_, book):
        display = _ClientDisplay(book)
        kept = filters.among(display.every(), book)
        show_list(display, kept, Page(limit, offset), shape, filtered=filters.is_set, as_json=as_json)


@spread
def block(
    *,
    clients: ClientNames = None,
    end_calls: EndCalls = False,
    calls: CallsDir = None,
    filters: ClientFilters,
    options: EditOptions,
) -> None:
    """Block clients and all clients below them, so that their calls are rejected.

    With --end-calls, the calls that the server holds for them end too, as soon as it uses the new version.

    Example: identengine clients block --store STORE 6
    """
    from identengine.provisioning.edits import set_status

    folder = calls_folder(calls, options.config) if end_calls else None
    picked: list[int] = []
    choice = chosen(_rows(), clients or (), filters)

    def noted(book: View) -> Iterator[Client]:
        picked.clear()
        for client in choice(book):
            picked.append(client.id)
            yield client

    edit = set_status(noted, ClientStatus.BLOCKED)
    done = run_edit(options, described("clients block", clients or (), filters), edit)
    if folder is None:
        report(done, options)
    else:
        report_and_end(done, folder, picked, options)


@spread
def unblock(
    *,
    clients: ClientNames = None,
    filters: ClientFilters,
    options: EditOptions,
) -> None:
    """Unblock clients, so that their calls can pass again.

    Example: identengine clients unblock --store STORE 6
    """
    from identengine.provisioning.edits import set_status

    edit = set_status(chosen(_rows(), clients or (), filters), ClientStatus.ACTIVE)
    report(run_edit(options, described("clients unblock", clients or (), filters), edit), options)


add_commands(app, _TABLE, listing=list_clients)
add_edits(app, _TABLE, own=(block, unblock))


def _state(client: Client, clients: Clients) -> str:
    blocker = clients.blocked_by(client.id)
    if blocker is None:
        return client.status.value
    return Painted(
        client.status.value if blocker.id == client.id else f"below blocked {blocker.id} {blocker.name}",
        Style.BLOCKED,
    )


def _limits(client: Client, *, compact: bool) -> str:
    return ", ".join(
        f"{short if compact else name} {shown(value)}"
        for name, short in _LIMITS.items()
        if (value := getattr(client, name)) is not None
    )


def _facts(client: Client, clients: Clients) -> Iterator[tuple[str, str | None]]:
    inherited = clients.tables(client.id)
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
