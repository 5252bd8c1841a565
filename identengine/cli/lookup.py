"""Finding a client or an account by what a person types: an id or a name; and what is inherited."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from identengine.errors import IdentengineError
from identengine.model.records import Account, Client, ClientStatus

if TYPE_CHECKING:
    from identengine.store.draft import Draft
    from identengine.store.snapshot import Snapshot

NAMED = 10
"""How many things a sentence lists before it says how many more there are."""
NEAR = 100_000
"""How many names are looked through for near ones; beyond that a hint is not worth the wait."""

R = TypeVar("R", Client, Account)


class NotFoundError(IdentengineError):
    """What a command names is not in the book."""


class Inherited(NamedTuple):
    """A table or plan and the client that it is set at; ``client`` is None where it is the account's own."""

    value: str
    client: Client | None


class Clients:
    """The clients of a snapshot, read once each; knows who is above whom."""

    def __init__(self, snapshot: Snapshot | Draft) -> None:
        self._snapshot = snapshot
        self._known: dict[int, Client | None] = {}

    def get(self, client_id: int) -> Client | None:
        """Return a client, None where there is none."""
        if client_id not in self._known:
            self._known[client_id] = self._snapshot.client(client_id)
        return self._known[client_id]

    def chain(self, client_id: int) -> list[Client]:
        """Return the client and its resellers, nearest first; a loop ends it."""
        found: dict[int, Client] = {}
        at: int | None = client_id
        while at is not None and at not in found and (client := self.get(at)) is not None:
            found[at] = client
            at = client.parent_id
        return list(found.values())

    def blocked_by(self, client_id: int) -> Client | None:
        """Return the nearest blocked client of the chain, itself or a reseller (engine.md 3.5)."""
        return next((client for client in self.chain(client_id) if client.status is ClientStatus.BLOCKED), None)

    def rate_table(self, account: Account) -> Inherited | None:
        """Return the rate table of origination: the account's, its client's, its resellers' (engine.md 1.6)."""
        return self._inherited(account.orig_rate_table, account.client_id, lambda client: client.rate_table)

    def routing_plan(self, account: Account) -> Inherited | None:
        """Return the routing plan of origination, the same way."""
        return self._inherited(account.orig_routing_plan, account.client_id, lambda client: client.routing_plan)

    def term_rate_table(self, account: Account) -> Inherited | None:
        """Return the rate table of termination, the same way."""
        return self._inherited(account.term_rate_table, account.client_id, lambda client: client.term_rate_table)

    def of_client(self, client_id: int, field: Callable[[Client], str | None]) -> Inherited | None:
        """Return what a client without an own value inherits."""
        return self._inherited(None, client_id, field)

    def _inherited(
        self, own: str | None, client_id: int, field: Callable[[Client], str | None]
    ) -> Inherited | None:
        if own:
            return Inherited(own, None)
        for client in self.chain(client_id):
            if value := field(client):
                return Inherited(value, client)
        return None


def find_account(book: Snapshot | Draft, wanted: str) -> Account:
    """Return the account with this id or name. Raises NotFoundError with near ones."""
    return _find("account", wanted, book.account, book.accounts)


def find_client(book: Snapshot | Draft, wanted: str) -> Client:
    """Return the client with this id or name. Raises NotFoundError with near ones."""
    return _find("client", wanted, book.client, book.clients)


def _find(what: str, wanted: str, by_id: Callable[[int], R | None], every: Callable[[], Iterator[R]]) -> R:
    text = wanted.strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    if number is not None and (found := by_id(number)) is not None:
        return found
    folded = text.casefold()
    same = list(islice((row for row in every() if row.name.casefold() == folded), NAMED + 1))
    exact = [row for row in same if row.name == text] or same
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise NotFoundError(
            f"{len(exact)} {what}s are called {text!r}: {listed(str(row.id) for row in exact)}; say which id"
        )
    raise NotFoundError(
        f"there is no {what} {text if number is not None else repr(text)}{_near(what, text, number, every)}"
    )


def _near(what: str, text: str, number: int | None, every: Callable[[], Iterator[R]]) -> str:
    """Say which ones are meant perhaps: those with near ids, or with names that look or begin alike."""
    if number is not None:
        rows = ((row.id, row.name) for row in every())
        near = sorted(heapq.nsmallest(3, rows, key=lambda row: abs(row[0] - number)))
    else:
        names = {row.name.casefold(): (row.id, row.name) for row in islice(every(), NEAR)}
        folded = text.casefold()
        near = [names[name] for name in get_close_matches(folded, names, n=3)]
        near = near or [row for name, row in names.items() if folded in name][:3]
    if not near and next(every(), None) is None:
        return f"; the book has no {what}s"
    if not near:
        return f"; `identengine {what}s list` shows them"
    return f"; near: {listed(f'{row_id} {name}' for row_id, name in near)}"


def listed(items: Iterable[str]) -> str:
    """Return the first items as a sentence has them, and how many more there are."""
    source = iter(items)
    first = list(islice(source, NAMED))
    more = sum(1 for _ in source)
    return ", ".join(first) + (f" and {more} more" if more else "")
