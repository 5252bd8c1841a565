"""Requests to a running server over the socket in the folder of its set of calls.

Rule: commands never open the set's own file, since a reader that stays in it would make it grow.
"""

from __future__ import annotations

import contextlib
import heapq
import socket
import time
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeVar

import typer

from identengine.cli.options import LOCATIONS
from identengine.errors import IdentengineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from identengine.wire.operator import Filter, LegRow, OperatorRequest, Use

PATIENCE = 10.0
"""Longest wait of a command for a server, in seconds. Requests wait while a decider is replaced."""
MOST_BYTES = 1 << 26
"""Longest answer, in bytes. A longer one is not an answer of this protocol."""

T = TypeVar("T")

CallsDir = Annotated[
    Path | None,
    typer.Option(
        "--calls",
        metavar="DIR",
        envvar="IDENTENGINE_CALLS",
        help="Folder of the set of calls. Default: [calls] path in the config.",
        rich_help_panel=LOCATIONS,
    ),
]


class NoServerError(IdentengineError):
    """No server answers."""


def calls_folder(calls: Path | None, config: Path | None) -> Path:
    """Return the folder of the set of calls. Raise ConfigError, or BadParameter if no option names it."""
    if calls is not None:
        return calls
    if config is None:
        raise typer.BadParameter(
            "name the folder of the set of calls with --calls DIR, --config FILE or $IDENTENGINE_CONFIG",
            param_hint="--calls",
        )
    from identengine.config.load import load

    return load(config, serving=False).calls.path


class OperatorClient:
    """A connection of a command to the decider (:mod:`identengine.wire.operator`). A context manager."""

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        """Connect. Raise NoServerError, which names the socket and the way to start a server.

        Raise IdentengineError if another user may have put the socket there.
        """
        from identengine.net.operator import FILE
        from identengine.net.unix import UntrustedPeerError, at_folder, peer_of

        self.path = folder / FILE
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience)
        try:
            with at_folder(folder, FILE) as name:
                _connect(self._socket, name, time.monotonic() + patience)
            peer_of(self._socket).require_server(folder)
        except UntrustedPeerError as error:
            self._socket.close()
            raise IdentengineError(
                f"the server at {self.path} cannot be trusted: {error.strerror}. Nothing was sent to it. Find out "
                "who changed the folder, then restart the server."
            ) from error
        except OSError as error:
            self._socket.close()
            raise NoServerError(self._unreachable(error)) from error
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, message: OperatorRequest, wanted: type[T]) -> T:
        """Return the answer. Raise NoServerError, or IdentengineError with the message of the server."""
        from identengine.wire.operator import OperatorFailure, line, read_reply

        try:
            with contextlib.suppress(
                BrokenPipeError
            ):  # the server closed the connection, and its reason may be readable
                self._socket.sendall(line(message))
            raw = self._answers.readline(MOST_BYTES)
        except OSError as error:
            raise NoServerError(self._unreachable(error)) from error
        if not raw.endswith(b"\n"):
            raise NoServerError(f"the server at {self.path} exited or closed the connection. Try again.")
        try:
            reply = read_reply(raw)
        except ValueError as error:
            raise IdentengineError(
                f"the answer at {self.path} cannot be parsed ({error}). Is the server of another version?"
            ) from error
        if isinstance(reply, OperatorFailure):
            raise IdentengineError(f"error from the server at {self.path}: {reply.message}")
        if not isinstance(reply, wanted):
            raise IdentengineError(f"unexpected answer from the server at {self.path}. Is it of another version?")
        return reply

    def _unreachable(self, error: OSError) -> str:
        if isinstance(error, TimeoutError):
            return f"the server at {self.path} does not answer. Is it stopped or being replaced? See its log."
        if isinstance(error, PermissionError):
            return f"{self.path}: {error.strerror}. Only root and the user of the server may connect."
        return (
            f"no server at {self.path} ({error.strerror}). Start one with `identengine serve --config FILE`,"
            " with this folder as [calls] path."
        )


def _connect(unix: socket.socket, name: str, deadline: float) -> None:
    """Connect. If the queue of connections is full, retry until ``deadline``."""
    while True:
        try:
            unix.connect(name)
        except BlockingIOError:  # the queue is full; a socket with a time-out does not wait
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.05)
        else:
            return


def leg_rows(server: OperatorClient, wanted: Filter) -> Iterator[LegRow]:
    """Yield the matching calls, page by page. The pages are from different moments."""
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
                continue  # it was started, and hence moved, after an earlier page
            yield row
        cursor = page.cursor


def fullest(server: OperatorClient, of: Literal["accounts", "clients"], most: int) -> list[Use]:
    """Return the fullest counters, by their use in relation to their limits: all that are full, or ``most``."""
    from identengine.wire.operator import Usage, UsageRequest

    full: list[Use] = []
    others: list[Use] = []
    cursor: int | None = 0
    while cursor is not None:
        page = server.ask(UsageRequest(of, cursor, most, full=True), Usage)
        full += [row for row in page.rows if row.is_full]
        others = heapq.nsmallest(
            most, [*others, *(row for row in page.rows if not row.is_full)], key=attrgetter("rank")
        )
        cursor = page.cursor
    return sorted(full, key=attrgetter("rank")) + others[: max(0, most - len(full))]
