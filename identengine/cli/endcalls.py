"""Ending calls on a running server: those of ``calls end``, and those of clients that were just blocked.

Rule: the calls of a blocked client end only after the server uses the version that blocks the client. Otherwise a
call could begin between.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from identengine.cli.auditing import CallsEnded
from identengine.cli.editing import EditOptions, document, print_report, refuse
from identengine.cli.interrupts import StoppedError
from identengine.cli.operatorclient import PATIENCE, OperatorClient, leg_rows
from identengine.cli.output import emit, progress, say
from identengine.errors import IdentengineError, counted, sentences
from identengine.provisioning.listing import listed

if TYPE_CHECKING:
    from identengine.provisioning.edits import Applied
    from identengine.store.snapshot import View
    from identengine.wire.operator import LegRow

_PAUSE = 0.05
"""Time between two questions which version the server uses, in seconds."""


class Freed(NamedTuple):
    """The number of legs that were ended, and the number that had ended already."""

    freed: int
    gone: int


def report_and_end(done: Applied, folder: Path, clients: list[int], options: EditOptions) -> None:
    """Print the result of blocking ``clients``, end their calls, and print the number of calls.

    ``folder`` is that of the set of calls. Raise IdentengineError if the calls could not be ended. The clients
    stay blocked then.
    """
    if not options.as_json:
        print_report(done, options)
    if options.dry_run or done.needs_yes:
        if options.as_json:
            emit(document(done, options) | {"ended": None})
        refuse(done, options)
        return
    here = options.workspace()
    with here.open(readonly=True) as opened, opened.read() as book:
        version, every = book.version, _with_below(book, clients)
    try:
        with OperatorClient(folder) as server:
            _await_version(server, version)
            log = CallsEnded(options.store, options.config, options.who, f"client {listed(map(str, clients))}")
            ended = end_legs(server, _legs(server, every), log)
    except StoppedError:
        raise
    except IdentengineError as error:
        if options.as_json:
            emit(document(done, options) | {"ended": None})
        _fail(clients, error)
    if options.as_json:
        emit(document(done, options) | {"ended": ended._asdict()})
    else:
        below = len(every) - len(clients)
        also = f", with those of {counted(below, 'client')} below" if below else ""
        say(f"{ended_told(ended)}{also}")


def _fail(clients: list[int], error: IdentengineError) -> NoReturn:
    who = f"client {clients[0]} is" if len(clients) == 1 else f"the {len(clients):,} clients are"
    remedy = "Use `identengine calls end --client CLIENT --yes` to end them."
    raise IdentengineError(sentences(f"{who} blocked, but not all calls were ended: {error}", remedy)) from error


def _with_below(book: View, clients: Iterable[int]) -> set[int]:
    """Return the clients and all clients below them, whose calls are rejected, too (engine.md 3.5)."""
    children: dict[int, list[int]] = {}
    for client in book.clients():
        if client.parent_id is not None:
            children.setdefault(client.parent_id, []).append(client.id)
    found: set[int] = set()
    queue = list(clients)
    while queue:
        client_id = queue.pop()
        if client_id not in found:
            found.add(client_id)
            queue += children.get(client_id, ())
    return found


def _await_version(server: OperatorClient, version: int) -> None:
    """Wait until the server uses this version of the book. Raise IdentengineError if it does not in time."""
    from identengine.wire.operator import Status, StatusRequest

    deadline = time.monotonic() + PATIENCE
    while (used := server.ask(StatusRequest(), Status).version) is None or used < version:
        if time.monotonic() > deadline:
            raise IdentengineError(
                f"after {PATIENCE:.0f} s the server at {server.path} still uses version {used} of the book, not "
                f"version {version}"
            )
        time.sleep(_PAUSE)


def _legs(server: OperatorClient, clients: set[int]) -> Iterator[LegRow]:
    """Yield the legs of the clients."""
    from identengine.wire.operator import Filter

    only = next(iter(clients)) if len(clients) == 1 else None
    return (row for row in leg_rows(server, Filter(client_id=only)) if row.client_id in clients)


def end_legs(server: OperatorClient, found: Iterator[LegRow], log: CallsEnded) -> Freed:
    """End the legs in batches, and record that. Return their number. Raise StoppedError when interrupted."""
    from identengine.wire.operator import MOST_ENDED, Ended, EndRequest

    freed = gone = 0
    try:
        with progress("ending calls") as tell:
            while some := tuple(islice(found, MOST_ENDED)):
                ended = server.ask(EndRequest(tuple(row.ending() for row in some)), Ended)
                log.add(some)
                freed, gone = freed + ended.freed, gone + ended.gone
                tell(freed, None)
    except KeyboardInterrupt:
        raise StoppedError(f"interrupted; {counted(freed, 'leg')} ended", 130) from None
    finally:
        log.record()
    return Freed(freed, gone)


def ended_told(ended: Freed) -> str:
    """Return the number of legs as a sentence tells it."""
    return f"{counted(ended.freed, 'leg')} ended" + (f", {ended.gone} had already ended" if ended.gone else "")
