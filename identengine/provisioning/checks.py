"""Checks of the references between rows: to a client, to an account, and along a chain of resellers.

Rule: an edit of many rows looks each reference up once, and finds what the check of a single row finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from identengine.book.mistakes import Mistake, RowError
from identengine.errors import expected
from identengine.model.records import BookRow, Client
from identengine.model.resellers import DEEPEST, SHOWN, chain_told, deepened, loops
from identengine.store.draft import Draft

R = TypeVar("R", bound=BookRow)


class Checks(Generic[R]):
    """The checks of the rows that one edit changes: each reference is looked up once."""

    def __init__(self, column: str, what: str, is_there: Callable[[int], bool]) -> None:
        self._column = column
        self._what = what
        self._is_there = is_there
        self._known: dict[int, bool] = {}

    def check(self, before: R, after: R) -> None:
        """Raise RowError if ``after`` refers to another row than ``before``, and that row does not exist."""
        wanted = getattr(after, self._column)
        if wanted is None or wanted == getattr(before, self._column):
            return
        if wanted not in self._known:
            self._known[wanted] = self._is_there(wanted)
        if not self._known[wanted]:
            raise missing(self._column, wanted, self._what)

    def finish(self) -> Iterator[tuple[int, RowError]]:
        """Yield the key and the mistake of each row that is wrong together with others, after all are written."""
        return iter(())


class ClientChecks(Checks[Client]):
    """The checks of clients, whose chains of resellers are complete only after the last row."""

    def __init__(self, draft: Draft) -> None:
        super().__init__("parent_id", "client", lambda client_id: draft.client(client_id) is not None)
        self._draft = draft
        self._before: dict[int, int | None] = {}
        """Id of each client with another reseller than before, and the reseller before."""

    def check(self, before: Client, after: Client) -> None:
        """Raise RowError if the reseller does not exist."""
        super().check(before, after)
        if before.parent_id != after.parent_id:
            self._before.setdefault(after.id, before.parent_id)

    def finish(self) -> Iterator[tuple[int, RowError]]:
        """Yield the clients that are on a reseller loop, and the first that makes a chain too long."""
        if not self._before:
            return
        after = {one.id: one.parent_id for one in self._draft.clients()}
        yield from wrong_chains(list(self._before), after, after | self._before)


def check_resellers(draft: Draft, rows: Sequence[Client], before: Mapping[int, int | None]) -> None:
    """Raise RowError if the reseller of a written client does not exist, is below it, or is too deep.

    The draft holds ``rows`` already. ``before`` is the reseller of each client before they were written.
    """
    after = {one.id: one.parent_id for one in draft.clients()}
    for row in rows:
        if row.parent_id is not None and row.parent_id not in after:
            raise missing("parent_id", row.parent_id, "client")
    for _client, error in wrong_chains([row.id for row in rows], after, before):
        raise error


def wrong_chains(
    client_ids: Sequence[int], after: Mapping[int, int | None], before: Mapping[int, int | None]
) -> Iterator[tuple[int, RowError]]:
    """Yield each of the clients on a reseller loop, and the first whose new reseller makes a chain too long."""
    found = loops(client_ids, after.get)
    for client_id in client_ids:
        parent = after.get(client_id)
        if parent is not None and (loop := found.get(client_id)):
            yield client_id, mistake_in("parent_id", parent, loop_told(loop))
    if not (too_deep := deepened(after, after.get, before.get)):
        return
    deep, depth = next(iter(too_deep.items()))
    changed = set(client_ids)
    row: int | None = deep
    while row is not None and row not in changed:  # the chain of a client grows with that of a reseller
        row = after.get(row)
    if row is not None:
        yield row, mistake_in("parent_id", after[row] or row, depth_told(row, deep, depth, after.get))


def loop_told(loop: Sequence[int]) -> str:
    """Return the message for a client on a reseller loop."""
    path = " → ".join(map(str, (*loop, loop[0] if len(loop) < SHOWN else "…")))
    return f"reseller loop: {path}"


def depth_told(client: int, deep: int, depth: int, parent_of: Callable[[int], int | None]) -> str:
    """Return the message for a client that makes the chain of the client ``deep`` too long."""
    where = "" if deep == client else f" with client {deep}"
    message = f"{expected(f'a chain of at most {DEEPEST} clients', depth)}{where}"
    return f"{message}: {chain_told(deep, parent_of)}"


def missing(column: str, value: int, what: str) -> RowError:
    """Return the error of a row that refers to a row which does not exist."""
    return mistake_in(column, value, f"no {what} {value} in the book. Add it first.")


def mistake_in(column: str, value: int, message: str) -> RowError:
    """Return the error of a row with one mistake."""
    return RowError([Mistake(column, str(value), message)])
