"""Asking a running server: where its set of calls is, and one line for one line over its socket there.

Commands never open the set's own file: a reader that stays in it would make it grow.
"""

from __future__ import annotations

import contextlib
import heapq
import re
import socket
import time
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar

import typer

from identengine.errors import IdentengineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from identengine.wire.operator import Filter, LegRow, OperatorRequest, Use

PATIENCE = 10.0
"""Seconds that a command waits for a server: while a decider is replaced, what is asked waits."""
MOST_BYTES = 1 << 26
"""Of one answer; only what is none has more."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

T = TypeVar("T")

CallsDir = Annotated[
    Path | None,
    typer.Option(
        "--calls",
        metavar="DIR",
        envvar="IDENTENGINE_CALLS",
        help="Folder of the set of calls; default: [calls] path of --config.",
        rich_help_panel="Where things are",
    ),
]


class NoServerError(IdentengineError):
    """No server answers."""


def calls_folder(calls: Path | None, config: Path | None) -> Path:
    """Return the folder of the set of calls; wrong usage where none is named. Raises ConfigError."""
    if calls is not None:
        return calls
    if config is None:
        raise typer.BadParameter(
            "say where the set of calls is: --calls DIR, --config FILE or $IDENTENGINE_CONFIG",
            param_hint="--calls",
        )
    from identengine.config.load import load

    return load(config).calls.path


def seconds(text: str) -> float:
    """Return the seconds that ``90``, ``90s``, ``10m``, ``2h`` or ``1d`` are; else wrong usage."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r}: a time like 90s, 10m, 2h or 1d is wanted")
    return float(found[1]) * _SECONDS[found[2]]


class OperatorClient:
    """A connection of a command to the decider (:mod:`identengine.wire.operator`); a context manager."""

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        """Connect. Raises NoServerError, which says where and how to start one."""
        from identengine.net.operator import FILE
        from identengine.net.unix import at_folder

        self.path = folder / FILE
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience)
        try:
            with at_folder(folder, FILE) as name:
                _connect(self._socket, name, time.monotonic() + patience)
        except OSError as error:
            self._socket.close()
            raise NoServerError(self._nobody(error)) from error
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, message: OperatorRequest, wanted: type[T]) -> T:
        """Return the answer. Raises NoServerError, or IdentengineError with what the server says is wrong."""
        from identengine.wire.operator import OperatorFailure, line, read_reply

        try:
            with contextlib.suppress(BrokenPipeError):  # it was closed, and why may stand there to be read
                self._socket.sendall(line(message))
            raw = self._answers.readline(MOST_BYTES)
        except OSError as error:
            raise NoServerError(self._nobody(error)) from error
        if not raw.endswith(b"\n"):
            raise NoServerError(f"the server at {self.path} ended, or closed the connection; try again")
        try:
            reply = read_reply(raw)
        except ValueError as error:
            raise IdentengineError(
                f"the answer at {self.path} is not understood ({error}); is the server of another version?"
            ) from error
        if isinstance(reply, OperatorFailure):
            raise IdentengineError(f"the server at {self.path} says: {reply.message}")
        if not isinstance(reply, wanted):
            raise IdentengineError(f"the server at {self.path} answers something else")
        return reply

    def _nobody(self, error: OSError) -> str:
        if isinstance(error, TimeoutError):
            return f"the server at {self.path} does not answer; is it stopped, or being replaced? Its log may tell"
        if isinstance(error, PermissionError):
            return f"{self.path}: {error.strerror}; only the user that the server runs as, and root, may ask it"
        return (
            f"no server answers at {self.path} ({error.strerror}); `identengine serve --config FILE` starts one, "
            "with this path under [calls]"
        )


def _connect(unix: socket.socket, name: str, deadline: float) -> None:
    """Connect; where very many wait to be let in, try again until ``deadline``."""
    while True:
        try:
            unix.connect(name)
        except BlockingIOError:  # what a full queue is, where a time-out is set; others wait for it
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.05)
        else:
            return


def leg_rows(server: OperatorClient, wanted: Filter) -> Iterator[LegRow]:
    """Yield the calls that fit, page by page; no picture of one moment."""
    from identengine.wire.operator import LegPage, LegsRequest

    reserved: set[tuple[str, str, str, str]] = set()
    cursor: int | None = 0
    while cursor is not None:
        page = server.ask(LegsRequest(wanted, cursor), LegPage)
        for row in page.rows:
            key = (row.scope, row.call_id, row.direction, row.leg_id)
            if row.state == "reserved":
                reserved.add(key)
            elif key in reserved:
                continue  # it was started while we looked, and moved
            yield row
        cursor = page.cursor


def fullest(server: OperatorClient, of: Literal["accounts", "clients"], most: int) -> list[Use]:
    """Return the counters that are fullest, measured by their limits."""
    from identengine.wire.operator import Usage, UsageRequest

    found: list[Use] = []
    cursor: int | None = 0
    while cursor is not None:
        page = server.ask(UsageRequest(of, cursor, most), Usage)
        found = heapq.nsmallest(most, [*found, *page.rows], key=attrgetter("rank"))
        cursor = page.cursor
    return found
