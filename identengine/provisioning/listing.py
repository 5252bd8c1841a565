"""Look-ups of rows by id or name, and rows with the values that they inherit.

Rule: everything here works on one version of the book, a :class:`~identengine.store.snapshot.View`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from identengine.book.mistakes import Mistake, RowError
from identengine.book.numbers import range_mistake
from identengine.errors import DamagedError, IdentengineError, expected, quoted
from identengine.model.numbers import normal_number
from identengine.model.records import Account, Client, ClientStatus, Did
from identengine.provisioning.changes import as_object

if TYPE_CHECKING:  # at runtime the store imports heavy libraries, which would delay `--help`
    from identengine.store.format import AuditEntry
    from identengine.store.snapshot import View
    from identengine.store.versions import Store

NAMED = 10
"""Largest number of items that a sentence lists. It counts the others."""
SINGLE_READS = 500
"""Number of rows that a list reads one by one, before it reads the whole table."""
NEAR = 100_000
"""Largest number of names that are searched for similar ones. A longer search would delay the message too much."""

TableName = Literal["account", "client", "DID"]
"""A table of the book in the singular, as messages name its rows."""

_ID_DIGITS = 19
"""Digits that no id has, since ids fit into 63 bits."""

R = TypeVar("R", Client, Account)


class NotFoundError(IdentengineError):
    """A key or name matches no row of the book, or a name matches several rows.

    ``table`` is the table that was searched, and ``wanted`` the key or name. ``resolved`` is True if the message
    itself shows the rows to choose from, or that the table is empty.
    """

    def __init__(self, message: str, table: TableName, wanted: str, *, resolved: bool = False) -> None:
        self.table: TableName = table
        self.wanted = wanted
        self.resolved = resolved
        super().__init__(message)


class Inherited(NamedTuple):
    """A table or plan, and the client that sets it (None for the account itself)."""

    value: str
    client: Client | None


class Standing(NamedTuple):
    """All that the accounts of a client inherit from it and from its resellers."""

    blocked_by: Client | None
    rate_table: Inherited | None
    routing_plan: Inherited | None
    term_rate_table: Inherited | None


class Clients:
    """The clients of a snapshot and their resellers. Each client is read at most once.

    The first clients are read singly. If many are needed, one walk reads all, which takes less time.
    """

    def __init__(self, snapshot: View) -> None:
        self._snapshot = snapshot
        self._known: dict[int, Client | None] = {}
        self._standings: dict[int, Standing] = {}

    def get(self, client_id: int) -> Client | None:
        """Return a client, or None if it does not exist."""
        known = self._known
        if client_id not in known:
            if len(known) == SINGLE_READS:
                with suppress(DamagedError):  # single reads find out whether a client that is needed is sound
                    known.update((client.id, client) for client in self._snapshot.clients())
            if client_id not in known:
                known[client_id] = self._snapshot.client(client_id)
        return known[client_id]

    def name(self, client_id: int) -> str:
        """Return the name of a client, or an empty text if it does not exist."""
        client = self.get(client_id)
        return client.name if client else ""

    def chain(self, client_id: int) -> list[Client]:
        """Return the client and its resellers, nearest first. Stop at a loop."""
        found: dict[int, Client] = {}
        at: int | None = client_id
        while at is not None and at not in found and (client := self.get(at)) is not None:
            found[at] = client
            at = client.parent_id
        return list(found.values())

    def standing(self, client_id: int) -> Standing:
        """Return all that the accounts of the client inherit."""
        found = self._standings.get(client_id)
        if found is None:
            chain = self.chain(client_id)
            found = self._standings[client_id] = Standing(
                next((client for client in chain if client.status is ClientStatus.BLOCKED), None),
                _nearest(chain, lambda client: client.rate_table),
                _nearest(chain, lambda client: client.routing_plan),
                _nearest(chain, lambda client: client.term_rate_table),
            )
        return found

    def blocked_by(self, client_id: int) -> Client | None:
        """Return the nearest blocked client of the chain: the client itself or a reseller (engine.md 3.5)."""
        return self.standing(client_id).blocked_by

    def rate_table(self, account: Account) -> Inherited | None:
        """Return the rate table of origination: from the account, its client or a reseller (engine.md 1.6)."""
        own = account.orig_rate_table
        return Inherited(own, None) if own else self.standing(account.client_id).rate_table

    def routing_plan(self, account: Account) -> Inherited | None:
        """Return the routing plan of origination, found in the same way."""
        own = account.orig_routing_plan
        return Inherited(own, None) if own else self.standing(account.client_id).routing_plan

    def term_rate_table(self, account: Account) -> Inherited | None:
        """Return the rate table of termination, found in the same way."""
        own = account.term_rate_table
        return Inherited(own, None) if own else self.standing(account.client_id).term_rate_table

    def tables(self, client_id: int) -> dict[str, Inherited | None]:
        """Return the tables and the plan of a client by column: its own, or those of a reseller."""
        found = self.standing(client_id)
        return {
            "rate_table": found.rate_table,
            "routing_plan": found.routing_plan,
            "term_rate_table": found.term_rate_table,
        }


def _nearest(chain: Iterable[Client], field: Callable[[Client], str | None]) -> Inherited | None:
    """Return the value of the nearest client of a chain that has one."""
    return next((Inherited(value, client) for client in chain if (value := field(client))), None)


def find_account(book: View, wanted: str) -> Account:
    """Return the account with this id or name. Raise NotFoundError, which suggests similar accounts."""
    return _find("account", wanted, book.account, book.accounts)


def find_client(book: View, wanted: str) -> Client:
    """Return the client with this id or name. Raise NotFoundError, which suggests similar clients."""
    return _find("client", wanted, book.client, book.clients)


def find_did(book: View, number: str) -> Did:
    """Return the DID with this number in any spelling. Raise NotFoundError, or RowError if it is not a number."""
    normal = did_number(number)
    found = book.did(normal)
    if found is None:
        raise NotFoundError(f"no DID {normal} in the book", "DID", normal)
    return found


def did_number(text: str) -> str:
    """Return the number of a DID in normal form (engine.md 2.1). Raise RowError if ``text`` is not a number."""
    if mistake := range_mistake(text):
        raise RowError([Mistake("number", text, mistake)])
    try:
        normal = normal_number(text)
    except ValueError as error:
        raise RowError([Mistake("number", text, str(error))]) from None
    if not normal:
        raise RowError([Mistake("number", text, expected("a number", text))])
    return normal


def id_in(text: str) -> int | None:
    """Return the id that a text holds, or None if the text is a name."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < _ID_DIGITS else None


