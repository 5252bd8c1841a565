"""The table of clients: read whole before anything is written, since a reseller may follow its clients.

A client whose reseller is missing, below the client itself, or too far up is left out (engine.md 1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from identengine.book.columns import CLIENTS, id_in
from identengine.book.files import Source
from identengine.book.importrun import ImportRun, join_mistakes, not_there, readable, repeated
from identengine.book.mistakes import Mistake, RowError
from identengine.book.records import client_from
from identengine.model.records import Client
from identengine.model.resellers import DEEPEST, SHOWN, chain_told, deepened, depths, loops


class ClientsImport:
    """Writes the table of clients to the draft of a run."""

    def __init__(self, run: ImportRun) -> None:
        self._run = run

    def load(self, source: Source) -> None:
        """Write the rows of ``source``; clients that it lacks stay. Raise LoadError."""
        run = self._run
        tally = run.tallies[CLIENTS.name]
        lines: dict[int, int] = {}
        good: dict[int, Client] = {}
        for row in run.read(source, CLIENTS):
            client_id = id_in(row.cells.get("id"))
            mistakes = list(row.mistakes)
            client = None
            if readable(row):
                try:
                    client = client_from(row.cells)
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
            else:
                run.bad_row(source, CLIENTS, row.line, client_id, mistakes)
        self._take_out_strays(source, good, lines)
        for old in run.draft.clients():
            if old.id not in lines:
                tally.kept.add(old.id)
        for client in good.values():
            before = run.draft.client(client.id)
            if run.differs(source, CLIENTS, before, client):
                run.draft.put_client(client)
        run.tell_reset(source, CLIENTS)

    def _take_out_strays(self, source: Source, good: dict[int, Client], lines: Mapping[int, int]) -> None:
        """Take the clients out of ``good`` whose reseller is missing, below them or too deep; then again."""
        run, draft = self._run, self._run.draft
        children: dict[int, list[int]] = {}
        for client in good.values():
            if client.parent_id is not None:
                children.setdefault(client.parent_id, []).append(client.id)

        def parent_of(client_id: int) -> int | None:
            client = good.get(client_id) or draft.client(client_id)
            return client.parent_id if client else None

        def take_out(client_id: int, parent_id: int, expected: str) -> None:
            del good[client_id]
            run.bad_clients[client_id] = lines[client_id]
            mistake = Mistake("parent_id", str(parent_id), expected)
            run.bad_row(source, CLIENTS, lines[client_id], client_id, [mistake])

        def gone(client_id: int) -> bool:
            if client_id in good or draft.client(client_id) is not None:
                return False
            return run.skip_bad or client_id not in run.bad_clients  # else its own mistake says enough

        look_at = [parent_id for parent_id in children if gone(parent_id)]
        while True:
            while look_at:
                parent_id = look_at.pop()
                for client_id in children.get(parent_id, ()):
                    if client_id in good:
                        take_out(client_id, parent_id, not_there("client", parent_id, run.bad_clients))
                        if gone(client_id):
                            look_at.append(client_id)
            # What stands on a loop or too deep is taken out; then older rows count again, which may be so with new
            # ones.
            wrong = self._misplaced(good, parent_of)
            parents = {client_id: good[client_id].parent_id or 0 for client_id in wrong}
            for client_id, expected in wrong.items():
                take_out(client_id, parents[client_id], expected)
            if not wrong or not run.skip_bad:
                return
            look_at = [client_id for client_id in wrong if gone(client_id)]

    def _misplaced(self, good: Mapping[int, Client], parent_of: Callable[[int], int | None]) -> dict[int, str]:
        """Return what would be right of the clients of ``good`` that stand on a loop or make a chain too long."""
        wrong: dict[int, str] = {}
        for client_id, loop in loops(list(good), parent_of).items():
            if client_id in good:
                chain = " below ".join(map(str, (*loop, client_id if len(loop) < SHOWN else "…")))
                wrong[client_id] = f"no client may stand below itself; here {chain}"
        at_most = f"a client and the resellers above it may be {DEEPEST} at most"
        for client_id, depth in depths(good, parent_of).items():
            if depth > DEEPEST and client_id in good:
                wrong[client_id] = f"{at_most}; here they are {depth}: {chain_told(client_id, parent_of)}"

        def before(client_id: int) -> int | None:
            client = self._run.draft.client(client_id)
            return client.parent_id if client else None

        kept = [client.id for client in self._run.draft.clients() if client.id not in good]
        for client_id, depth in deepened(kept, parent_of, before).items():
            # Of those that stay as they are, the first one too deep: what is below it is told by that.
            if client_id in good or depth != DEEPEST + 1:
                continue
            row: int | None = client_id
            while row is not None and (row not in good or good[row].parent_id == before(row)):
                row = parent_of(row)
            if row is not None:
                chain = chain_told(client_id, parent_of)
                stays = (
                    f"{at_most}; of client {client_id}, which stays below this one, they would be {depth}: {chain}"
                )
                wrong.setdefault(row, stays)
        return wrong
