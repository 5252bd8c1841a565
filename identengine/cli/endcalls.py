"""Ending the calls of clients that were just blocked: ``clients block --end-calls``.

Rule: calls end only after the server uses the version that blocks the clients. Otherwise a call could begin
between.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from identengine.cli.auditing import record_all
from identengine.cli.editing import EditOptions, document, print_report, refuse
from identengine.cli.operatorclient import PATIENCE, OperatorClient, leg_rows
from identengine.cli.output import emit, progress, say
from identengine.errors import IdentengineError, counted, sentences

if TYPE_CHECKING:
    from identengine.provisioning.edits import Applied
    from identengine.store.snapshot import View
    from identengine.wire.operator import LegRow

_PAUSE = 0.05
"""Time between two questions which version the server uses, in seconds."""


class _Freed(NamedTuple):
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
    from identengine.store.versions import Noted

    here = options.workspace()
    with here.open(readonly=True) as opened, opened.read() as book:
        version, every = book.version, _with_below(book, clients)
    of: Counter[int] = Counter()
    try:
        with OperatorClient(folder) as server:
            _await_version(server, version)
            ended = _end(server, _legs(server, every), of)
    except IdentengineError as error:
        if options.as_json:
            emit(document(done, options) | {"ended": None})
        _fail(clients, error)
    finally:
        if of:
            events = [Noted(f"calls ended: {counted(count, 'leg')}", client=key) for key, count in of.items()]
            record_all(here, options.who, events)
    if options.as_json:
        emit(document(done, options) | {"ended": ended._asdict()})
    else:
        below = len(every) - len(clients)
        also = f", with those of {counted(below, 'client')} below" if below else ""
        say(f"{_told(ended)}{also}")


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


def _end(server: OperatorClient, found: Iterator[LegRow], of: Counter[int]) -> _Freed:
    """End the legs in batches. Count them in ``of`` by client."""
    from identengine.wire.operator import MOST_ENDED, Ended, EndRequest

    freed = gone = 0
    with progress("ending calls") as tell:
        while some := list(islice(found, MOST_ENDED)):
            ended = server.ask(EndRequest(tuple(row.ending() for row in some)), Ended)
            of.update(row.client_id for row in some)
            freed, gone = freed + ended.freed, gone + ended.gone
            tell(freed, None)
    return _Freed(freed, gone)


def _told(ended: _Freed) -> str:
    return f"{counted(ended.freed, 'leg')} ended" + (f", {ended.gone} had already ended" if ended.gone else "")