def _find(what: TableName, wanted: str, by_id: Callable[[int], R | None], every: Callable[[], Iterator[R]]) -> R:
    text, number = wanted.strip(), id_in(wanted)
    if number is not None and (found := by_id(number)) is not None:
        return found
    folded = text.casefold()
    same = list(islice((row for row in every() if row.name.casefold() == folded), NAMED + 1))
    exact = [row for row in same if row.name == text] or same
    if len(exact) == 1:
        return exact[0]
    if exact:
        count = f"more than {NAMED}" if len(exact) > NAMED else str(len(exact))
        ids = listed(str(row.id) for row in exact[:NAMED])
        message = f"{count} {what}s have the name {quoted(text)}: {ids}. Use the id instead of the name."
        raise NotFoundError(message, what, text, resolved=True)
    message = f"no {what} {text if number is not None else quoted(text)} in the book"
    if near := _near(text, number, every):
        raise NotFoundError(f"{message}; did you mean {_alternatives(near)}?", what, text, resolved=True)
    if next(every(), None) is None:
        raise NotFoundError(f"{message}, which has no {what}s", what, text, resolved=True)
    raise NotFoundError(message, what, text)


def _alternatives(rows: Sequence[tuple[int, str]]) -> str:
    """Return ids and names as a question lists them: ``1 Acme, 2 Bolt or 3 Core``."""
    *first, last = [f"{row_id} {name}" for row_id, name in rows]
    return f"{', '.join(first)} or {last}" if first else last


def _near(text: str, number: int | None, every: Callable[[], Iterator[R]]) -> list[tuple[int, str]]:
    """Return id and name of at most three rows with near ids, or with similar names."""
    if number is not None:
        rows = ((row.id, row.name) for row in every())
        return sorted(heapq.nsmallest(3, rows, key=lambda row: abs(row[0] - number)))
    names = {row.name.casefold(): (row.id, row.name) for row in islice(every(), NEAR)}
    folded = text.casefold()
    near = [names[name] for name in get_close_matches(folded, names, n=3)]
    return near or [row for name, row in names.items() if folded in name][:3]


def listed(items: Iterable[str]) -> str:
    """Return the first items as a sentence lists them, and the number of the others."""
    source = iter(items)
    first = list(islice(source, NAMED))
    more = sum(1 for _ in source)
    return ", ".join(first) + (f" and {more} more" if more else "")


def account_object(account: Account, clients: Clients) -> dict[str, object]:
    """Return the account for JSON: its columns, the client's name, ``blocked``, and the inherited values."""
    client = clients.get(account.client_id)
    return as_object(account) | {
        "client_name": client.name if client else None,
        "blocked": clients.blocked_by(account.client_id) is not None,
        "inherited": {
            "rate_table": _source(clients.rate_table(account)),
            "routing_plan": _source(clients.routing_plan(account)),
            "term_rate_table": _source(clients.term_rate_table(account)),
        },
    }


def client_object(client: Client, clients: Clients) -> dict[str, object]:
    """Return the client for JSON: its columns, ``blocked`` (itself or a reseller), and the inherited values."""
    return as_object(client) | {
        "blocked": clients.blocked_by(client.id) is not None,
        "inherited": {name: _source(found) for name, found in clients.tables(client.id).items()},
    }


def owned_dids(book: View, account_id: int) -> tuple[list[Did], int]:
    """Return the first :data:`NAMED` DIDs of an account in order of numbers, and the number of all its DIDs."""
    numbers = book.account_dids(account_id)
    first = list(islice(numbers, NAMED))
    return first, len(first) + sum(1 for _ in numbers)


def accounts_of(book: View, client_id: int) -> list[tuple[int, str]]:
    """Return id and name of the client's own accounts, in order of ids."""
    return [(account.id, account.name) for account in book.accounts() if account.client_id == client_id]


def clients_below(book: View, client_id: int) -> list[Client]:
    """Return the clients directly below this client, in order of ids."""
    return [client for client in book.clients() if client.parent_id == client_id]


def last_change_of_account(store: Store, account_id: int) -> AuditEntry | None:
    """Return the newest entry of the audit log that changed the account or one of its DIDs, or None."""
    return _last(entry for entry in store.audit(account=account_id) if _table(entry) in ("account", "did"))


def last_change_of_client(store: Store, client_id: int) -> AuditEntry | None:
    """Return the newest entry of the audit log that changed the client's own row, or None."""
    return _last(entry for entry in store.audit(client=client_id) if _table(entry) == "client")


def _last(entries: Iterator[AuditEntry]) -> AuditEntry | None:
    return next(iter(deque(entries, maxlen=1)), None)


def _table(entry: AuditEntry) -> str | None:
    return entry.change.table if entry.change else None


def _source(found: Inherited | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {"value": found.value, "client_id": found.client.id if found.client else None}
