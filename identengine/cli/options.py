"""Options that many commands share, so that each is named, explained and completed alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from identengine.cli.output import JSON_WANTED

_PLACE = "Where things are"


def _json_wanted(context: typer.Context, wanted: bool) -> bool:
    """Remember it for the whole run, so that a mistake is told in JSON too."""
    context.meta[JSON_WANTED] = wanted
    return wanted


def _folder(text: str) -> Path:
    if not text:  # an unset variable of a script, which as a path would be the folder that one stands in
        raise typer.BadParameter("a folder is wanted, this is empty")
    return Path(text)


StoreDir = Annotated[
    Path | None,
    typer.Option(
        "--store",
        parser=_folder,
        envvar="IDENTENGINE_STORE",
        metavar="DIR",
        help="Folder of the store; default: that of --config.",
        rich_help_panel=_PLACE,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="IDENTENGINE_CONFIG",
        metavar="FILE",
        help="Config of the server: its store, key and options hold here too.",
        rich_help_panel=_PLACE,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="Key of the passwords; else $IDENTENGINE_KEY (keys), $IDENTENGINE_KEY_FILE, the config's, DIR.key.",
        rich_help_panel=_PLACE,
    ),
]
Who = Annotated[
    str | None,
    typer.Option(
        "--who", metavar="NAME", help="Who makes this change, for the audit log; default: the login name."
    ),
]
AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its id, or its name.")]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="One JSON document for programs.", is_eager=True, callback=_json_wanted),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this it is only said what would be done.")]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=0, metavar="N", help="Show at most N; 0: all. Default: 100 on a terminal, else all."
    ),
]
Offset = Annotated[int, typer.Option("--offset", min=0, metavar="N", help="Pass over the first N.")]
