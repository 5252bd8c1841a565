"""``identengine accounts …``: show, add, change, enable, disable and remove accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli import passwords
from identengine.cli.accountview import AccountDisplay
from identengine.cli.display import Page, Shape
from identengine.cli.editcommands import add_edits
from identengine.cli.editing import EditOptions, chosen, described, report, run_edit
from identengine.cli.filters import AccountFilters
from identengine.cli.options import AccountNames, AsJson, ConfigFile, Limit, Offset, StoreDir
from identengine.cli.optionsets import spread
from identengine.cli.tables import Table, add_commands, reading, show_list
from identengine.model.records import Account

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
    has_passwords=True,
    noun="account",
    metavar="ACCOUNT",
    key_help="Id or name of the account.",
    columns_help="Columns as in the accounts file of a book. Lists have ; between items. An empty value clears.",
    display=AccountDisplay,
    rows=_rows,
    filters=AccountFilters,
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
        "Change columns of accounts, named by id or selected by filters. All other columns keep their values.\n\n"
        "ident+=V and gateways+=V add an item to a list. ident-=V and gateways-=V remove it.\n\n"
        "Example: identengine accounts set --store STORE 101 102 orig_tag=gold orig_capacity="
    ),
    edit_help=(
        "Change the accounts of a file: the columns that it has, by id. No account is added.\n\n"
        "Example: identengine accounts edit --store STORE --from capacities.csv --dry-run"
    ),
    remove_help=(
        "Remove accounts and their DIDs. To keep an account for statistics, disable it instead.\n\n"
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


@spread
def enable(
    *,
    accounts: AccountNames = None,
    orig: Orig = False,
    term: Term = False,
    filters: AccountFilters,
    options: EditOptions,
) -> None:
    """Enable accounts: their named parts, or by default the parts that were on before they were disabled.

    Example: identengine accounts enable --store STORE 107 --orig
    """
    from identengine.provisioning import edits

    choice = chosen(_rows(), accounts or (), filters)
    edit = edits.switch_parts(choice, orig=orig, term=term, on=True) if orig or term else edits.enable(choice)
    report(run_edit(options, described("accounts enable", accounts or (), filters), edit), options)


@spread
def disable(
    *,
    accounts: AccountNames = None,
    orig: Orig = False,
    term: Term = False,
    filters: AccountFilters,
    options: EditOptions,
) -> None:
    """Disable accounts: their named part, or by default both. The accounts stay for statistics.

    Example: identengine accounts disable --store STORE 101 102
    """
    from identengine.provisioning.edits import switch_parts

    both = not (orig or term)
    choice = chosen(_rows(), accounts or (), filters)
    edit = switch_parts(choice, orig=orig or both, term=term or both, on=False)
    report(run_edit(options, described("accounts disable", accounts or (), filters), edit), options)


add_commands(app, _TABLE, listing=list_accounts)
add_edits(app, _TABLE, own=(enable, disable))
