"""``identengine serve``: the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.options import AsJson
from identengine.cli.output import emit, hint, say
from identengine.errors import KeyFileError, StoreError

if TYPE_CHECKING:
    from identengine.config import StoreConfig


def serve(
    config: Annotated[
        Path, typer.Option("--config", envvar="IDENTENGINE_CONFIG", metavar="FILE", help="The config, TOML.")
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Only check the config, and warn where store or key are not there.")
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Take sockets and calls of the server that runs on the same config, without an outage.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer switches until SIGTERM; SIGHUP reads the config again.

    Example: identengine serve --config identengine.toml --check
    """
    from identengine.config import load

    loaded = load(config)
    if check:
        warnings = [*loaded.warnings, *_missing(loaded.store)]
        if as_json:
            emit({"config": str(config), "warnings": warnings})
            return
        for warning in warnings:
            hint(f"warning: {warning}")
        say(f"{config} is right")
        return
    from identengine.supervisor import serve as supervise

    raise typer.Exit(supervise(loaded, take_over=take_over))


def _missing(store: StoreConfig) -> list[str]:
    """Return what a server would miss besides the config; no mistakes, as it may come before the server does."""
    from identengine.store.file import require

    found = []
    for look in (lambda: require(store.path), store.vault):
        try:
            look()
        except (StoreError, KeyFileError) as error:
            found.append(str(error))
    return found


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(serve)
