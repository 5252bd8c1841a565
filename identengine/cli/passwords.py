"""``identengine accounts password …``: show, set, generate and clear the passwords of accounts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from identengine.cli.editing import EditOptions, chosen, described, document, report, run_edit
from identengine.cli.filters import AccountFilters
from identengine.cli.options import AccountName, AccountNames, AsJson, ConfigFile, KeyFile, StoreDir, Who
from identengine.cli.optionsets import spread
from identengine.cli.output import Column, emit, say, table
from identengine.cli.workspace import author, find_workspace
from identengine.errors import IdentengineError, LoadError
from identengine.model.records import Account
from identengine.provisioning.listing import find_account

_PASSWORDS = (Column("ID", right=True), Column("Account"), Column("Password", firm=True))

app = typer.Typer(
    no_args_is_help=True,
    help="Manage the passwords of accounts, which the store keeps encrypted.",
    epilog="Example: identengine accounts password generate --store STORE 161",
)


@app.command()
def show(
    account: AccountName,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Show the password of an account. The audit log records who asked.

    Example: identengine accounts password show --store STORE 161
    """
    here = find_workspace(store, config, key_file)
    with here.open() as opened:
        with opened.read() as book:
            found = find_account(book, account)
        if found.password is None:
            raise IdentengineError(f"account {found.id} {found.name} has no password")
        try:
            plain = here.vault().decrypt(found.password)
        except ValueError as error:
            raise IdentengineError(f"the password of account {found.id} cannot be decrypted: {error}") from error
        # Record first, then show: a password is not shown if the audit log cannot be written.
        opened.note(author(who), "password shown", account=found.id)
    if as_json:
        emit({"account_id": found.id, "password": plain})
    else:
        say(plain)


@app.command("set")
@spread
def set_password(
    *,
    account: AccountName,
    key_file: KeyFile = None,
    options: EditOptions,
) -> None:
    """Set a password. Type it twice on a terminal, or pass it as the first line of standard input.

    Example: identengine accounts password set --store STORE 161 < password.txt
    """
    from identengine.provisioning import edits

    here = find_workspace(options.store, options.config, key_file)
    with here.open(readonly=True) as opened, opened.read() as book:
        find_account(book, account)  # before a password is typed
    if sys.stdin.isatty():
        plain = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        plain = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not plain:
        raise IdentengineError(
            "expected a password, got an empty line."
            " To remove a password, use `identengine accounts password clear`."
        )
    if plain == "-" or plain.startswith("enc:"):
        # In the column of a book, both have a meaning of their own.
        raise IdentengineError("a password cannot be - or begin with enc:. Choose another one")
    edit = edits.set_password(account, plain, here.vault_to_write())
    with _plain_mistakes():
        report(run_edit(options, f"accounts password set {account}", edit, here=here), options)


@app.command()
@spread
def generate(
    *,
    accounts: AccountNames = None,
    key_file: KeyFile = None,
    filters: AccountFilters,
    options: EditOptions,
) -> None:
    """Generate a random password for each account, store it, and print it once.

    Example: identengine accounts password generate --store STORE 161
    """
    from identengine.provisioning import edits
    from identengine.provisioning.rows import ACCOUNTS
    from identengine.store.vault import generate_password

    made: dict[int, tuple[str, str]] = {}

    def new_password(account: Account) -> str:
        made[account.id] = (account.name, generate_password())
        return made[account.id][1]

    here = find_workspace(options.store, options.config, key_file)
    choice = chosen(ACCOUNTS, accounts or (), filters)
    edit = edits.set_passwords(choice, new_password, here.vault_to_write())
    what = described("accounts password generate", accounts or (), filters)
    done = run_edit(options, what, edit, here=here)
    if done.version is None:
        report(done, options)
    elif options.as_json:
        rows = [
            {"account_id": key, "account_name": name, "password": plain} for key, (name, plain) in made.items()
        ]
        only = {"password": rows[0]["password"]} if len(rows) == 1 else {}
        emit(document(done, options) | {"passwords": rows} | only)
    elif len(made) == 1:
        say(next(iter(made.values()))[1])
    else:
        table(_PASSWORDS, ((str(key), name, plain) for key, (name, plain) in made.items()))


@app.command()
@spread
def clear(
    *,
    accounts: AccountNames = None,
    filters: AccountFilters,
    options: EditOptions,
) -> None:
    """Clear the password of accounts.

    Example: identengine accounts password clear --store STORE 161
    """
    from identengine.provisioning import edits
    from identengine.provisioning.rows import ACCOUNTS

    edit = edits.clear_password(chosen(ACCOUNTS, accounts or (), filters))
    what = described("accounts password clear", accounts or (), filters)
    report(run_edit(options, what, edit), options)


@contextmanager
def _plain_mistakes() -> Iterator[None]:
    """Raise the mistake of a password without a place, since it was on no command line."""
    try:
        yield
    except LoadError as error:
        raise IdentengineError(error.problems[0].expected) from error
