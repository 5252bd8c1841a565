"""``identengine accounts …``: show, add, change, enable, disable and remove accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli import passwords
from identengine.cli.accountview import AccountDisplay
from identengine.cli.display import Page, Shape
from identengine.cli.editing import change, report
from identengine.cli.filters import AccountFilters
from identengine.cli.options import AccountName, AsJson, ConfigFile, Limit, Offset, StoreDir, Who
from identengine.cli.optionsets import spread
from identengine.cli.tables import Table, add_commands, reading, show_list
from identengine.cli.workspace import find_workspace
from identengine.model.records import Account
from identengine.provisioning import listing

if TYPE_CHECKING:
    from identengine.provisioning.rows import Rows

app = typer.Typer(
    no_args_is_help=True,
    help="Manage accounts, through which calls come from clients and go to them.",
    epilog="Example: identengine accounts list --store STORE --address 192.0.2.10",
)
app.add_typer(passwords.app, name="password")

Orig = Annotated[bool, typer.Option("--orig", help="Only the originator part: calls from the account.")]
Term = Annotated[bool, typer.Option("--term", help="Only the terminator part: calls to the account.")]


def _rows() -> Rows[Account]:
    from identengine.provisioning.rows import ACCOUNTS

    return ACCOUNTS


_TABLE = Table(
    family="accounts",
    keeps_ids=True,
    noun="account",
    metavar="ACCOUNT",
    key_help="Id or name of the account.",
    columns_help="Columns as in the accounts file of a book. Lists have ; between items. An empty value clears.",
    display=AccountDisplay,
    rows=_rows,
    search_help=(
        "Search accounts in all columns, inherited values, names of clients and DIDs, but not in passwords.\n\n"
        "Example: identengine accounts search --store STORE northwind premium"
    ),
    show_help=(
        "Show one account with inherited values, resellers, DIDs and the last change.\n\n"
        "Example: identengine accounts show --store STORE 101"
    ),
    add_help=(
        "Add an account. Without an id, it gets the next free id.\n\n"
        "Example: identengine accounts add --store STORE client_id=1 name=Lab ident_by=ip ident=192.0.2.77"
    ),
    set_help=(
        "Change columns of an account. All other columns keep their values.\n\n"
        "Example: identengine accounts set --store STORE 101 orig_tag=gold orig_capacity="
    ),
    remove_help=(
        "Remove an account and its DIDs. To keep the account for statistics, disable it instead.\n\n"
        "Example: identengine accounts remove --store STORE 107 --yes"
    ),
)


@spread
def list_accounts(
    filters: AccountFilters,
    shape: Shape,
    limit: Limit = None,
    offset: Offset = 0,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List accounts.

    Example: identengine accounts list --store STORE --client "Northwind Telecom" --status enabled
    """
    with reading(store, config) as (_, book):
        display = AccountDisplay(book)
        kept = filters.among(display.every(), book)
        show_list(display, kept, Page(limit, offset), shape, filtered=filters.is_set, as_json=as_json)


def enable(
    account: AccountName,
    orig: Orig = False,
    term: Term = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Enable an account: its named parts, or by default the parts that were on before it was disabled.

    Example: identengine accounts enable --store STORE 107 --orig
    """
    from identengine.provisioning.edits import parts_before, switch_parts

    here = find_workspace(store, config)
    if not (orig or term):
        with here.open(readonly=True) as opened, opened.read() as book:
            orig, term = parts_before(opened, listing.find_account(book, account))
    edit = switch_parts(account, orig=orig, term=term, on=True)
    report(change(here, who, f"accounts enable {account}", edit), as_json=as_json)


def disable(
    account: AccountName,
    orig: Orig = False,
    term: Term = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Disable an account: its named part, or by default both. The account stays for statistics.

    Example: identengine accounts disable --store STORE 101
    """
    from identengine.provisioning.edits import switch_parts

    both = not (orig or term)
    edit = switch_parts(account, orig=orig or both, term=term or both, on=False)
    report(change(find_workspace(store, config), who, f"accounts disable {account}", edit), as_json=as_json)


add_commands(app, _TABLE, listing=list_accounts, own=(enable, disable))
