"""``top``: the live state of a server in a terminal.

Each refresh copies the counters and asks the server over a new connection. So ``top`` reports a server that is
down or being replaced, and the next refresh finds the new one.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.operatorclient import CallsDir, calls_folder
from identengine.cli.options import AsJson, ConfigFile, decimal
from identengine.cli.output import emit
from identengine.cli.topdata import Picture, Watch
from identengine.cli.topscreen import Window, page_of
from identengine.errors import IdentengineError

if TYPE_CHECKING:
    from rich.console import Console

_KEY = re.compile(rb"\x1b(?:[\[O][0-9;]*[A-Za-z~])?|.", re.DOTALL)
"""One key: an escape sequence of a terminal, or a byte."""
_QUIT, _RESIZED = b"q", b"r"
"""Bytes in the pipe of signals."""


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
    """Watch the server live: all limits that are full, requests and rejects per second, lapses.

    Arrows and PgUp, PgDn, Home, End scroll, Tab jumps to the next table, / searches, q or Ctrl-C quits.

    Example: identengine top --config identengine.toml --every 2
    """
    folder = calls_folder(calls, config)
    watch = Watch(folder)
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
            console = _console()
            console.print(page_of(picture, console.width))
        raise typer.Exit(1 if picture.server is None else 0)
    _live(watch, first, every)


def _live(watch: Watch, first: Picture, every: float) -> None:
    """Show pictures until q, Ctrl-C or SIGTERM, then restore the terminal."""
    from rich.live import Live

    console, window = _console(), Window(first)
    with (
        _signals() as signals,
        _keys(),
        Live(window.drawn(*console.size), console=console, screen=True, auto_refresh=False) as shown,
    ):
        refreshed = time.monotonic()
        while True:
            shown.update(window.drawn(*console.size), refresh=True)
            pressed = _pressed(refreshed + every, signals)
            if pressed is None or any(window.quits(key) for key in pressed):
                return
            if time.monotonic() >= refreshed + every:
                window.picture = watch.look()
                refreshed = time.monotonic()


@contextmanager
def _signals() -> Iterator[int]:
    """Yield a file descriptor that has a byte for each Ctrl-C or SIGTERM, and for each change of the window.

    The signals raise no exception, since one in the middle of a drawing would leave the terminal half changed.
    """
    readable, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def tell(number: int, _frame: FrameType | None) -> None:
        with suppress(BlockingIOError):  # the pipe is full of earlier signals
            os.write(signalled, _RESIZED if number == signal.SIGWINCH else _QUIT)

    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGWINCH)
    before = [(number, signal.signal(number, tell)) for number in watched]
    try:
        yield readable
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        os.close(readable)
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


def _pressed(until: float, signals: int) -> list[bytes] | None:
    """Wait for keys or a change of the window, until the next refresh. Return the keys, or None to quit."""
    sources = [signals, *([sys.stdin.fileno()] if sys.stdin.isatty() else [])]
    for source in select.select(sources, [], [], max(0.0, until - time.monotonic()))[0]:
        read = os.read(source, 1024)
        if source == signals and _QUIT in read:
            return None
        if source != signals:
            return _KEY.findall(read) if read else None  # at the end of the input, no key can quit
    return []


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(top)
