"""``stats``: everything that was counted, over all restarts; it needs no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from identengine.cli.operatorclient import CallsDir, NoServerError, OperatorClient, calls_folder
from identengine.cli.options import AsJson, ConfigFile, Limit
from identengine.cli.output import Column, emit, facts, hint, say, table, when
from identengine.errors import IdentengineError

if TYPE_CHECKING:
    from pathlib import Path

    from identengine.stats.file import Snapshot
    from identengine.wire.operator import Status

ADDRESSES = 20
"""Addresses that are shown where no limit is named."""
PATIENCE = 2.0
"""Seconds that a server has to answer; the counters are there without it."""
_TIMES = ("began", "started", "noted", "book_made", "book_taken_up")

_COUNTERS = (Column("Counter", firm=True), Column("Value", right=True), Column("What"))
_MALFORMED = (
    Column("Switch", firm=True),
    Column("Error", right=True),
    Column("Malformed messages", right=True),
)
_ADDRESSES = (Column("Address", firm=True), Column("Rejected", right=True))


def stats(limit: Limit = None, config: ConfigFile = None, calls: CallsDir = None, as_json: AsJson = False) -> None:
    """Show what was counted: requests, rejects by reason and by address, what lapsed, what was unknown.

    It goes on over restarts of the server, and is there while none runs. --limit is that of the addresses.

    Example: identengine stats --config identengine.toml --json
    """
    from identengine.stats.file import read
    from identengine.stats.registry import REGISTRY, SUMS

    folder = calls_folder(calls, config)
    snapshot = read(folder)
    status, why = server_status(folder)
    most = ADDRESSES if limit is None else limit or len(snapshot.addresses.counts)
    largest = snapshot.addresses.largest(most)
    malformed = [(one, code, count) for one, row in snapshot.malformed.items() for code, count in row.items()]
    malformed.sort(key=lambda row: -row[2])
    if as_json:
        emit(
            {
                "server": status,
                "no_server": why,
                "counters": snapshot.values,
                "addresses": [{"address": one, "rejected": count} for one, count in largest],
                "addresses_short_by": snapshot.addresses.floor,
                "malformed": [{"switch": one, "code": code, "messages": count} for one, code, count in malformed],
            }
        )
        return
    _tell_server(status, why, snapshot)
    say("")
    whats = {known.name: known.what for known in REGISTRY} | {name: what for name, (what, _) in SUMS.items()}
    shown = (
        (name, _value(name, value), whats[name].removesuffix(", Unix seconds"))
        for name, value in snapshot.values.items()
        if value
    )
    table(_COUNTERS, shown)
    say("what is not listed is zero")
    if malformed:
        say("")
        table(_MALFORMED, ((one, str(code), f"{count:,}") for one, code, count in malformed))
    if largest:
        say("")
        table(_ADDRESSES, ((one, f"{count:,}") for one, count in largest))
        if snapshot.addresses.floor:
            say(f"each may be up to {snapshot.addresses.floor:,} more: there were very many addresses")
        if (more := len(snapshot.addresses.counts) - len(largest)) > 0:
            hint(f"{more} more; --limit 0 shows all that are known")


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(stats)


def server_status(folder: Path) -> tuple[Status | None, str | None]:
    """Return how the server is, or why nothing is known of it."""
    from identengine.wire.operator import Status, StatusRequest

    try:
        with OperatorClient(folder, PATIENCE) as server:
            return server.ask(StatusRequest(), Status), None
    except NoServerError as error:
        return None, str(error)
    except IdentengineError as error:  # it is there, and of another version
        return None, str(error)


def _tell_server(status: Status | None, why: str | None, snapshot: Snapshot) -> None:
    if status is None:
        say(f"{why}")
        say(f"what follows is as one left it, {when(snapshot.values['noted'])}")
        return
    facts(server_facts(status))


def server_facts(status: Status) -> list[tuple[str, str | None]]:
    """Return what a person wants to know of a server."""
    most = f" ({status.global_capacity:,} may pass)" if status.global_capacity is not None else ""
    held = f"{status.held:,} {'leg' if status.held == 1 else 'legs'}"
    return [
        ("server", f"{status.program}, process {status.pid}, up {_days(status.uptime)}"),
        ("book", f"version {status.version}, {status.accounts:,} accounts" if status.version else "none"),
        ("calls", f"{held} held of {status.max_legs:,}{most}, {status.lapsed:,} lapsed remembered"),
        ("ALARM", "\n".join(status.alarms) or None),
    ]


def _days(seconds: float) -> str:
    whole = int(seconds)
    clock = f"{whole // 3600 % 24}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 86400} d {clock}" if whole >= 86400 else clock


def _value(name: str, value: int) -> str:
    if name in _TIMES:
        return when(value)
    return str(value) if name == "pid" else f"{value:,}"
