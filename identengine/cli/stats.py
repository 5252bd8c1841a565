"""``stats``: all counters, which survive restarts. It needs no running server."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

import typer

from identengine.cli.operatorclient import CallsDir, NoServerError, OperatorClient, calls_folder
from identengine.cli.options import AsJson, ConfigFile, Limit
from identengine.cli.output import Column, emit, facts, hint, say, table, when
from identengine.errors import IdentengineError, counted

if TYPE_CHECKING:
    from pathlib import Path

    from identengine.stats.file import Snapshot
    from identengine.stats.malformed import RejectsBySwitch
    from identengine.wire.operator import Status

ADDRESSES = 20
"""Largest number of addresses shown without ``--limit``."""
PATIENCE = 2.0
"""Longest wait for a server, in seconds. It is short, since the counters need no server."""
_TIMES = ("began", "started", "noted", "book_made", "book_taken_up")

_COUNTERS = (Column("Counter", firm=True), Column("Value", right=True), Column("What"))
_REJECTED = (Column("Switch", firm=True), Column("Rejected", right=True))
_MALFORMED = (
    Column("Switch", firm=True),
    Column("Error", right=True),
    Column("Malformed messages", right=True),
)
_ADDRESSES = (Column("Address", firm=True), Column("Rejected", right=True))


def stats(limit: Limit = None, config: ConfigFile = None, calls: CallsDir = None, as_json: AsJson = False) -> None:
    """Show the counters: requests, rejects by reason, switch and address, lapsed and unknown calls.

    The counters survive restarts of the server and can be read while it is down. --limit applies to the addresses.

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
                "rejected_by_switch": snapshot.rejected,
                "malformed": [{"switch": one, "code": code, "messages": count} for one, code, count in malformed],
            }
        )
        return
    _print_server(status, why, snapshot)
    say("")
    whats = {known.name: known.what for known in REGISTRY} | {name: what for name, (what, _) in SUMS.items()}
    shown = (
        (name, _value(name, value), whats[name].removesuffix(", Unix seconds"))
        for name, value in snapshot.values.items()
        if value
    )
    table(_COUNTERS, shown)
    say("Counters that are not listed are zero.")
    _print_switches(snapshot.rejected, malformed)
    if largest:
        say("")
        table(_ADDRESSES, ((one, f"{count:,}") for one, count in largest))
        if snapshot.addresses.floor:
            say(f"Each count may be up to {snapshot.addresses.floor:,} too low: there were too many addresses.")
        if (more := len(snapshot.addresses.counts) - len(largest)) > 0:
            hint(f"not shown: {more:,} more; --limit 0 shows all")


def _print_switches(rejected: RejectsBySwitch, malformed: list[tuple[str, int, int]]) -> None:
    """Print the tables of rejects and of malformed messages by switch, if there are any."""
    if rejected:
        say("")
        rows = sorted(rejected.items(), key=itemgetter(1), reverse=True)
        table(_REJECTED, ((one, f"{count:,}") for one, count in rows))
    if malformed:
        say("")
        table(_MALFORMED, ((one, str(code), f"{count:,}") for one, code, count in malformed))


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(stats)


def server_status(folder: Path) -> tuple[Status | None, str | None]:
    """Return the status of the server, or the reason why it is unknown."""
    from identengine.wire.operator import Status, StatusRequest

    try:
        with OperatorClient(folder, PATIENCE) as server:
            return server.ask(StatusRequest(), Status), None
    except NoServerError as error:
        return None, str(error)
    except IdentengineError as error:  # a server of another version
        return None, str(error)


def _print_server(status: Status | None, why: str | None, snapshot: Snapshot) -> None:
    if status is None:
        say(f"{why}")
        say(f"The counters are from {when(snapshot.values['noted'])}.")
        return
    facts(server_facts(status))


def server_facts(status: Status) -> list[tuple[str, str | None]]:
    """Return the facts about a server that operators need."""
    most = f" (global_capacity {status.global_capacity:,})" if status.global_capacity is not None else ""
    legs = counted(status.held, "leg")
    return [
        ("server", f"{status.program}, process {status.pid}, up {_days(status.uptime)}"),
        ("book", f"version {status.version}, {counted(status.accounts, 'account')}" if status.version else "none"),
        ("calls", f"{legs} held of {status.max_legs:,}{most}, {status.lapsed:,} lapsed"),
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
