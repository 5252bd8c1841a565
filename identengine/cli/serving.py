"""``identengine serve``: the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from identengine.cli.options import AsJson
from identengine.cli.output import emit, hint, say


def serve(
    config: Annotated[
        Path, typer.Option("--config", envvar="IDENTENGINE_CONFIG", metavar="FILE", help="The config, TOML.")
    ],
    check: Annotated[bool, typer.Option("--check", help="Only check the config.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer switches until SIGTERM; SIGHUP reads the config again.

    Example: identengine serve --config identengine.toml --check
    """
    from identengine.config import load

    loaded = load(config)
    if check:
        if as_json:
            emit({"config": str(config), "warnings": loaded.warnings})
            return
        for warning in loaded.warnings:
            hint(f"warning: {warning}")
        say(f"{config} is right")
        return
    from identengine.decider import serve as decide

    raise typer.Exit(decide(loaded))


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(serve)
