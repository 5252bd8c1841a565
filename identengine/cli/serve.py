"""``identengine serve``: the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from identengine.cli.options import AsJson
from identengine.cli.output import emit, hint, say
from identengine.errors import ConfigError


def _print_sample(wanted: bool) -> None:
    """Print the sample before ``--config`` is required."""
    if wanted:
        from identengine.config.load import sample

        for line in sample().splitlines():
            say(line)
        raise typer.Exit


def serve(
    config: Annotated[
        Path, typer.Option("--config", envvar="IDENTENGINE_CONFIG", metavar="FILE", help="The config, TOML.")
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only check config, addresses, room and certificates, and warn of what else is missing.",
        ),
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Take sockets and calls of the server that runs on the same config, without an outage.",
        ),
    ] = False,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample", callback=_print_sample, is_eager=True, help="Print a config with every key, and exit."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer switches until SIGTERM; SIGHUP reads the config again.

    Example: identengine serve --config identengine.toml --check
    """
    from identengine.config.load import load

    loaded = load(config)
    from identengine.server.preflight import certificates, missing, problems

    if wrong := certificates(loaded):
        raise ConfigError(wrong)
    if check:
        from identengine.server.supervisor.filelimit import shortage

        if wrong := problems(loaded):
            raise ConfigError(wrong)
        few = shortage(loaded)
        warnings = [*loaded.warnings, *missing(loaded), *([few] if few else [])]
        if as_json:
            emit({"config": str(config), "warnings": warnings})
            return
        for warning in warnings:
            hint(f"warning: {warning}")
        say(f"{config} is right")
        return
    from identengine.server.serve import serve as run

    raise typer.Exit(run(loaded, take_over=take_over))


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(serve)
