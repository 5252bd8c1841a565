"""``top``: the live state of a server in a terminal.

Each refresh copies the counters and asks the server over a new connection. So ``top`` reports a server that is
down or being replaced, and the next refresh finds the new one.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from identengine.cli.operatorclient import CallsDir, OperatorClient, calls_folder, fullest
from identengine.cli.options import AsJson, ConfigFile, decimal
from identengine.cli.output import emit, printable
from identengine.cli.stats import PATIENCE, server_facts
from identengine.errors import IdentengineError, StoreError
from identengine.stats.file import Snapshot, read
from identengine.stats.registry import REGISTRY
from identengine.wire.operator import Status, StatusRequest, Use

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

ROWS = 10
"""Largest number of rows in each table."""
_REQUESTS = ("requests_authorize", "requests_start", "requests_update", "requests_stop", "accepted")
_WATCHED = (
    "overcommits",
    "unknown_starts",
    "unknown_updates",
    "unknown_stops",
    "lapsed_reserved",
    "lapsed_active",
    "strangers_refused",
    "datagrams_dropped_too_old",
    "wrong_tokens",
    "malformed_messages",
    "radius_dropped",
    "faults",
    "answers_unsent",
    "answers_withheld",
)
_REASONS = tuple(known.name for known in REGISTRY if known.name.startswith("rejected_"))


class Rate(msgspec.Struct, frozen=True):
    """A counter and its growth since the previous refresh."""

    name: str
    total: int
    per_second: float


class Address(msgspec.Struct, frozen=True):
    """An address whose calls were rejected. The count may be too low by ``short_by`` of the picture."""

    address: str
    rejected: int


class Picture(msgspec.Struct, frozen=True):
    """The state of a server at one refresh."""

    server: Status | None
    trouble: str | None
    """Errors of the server or the counters, or None."""
    rates: tuple[Rate, ...] = ()
    accounts: tuple[Use, ...] = ()
    clients: tuple[Use, ...] = ()
    addresses: tuple[Address, ...] = ()
    short_by: int = 0


class _Watch:
    """A source of pictures that keeps the previous counters, for rates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before: tuple[float, Snapshot] | None = None

    def look(self) -> Picture:
        """Return the current state. Rates cover the time since the previous call."""
        troubles: list[str] = []
        status, accounts, clients = None, [], []
        try:
            with OperatorClient(self._folder, PATIENCE) as server:
                status = server.ask(StatusRequest(), Status)
                accounts, clients = (fullest(server, of, ROWS) for of in ("accounts", "clients"))
        except IdentengineError as error:
            troubles.append(str(error))
        try:
            snapshot = read(self._folder)
        except StoreError as error:
            return Picture(status, "\n".join([*troubles, str(error)]), (), tuple(accounts), tuple(clients))
        now = time.monotonic()
        then, before = self._before or (now, snapshot)
        self._before = now, snapshot
        passed = now - then

        def rate(name: str) -> Rate:
            grown = max(0, snapshot.values[name] - before.values[name])  # negative if the file was replaced
            return Rate(name, snapshot.values[name], round(grown / passed, 1) if passed else 0.0)

        reasons = sorted(map(rate, _REASONS), key=lambda one: (-one.per_second, -one.total))
        return Picture(
            status,
            "\n".join(troubles) or None,
            tuple(rate(name) for name in (*_REQUESTS, *_WATCHED))
            + tuple(one for one in reasons if one.total)[:ROWS],
            tuple(accounts),
            tuple(clients),
            tuple(Address(one, count) for one, count in snapshot.addresses.largest(ROWS)),
            snapshot.addresses.floor,
        )


def top(
    every: Annotated[
        float,
        typer.Option(
            "--every",
            parser=decimal(0.2, 60),
            metavar="SECONDS",
            help="Time between refreshes, 0.2 to 60 seconds.",
        ),
    ] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", help="Show one picture and exit. This is the default without a terminal.")
    ] = False,
    config: ConfigFile = None,
    calls: CallsDir = None,
    as_json: AsJson = False,
) -> None:
    """Watch the server live: use of limits, requests and rejects per second, lapses. Quit with q or Ctrl-C.

    Example: identengine top --config identengine.toml --every 2
    """
    folder = calls_folder(calls, config)
    watch = _Watch(folder)
    first = watch.look()
    live = not (once or as_json) and sys.stdout.isatty()
    if not live:
        if first.server is None and not first.rates:
            raise IdentengineError(first.trouble or "neither a server nor counters were found")
        time.sleep(every)  # rates need two readings of the counters
        picture = watch.look()
        if as_json:
            emit(picture)
        else:
            _console().print(_shown(picture, every))
        raise typer.Exit(1 if picture.server is None else 0)
    _live(watch, first, every)


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(top)


