"""``identengine key …``: the key under which passwords are kept (engine.md 1.7)."""

from __future__ import annotations

import typer

from identengine.cli.options import AsJson, ConfigFile, KeyFile, StoreDir, Who
from identengine.cli.output import emit, hint, say
from identengine.cli.workspace import author, find_workspace

app = typer.Typer(
    no_args_is_help=True,
    help="The key under which passwords are kept.",
    epilog="Example: identengine key rotate --store STORE",
)


@app.callback()
def _key() -> None:
    """Keep `key` a group of commands while there is but one."""


@app.command()
def rotate(
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt all passwords anew under a new key, which takes the old one's place in the key file.

    With keys in the environment: put the new one first there, then run this. Copies and exports made before
    need the old key, so keep it as long as you keep them.

    Example: identengine key rotate --store STORE
    """
    here = find_workspace(store, config, key_file)
    path = here.key_path()
    with here.open() as opened:
        count = opened.rekey(here.vault(), author(who)) if path is None else opened.rotate(path, author(who))
    if as_json:
        emit({"passwords": count, "key_file": str(path) if path else None})
        return
    say(f"{count} passwords encrypted anew (those of earlier versions too), key in {path or 'the environment'}")
    hint(
        "a running server reads the key file again by itself"
        if path
        else "restart running servers with the new key"
    )
