"""``identengine accounts password …``: show, set, generate and clear the password of an account."""

from __future__ import annotations

import sys

import typer

from identengine.cli.editing import change, report
from identengine.cli.options import AccountName, AsJson, ConfigFile, KeyFile, StoreDir, Who
from identengine.cli.output import emit, say
from identengine.cli.workspace import Workspace, author, find_workspace
from identengine.errors import IdentengineError, LoadError
from identengine.provisioning.listing import find_account

app = typer.Typer(
    no_args_is_help=True,
    help="Manage the password of an account, which the store keeps encrypted.",
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
def set_password(
    account: AccountName,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Set a password. Type it twice on a terminal, or pass it as the first line of standard input.

    Example: identengine accounts password set --store STORE 161 < password.txt
    """
    here = find_workspace(store, config, key_file)
    _check_account(here, account)  # before a password is typed
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
    _change(here, account, plain, "accounts password set", who=who, as_json=as_json)


@app.command()
def generate(
    account: AccountName,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Generate a random password, store it, and print it once.

    Example: identengine accounts password generate --store STORE 161
    """
    from identengine.store.vault import generate_password

    here = find_workspace(store, config, key_file)
    _check_account(here, account)  # before a key is created
    plain = generate_password()
    version = _change(here, account, plain, "accounts password generate", who=who, as_json=as_json, quiet=True)
    if as_json:
        emit({"version": version, "password": plain})
    else:
        say(plain)


@app.command()
def clear(
    account: AccountName,
    store: StoreDir = None,
    config: ConfigFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Clear the password of an account.

    Example: identengine accounts password clear --store STORE 161
    """
    _change(find_workspace(store, config), account, None, "accounts password clear", who=who, as_json=as_json)


def _check_account(here: Workspace, account: str) -> None:
    with here.open(readonly=True) as opened, opened.read() as book:
        find_account(book, account)


def _change(
    here: Workspace,
    account: str,
    plain: str | None,
    what: str,
    *,
    who: str | None,
    as_json: bool,
    quiet: bool = False,
) -> int | None:
    """Store ``plain`` as the account's password, or clear it if None. Return the new version."""
    from identengine.provisioning import edits

    if plain is None:
        edit = edits.clear_password(account)
    else:
        edit = edits.set_password(account, plain, here.vault_to_write())
    try:
        done = change(here, who, f"{what} {account}", edit)
    except LoadError as error:
        raise IdentengineError(error.problems[0].expected) from error
    if not quiet:
        report(done, as_json=as_json)
    return done.version