def _live(watch: _Watch, first: Picture, every: float) -> None:
    """Show pictures until q, Ctrl-C or SIGTERM, then restore the terminal."""
    from rich.live import Live

    with (
        _signals() as ending,
        _keys(),
        Live(_shown(first, every), console=_console(), screen=True, auto_refresh=False) as shown,
    ):
        while not _quits(every, ending):
            shown.update(_shown(watch.look(), every), refresh=True)


@contextmanager
def _signals() -> Iterator[int]:
    """Yield a file descriptor that becomes readable on Ctrl-C or SIGTERM.

    The signals raise no exception, since one in the middle of a drawing would leave the terminal half changed.
    """
    ending, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def tell(_number: int, _frame: FrameType | None) -> None:
        with suppress(BlockingIOError):  # the pipe is full of earlier signals
            os.write(signalled, b"\0")

    before = [(number, signal.signal(number, tell)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield ending
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        os.close(ending)
        os.close(signalled)


@contextmanager
def _keys() -> Iterator[None]:
    """Read each key as soon as it is pressed, if standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits(wait: float, ending: int) -> bool:
    """Wait for the next refresh. Return True if q was pressed or ``ending`` is readable."""
    sources = [ending, *([sys.stdin.fileno()] if sys.stdin.isatty() else [])]
    end = time.monotonic() + wait
    while (left := end - time.monotonic()) > 0:
        for source in select.select(sources, [], [], left)[0]:
            if source == ending:
                return True
            pressed = os.read(source, 64)
            if not pressed or b"q" in pressed.lower():
                return True
    return False


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _shown(picture: Picture, every: float) -> RenderableType:
    """Return the picture for a terminal."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    head: list[RenderableType] = []
    if picture.server is not None:
        for name, value in server_facts(picture.server):
            if value is not None:
                head.append(Text(f"{name:<7} {printable(value)}", style="bold red" if name == "ALARM" else ""))
    if picture.trouble is not None:
        trouble = "\n".join(map(printable, picture.trouble.splitlines()))
        head.append(Text(trouble, style="bold red"))
        head.append(Text("The last known counters are shown."))
    requests = [one for one in picture.rates if not one.name.startswith("rejected_")]
    reasons = [one for one in picture.rates if one.name.startswith("rejected_")]
    tables = [
        _table(
            "accounts, by use", ("ID", "Account", "Direction", "Held", "Limit", "Use"), map(_use, picture.accounts)
        ),
        _table(
            "clients, by use", ("ID", "Client", "Direction", "Held", "Limit", "Use"), map(_use, picture.clients)
        ),
        _table("requests", ("Counter", "Total", "/s"), map(_rate, requests)),
        _table("rejects", ("Reason", "Total", "/s"), map(_rate, reasons)),
        _table(
            f"rejects by address{f' (each up to {picture.short_by:,} too low)' if picture.short_by else ''}",
            ("Address", "Rejected"),
            ((one.address, f"{one.rejected:,}") for one in picture.addresses),
        ),
    ]
    return Group(
        *head, Columns(tables, padding=(0, 2)), Text(f"refreshed every {every:g} s; q quits", style="dim")
    )


def _table(title: str, columns: tuple[str, ...], cells: Iterator[tuple[str, ...]]) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", header_style="")
    left = ("ID", "Account", "Client", "Direction", "Counter", "Reason", "Address")
    for column in columns:
        made.add_column(column, justify="left" if column in left else "right", overflow="ellipsis", no_wrap=True)
    for row in cells:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def _use(use: Use) -> tuple[str, ...]:
    share = "" if use.limit is None else f"{use.held / use.limit:.0%}" if use.limit else "over"
    limit = "" if use.limit is None else f"{use.limit:,}"
    return str(use.id), use.name or "(not in the book)", use.direction, f"{use.held:,}", limit, share


def _rate(rate: Rate) -> tuple[str, ...]:
    name = rate.name.removeprefix("rejected_").removeprefix("requests_")
    return name, f"{rate.total:,}", f"{rate.per_second:,.1f}"
