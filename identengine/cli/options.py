"""Options that several commands share, so that every command names, explains and parses them alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from identengine.cli.times import EXAMPLES, since, until
from identengine.errors import expected

LOCATIONS = "Locations"
"""Title of the panel of options that name files and folders."""

_DIGITS = 19
_LARGEST = 10 ** (_DIGITS - 1) - 1
"""Largest integer that an option takes. It fits into the 64 bits of the store."""


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a parser of integers from ``least`` to ``most`` that explains a wrong value."""

    def parse(text: str) -> int:
        digits = str(text).strip()  # typer passes defaults, too, which are integers already
        value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < _DIGITS else None
        largest = _LARGEST if most is None else most
        if value is None or not least <= value <= largest:
            is_large = most is not None or len(digits) >= _DIGITS
            limits = f"from {least:,} to {largest:,}" if is_large else f"of at least {least:,}"
            raise typer.BadParameter(expected(f"an integer {limits}", text))
        return value

    parse.__name__ = "integer"  # the type that help texts show
    return parse


def decimal(least: float, most: float | None = None) -> Callable[[str], float]:
    """Return a parser of decimal numbers from ``least`` to ``most`` that explains a wrong value."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (least <= value < float("inf")) or (most is not None and value > most):
            limits = f"of at least {least:g}" if most is None else f"from {least:g} to {most:g}"
            raise typer.BadParameter(expected(f"a number {limits}", text))
        return value

    parse.__name__ = "number"
    return parse


def _folder(text: str) -> Path:
    if not text:  # as a path, the unset variable of a script would be the current folder
        raise typer.BadParameter(expected("a folder", text))
    return Path(text)


StoreDir = Annotated[
    Path | None,
    typer.Option(
        "--store",
        parser=_folder,
        envvar="IDENTENGINE_STORE",
        metavar="DIR",
        help="Folder of the store. Default: the store that the config names.",
        rich_help_panel=LOCATIONS,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="IDENTENGINE_CONFIG",
        metavar="FILE",
        help="Config file of the server. It names the store, its key, the set of calls and more.",
        rich_help_panel=LOCATIONS,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help=(
            "Key file of the passwords. Default, in this order: the keys in $IDENTENGINE_KEY, the file that"
            " $IDENTENGINE_KEY_FILE names, the key that the config names, the file DIR.key next to the store."
        ),
        rich_help_panel=LOCATIONS,
    ),
]
Who = Annotated[
    str | None,
    typer.Option("--who", metavar="NAME", help="Name of the author, for the audit log. Default: the login name."),
]
AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Id or name of the account.")]
AccountNames = Annotated[
    list[str] | None, typer.Argument(metavar="[ACCOUNT]...", help="Ids or names of accounts, or filters below.")
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document, for programs, and errors as JSON to standard error."),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Apply the change. Without it, the command only shows the change.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        parser=integer(0),
        metavar="N",
        help="Show at most N rows; 0 shows all. Default: 100 on a terminal, all rows otherwise.",
    ),
]
Offset = Annotated[int, typer.Option("--offset", parser=integer(0), metavar="N", help="Skip the first N rows.")]
ReuseId = Annotated[
    bool, typer.Option("--reuse-id", help="Allow a new account to have the id of an account that was removed.")
]
Since = Annotated[
    float | None,
    typer.Option("--since", parser=since, metavar="TIME", help=f"Only from this time on: {EXAMPLES}."),
]
Until = Annotated[
    float | None,
    typer.Option(
        "--until", parser=until, metavar="TIME", help="Only up to this time. A date alone includes the whole day."
    ),
]
