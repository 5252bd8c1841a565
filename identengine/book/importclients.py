"""Imports the table of clients. It is read whole before a row is written: a reseller may follow its clients.

Three kinds of clients are rejected (engine.md 1.1): those whose reseller is missing, those on a reseller loop, and
those in a chain that is too long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain

import msgspec

from identengine.book.clientnames import ClientNames, name_in
from identengine.book.columns import CLIENTS, id_in
from identengine.book.files import Source
from identengine.book.importrun import ImportRun, join_mistakes, readable, repeated, unknown_key
from identengine.book.labels import Labels
from identengine.book.mistakes import Mistake, RowError
from identengine.book.records import client_from
from identengine.errors import expected
from identengine.model.records import Client
from identengine.model.resellers import DEEPEST, SHOWN, chain_told, deepened, depths, loops


class ClientsImport:
    """Writes the table of clients to the draft of a run."""

    def __init__(self, run: ImportRun) -> None:
        self._run = run

    def load(self, source: Source) -> None:
        """Write the rows of ``source``. Clients that are not in it stay. Raise LoadError."""
        run = self._run
        tally = run.tallies[CLIENTS.name]
        lines: dict[int, int] = {}
        good: dict[int, Client] = {}
        named: dict[int, str] = {}
        """Id of each client whose row names its reseller, and that name."""
        labels: dict[int, Mapping[str, str]] = {}
        for row in run.read(source, CLIENTS):
            client_id = id_in(row.cells.get("id"))
            mistakes = list(row.mistakes)
            client = None
            if readable(row):
                try:
                    before = None if client_id is None else run.draft.client(client_id)
                    cells = run.cells(source, CLIENTS, row, client_id, before)
                    if client_id is not None and (name := name_in(cells.get("parent_id"))) is not None:
                        named[client_id] = name
                        cells = cells | {"parent_id": ""}
                    client = client_from(cells, before)
                except RowError as error:
                    join_mistakes(mistakes, error)
            if client_id is not None:
                if client_id in lines:
                    mistakes.append(repeated("id", client_id, lines[client_id]))
                else:
                    lines[client_id] = row.line
                    if mistakes:
                        run.bad_clients[client_id] = row.line
            if client is not None and not mistakes:
                good[client.id] = client
                if row.labels:
                    labels[client.id] = row.labels
            else:
                run.bad_row(source, CLIENTS, row.line, client_id, mistakes)
        self._find_resellers(source, good, named, lines)
        self._reject_misplaced(source, good, lines)
        for old in run.draft.clients():
            if old.id not in lines:
                tally.kept.add(old.id)
        self._write(good)
        names = Labels(run.draft)
        for client_id, found in labels.items():
            if client_id in good:
                run.warn(source, lines[client_id], names.warnings(good[client_id], found))

    def _write(self, good: Mapping[int, Client]) -> None:
        """Write the good rows that change something."""
        run = self._run
        for found in good.values():
            before = run.draft.client(found.id)
            client = run.held(before, found)
            run.note_limits(client)
            if run.differs(CLIENTS, before, client):
                run.draft.put_client(client)

    def _find_resellers(
        self, source: Source, good: dict[int, Client], named: Mapping[int, str], lines: Mapping[int, int]
    ) -> None:
        """Set the resellers that rows name. Remove from ``good`` each client whose reseller is not found."""
        if not named:
            return
        run = self._run
        names = ClientNames(chain(good.values(), (old for old in run.draft.clients() if old.id not in good)))
        for client_id in named.keys() & good.keys():
            found = names.id_of("parent_id", named[client_id])
            if isinstance(found, int):
                good[client_id] = msgspec.structs.replace(good[client_id], parent_id=found)
                continue
            del good[client_id]
            run.bad_clients[client_id] = lines[client_id]
            run.bad_row(source, CLIENTS, lines[client_id], client_id, [found])

    def _reject_misplaced(self, source: Source, good: dict[int, Client], lines: Mapping[int, int]) -> None:
        """Remove from ``good`` each client whose reseller is missing, or that is on a loop or too deep.

        Each removal can make the reseller of other clients missing, so repeat until nothing is removed.
        """
        run, draft = self._run, self._run.draft
        children: dict[int, list[int]] = {}
        for client in good.values():
            if client.parent_id is not None:
                children.setdefault(client.parent_id, []).append(client.id)

        def parent_of(client_id: int) -> int | None:
            client = good.get(client_id) or draft.client(client_id)
            return client.parent_id if client else None

        def reject(client_id: int, parent_id: int, message: str) -> None:
            del good[client_id]
            run.bad_clients[client_id] = lines[client_id]
            mistake = Mistake("parent_id", str(parent_id), message)
            run.bad_row(source, CLIENTS, lines[client_id], client_id, [mistake])

        def missing(client_id: int) -> bool:
            if client_id in good or draft.client(client_id) is not None:
                return False
            # Without skip_bad the mistake of a bad client is enough: its own clients are not reported as well.
            return run.skip_bad or client_id not in run.bad_clients

        queue = [parent_id for parent_id in children if missing(parent_id)]
        while True:
            while queue:
                parent_id = queue.pop()
                for client_id in children.get(parent_id, ()):
                    if client_id in good:
                        reject(client_id, parent_id, unknown_key("client", parent_id, run.bad_clients))
                        if missing(client_id):
                            queue.append(client_id)
            # After a rejection the older row of that client counts again, and it can be on a loop with new rows.
            wrong = self._misplaced(good, parent_of)
            parents = {client_id: good[client_id].parent_id or 0 for client_id in wrong}
            for client_id, message in wrong.items():
                reject(client_id, parents[client_id], message)
            if not wrong or not run.skip_bad:
                return
            queue = [client_id for client_id in wrong if missing(client_id)]

    def _misplaced(self, good: Mapping[int, Client], parent_of: Callable[[int], int | None]) -> dict[int, str]:
        """Return a message for each client of ``good`` that is on a loop or makes a chain too long."""
        wrong: dict[int, str] = {}
        for client_id, loop in loops(list(good), parent_of).items():
            if client_id in good:
                chain = " → ".join(map(str, (*loop, client_id if len(loop) < SHOWN else "…")))
                wrong[client_id] = f"reseller loop: {chain}"
        limit = f"a chain of at most {DEEPEST} clients"
        for client_id, depth in depths(good, parent_of).items():
            if depth > DEEPEST and client_id in good:
                wrong[client_id] = f"{expected(limit, depth)}: {chain_told(client_id, parent_of)}"

        def before(client_id: int) -> int | None:
            client = self._run.draft.client(client_id)
            return client.parent_id if client else None

        kept = [client.id for client in self._run.draft.clients() if client.id not in good]
        for client_id, depth in deepened(kept, parent_of, before).items():
            # Of the clients that are not in the table, only the first in a chain is reported.
            if client_id in good or depth != DEEPEST + 1:
                continue
            row: int | None = client_id
            while row is not None and (row not in good or good[row].parent_id == before(row)):
                row = parent_of(row)
            if row is not None:
                chain = chain_told(client_id, parent_of)
                wrong.setdefault(row, f"{expected(limit, depth)} with client {client_id} of the store: {chain}")
        return wrong
