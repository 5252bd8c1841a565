"""``identengine accounts password …``: show (audited), set, generate and clear the password of an account."""

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
    help="The password of an account; kept encrypted, shown only when asked for.",
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
    """Show the password of an account; the audit log notes who asked.

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
            raise IdentengineError(f"the password of account {found.id} cannot be read: {error}") from error
        # First the note, then the password: what cannot be noted is not shown.
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
    """Set a password: typed twice on a terminal, else the first line of standard input.

    Example: identengine accounts password set --store STORE 161 < password.txt
    """
    here = find_workspace(store, config, key_file)
    _check_account(here, account)  # nobody types a password in vain
    if sys.stdin.isatty():
        plain = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        plain = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not plain:
        raise IdentengineError(
            "a password is wanted, here is none; `identengine accounts password clear` takes it away"
        )
    if plain == "-" or plain.startswith("enc:"):
        # To a book's column these two mean something else.
        raise IdentengineError("a password that is - or begins with enc: cannot be kept; choose another one")
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
    """Make a new random password, keep it, and print it this once.

    Example: identengine accounts password generate --store STORE 161
    """
    from identengine.store.vault import generate_password

    here = find_workspace(store, config, key_file)
    _check_account(here, account)  # no key is made in vain
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
    """Take the password of an account away.

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
    """Keep ``plain`` as the account's password, None clears it; return the version that this made."""
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
