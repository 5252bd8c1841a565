"""``identengine serve``: the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.options import AsJson
from identengine.cli.output import emit, hint, say
from identengine.errors import ConfigError

if TYPE_CHECKING:
    from identengine.config.schema import Config


def _print_sample(wanted: bool) -> None:
    """Print the sample config. Typer calls this before it requires ``--config``."""
    if wanted:
        from identengine.config.load import sample

        for line in sample().splitlines():
            say(line)
        raise typer.Exit


Sample = Annotated[
    bool,
    typer.Option(
        "--sample", callback=_print_sample, is_eager=True, help="Print a config with every key, and exit."
    ),
]


def serve(
    config: Annotated[
        Path, typer.Option("--config", envvar="IDENTENGINE_CONFIG", metavar="FILE", help="Config file (TOML).")
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help=(
                "Check config, addresses, disk space and certificates, then exit."
                " A missing store or key and a low limit of open files are only warnings."
            ),
        ),
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Take over sockets and calls from the running server of the same config, without an outage.",
        ),
    ] = False,
    sample: Sample = False,
    as_json: AsJson = False,
) -> None:
    """Run the server until SIGTERM. SIGHUP makes it read the config again.

    Example: identengine serve --config identengine.toml --check
    """
    from identengine.config.load import load

    loaded = load(config)
    from identengine.server.preflight import certificates

    if wrong := certificates(loaded):
        raise ConfigError(wrong)
    if check:
        _check(config, loaded, as_json=as_json)
        return
    from identengine.server.serve import serve as run

    raise typer.Exit(run(loaded, take_over=take_over))


def _check(path: Path, config: Config, *, as_json: bool) -> None:
    """Print the warnings of a check. Raise ConfigError if the server could not start."""
    from identengine.server.preflight import missing, problems
    from identengine.server.supervisor.filelimit import shortage

    if wrong := problems(config):
        raise ConfigError(wrong)
    few = shortage(config)
    warnings = [*config.warnings, *missing(config), *([few] if few else [])]
    if as_json:
        emit({"config": str(path), "warnings": warnings})
        return
    for warning in warnings:
        hint(f"warning: {warning}")
    say(f"{path}: no mistakes found")


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(serve)
