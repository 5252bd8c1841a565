"""``identengine key …``: the key that encrypts the passwords (engine.md 1.7)."""

from __future__ import annotations

import typer

from identengine.cli.options import AsJson, ConfigFile, KeyFile, StoreDir, Who
from identengine.cli.output import emit, hint, say
from identengine.cli.workspace import author, find_workspace
from identengine.errors import counted

app = typer.Typer(
    no_args_is_help=True,
    help="Manage the key that encrypts the passwords.",
    epilog="Example: identengine key rotate --store STORE",
)


@app.callback()
def _key() -> None:
    """Keep ``key`` a group, although it has only one command."""


@app.command()
def rotate(
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt all passwords with a new key, which replaces the old one in the key file.

    If the keys are in the environment, put the new key first there, then run this command. Older copies and
    exports need the old key, so keep it as long as you keep them.

    Example: identengine key rotate --store STORE
    """
    here = find_workspace(store, config, key_file)
    path = here.key_path()
    with here.open() as opened:
        count = opened.rekey(here.vault(), author(who)) if path is None else opened.rotate(path, author(who))
    if as_json:
        emit({"passwords": count, "key_file": str(path) if path else None})
        return
    place = "the environment" if path is None else str(path)
    say(f"{counted(count, 'password')} encrypted again, including earlier versions. The new key is in {place}.")
    hint(
        "a running server reads the new key file automatically"
        if path
        else "restart running servers with the new key"
    )
