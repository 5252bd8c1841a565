"""Look-ups and lists of rows: by id or name, by filters, by words, with the values that they inherit.

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
from identengine.errors import IdentengineError, expected, quoted
from identengine.model.addresses import Network, parse_network
from identengine.model.numbers import normal_number
from identengine.model.records import Account, Client, ClientStatus, Did, IdentBy
from identengine.provisioning.changes import as_object, shown

if TYPE_CHECKING:  # at runtime the store imports heavy libraries, which would delay `--help`
    from identengine.store.format import AuditEntry
    from identengine.store.snapshot import View
    from identengine.store.versions import Store

NAMED = 10
"""Largest number of items that a sentence lists. It counts the others."""
NEAR = 100_000
"""Largest number of names that are searched for similar ones. A longer search would delay the message too much."""

TableName = Literal["account", "client", "DID"]
"""A table of the book in the singular, as messages name its rows."""
Status = Literal["enabled", "disabled", "orig", "term", "blocked"]
"""The states of an account that a list can filter by. They depend on its parts and on its client."""

_ID_DIGITS = 19
"""Digits that no id has, since ids fit into 63 bits."""

R = TypeVar("R", Client, Account)
Keep = Callable[[Account], bool]


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


class Clients:
    """The clients of a snapshot and their resellers. Each client is read at most once."""

    def __init__(self, snapshot: View) -> None:
        self._snapshot = snapshot
        self._known: dict[int, Client | None] = {}

    def get(self, client_id: int) -> Client | None:
        """Return a client, or None if it does not exist."""
        if client_id not in self._known:
            self._known[client_id] = self._snapshot.client(client_id)
        return self._known[client_id]

    def chain(self, client_id: int) -> list[Client]:
        """Return the client and its resellers, nearest first. Stop at a loop."""
        found: dict[int, Client] = {}
        at: int | None = client_id
        while at is not None and at not in found and (client := self.get(at)) is not None:
            found[at] = client
            at = client.parent_id
        return list(found.values())

    def blocked_by(self, client_id: int) -> Client | None:
        """Return the nearest blocked client of the chain: the client itself or a reseller (engine.md 3.5)."""
        return next((client for client in self.chain(client_id) if client.status is ClientStatus.BLOCKED), None)

    def rate_table(self, account: Account) -> Inherited | None:
        """Return the rate table of origination: from the account, its client or a reseller (engine.md 1.6)."""
        return self._inherited(account.orig_rate_table, account.client_id, lambda client: client.rate_table)

    def routing_plan(self, account: Account) -> Inherited | None:
        """Return the routing plan of origination, found in the same way."""
        return self._inherited(account.orig_routing_plan, account.client_id, lambda client: client.routing_plan)

    def term_rate_table(self, account: Account) -> Inherited | None:
        """Return the rate table of termination, found in the same way."""
        return self._inherited(account.term_rate_table, account.client_id, lambda client: client.term_rate_table)

    def tables(self, client_id: int) -> dict[str, Inherited | None]:
        """Return the tables and the plan of a client by column: its own, or those of a reseller."""
        return {
            "rate_table": self._inherited(None, client_id, lambda client: client.rate_table),
            "routing_plan": self._inherited(None, client_id, lambda client: client.routing_plan),
            "term_rate_table": self._inherited(None, client_id, lambda client: client.term_rate_table),
        }

    def _inherited(
        self, own: str | None, client_id: int, field: Callable[[Client], str | None]
    ) -> Inherited | None:
        if own:
            return Inherited(own, None)
        for client in self.chain(client_id):
            if value := field(client):
                return Inherited(value, client)
        return None


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


def has_status(status: Status, clients: Clients) -> Keep:
    """Return a filter of accounts by status: enabled or disabled, on in one part, or blocked."""
    tests: dict[Status, Keep] = {
        "enabled": lambda account: not account.disabled,
        "disabled": lambda account: account.disabled,
        "orig": lambda account: account.orig_enabled,
        "term": lambda account: account.term_enabled,
        "blocked": lambda account: clients.blocked_by(account.client_id) is not None,
    }
    return tests[status]


def covers(wanted: Network) -> Keep:
    """Return a filter of accounts that have a network which contains all of ``wanted``."""

    def keep(account: Account) -> bool:
        if account.ident_by is not IdentBy.IP:
            return False
        networks = (parse_network(item)[0] for item in account.ident)
        return any(network.length <= wanted.length and network.covers(wanted.address) for network in networks)

    return keep


def fits_number(number: str, did_owner: int | None) -> Keep:
    """Return a filter of accounts that a number matches: as ANI, as their DID, or by their tech prefix."""
    return lambda account: (
        account.id == did_owner
        or (account.ident_by is IdentBy.ANI and number in account.ident)
        or (account.tech_prefix is not None and number.startswith(account.tech_prefix))
    )


def has_tag(tag: str) -> Keep:
    """Return a filter of accounts that have the tag in either part."""
    folded = tag.casefold()
    return lambda account: folded in ((account.orig_tag or "").casefold(), (account.term_tag or "").casefold())


def has_words(words: Iterable[str], clients: Clients) -> Keep:
    """Return a filter of accounts that contain every word in a column or in the client's name.

    The password is never searched.
    """
    in_text = _in_text(words)

    def keep(account: Account) -> bool:
        client = clients.get(account.client_id)
        return in_text((*_searchable(account), client.name if client else ""))

    return keep


def client_has_words(words: Iterable[str]) -> Callable[[Client], bool]:
    """Return a filter of clients that contain every word in a column."""
    in_text = _in_text(words)
    return lambda client: in_text(_searchable(client))


def _in_text(words: Iterable[str]) -> Callable[[Iterable[str]], bool]:
    """Return a function that returns True if the columns of a row contain every word."""
    wanted = [_spellings(word) for word in words]

    def test(columns: Iterable[str]) -> bool:
        text = "\n".join(columns).casefold()
        return all(any(spelling in text for spelling in spellings) for spellings in wanted)

    return test


def _searchable(row: Account | Client) -> Iterator[str]:
    """Yield the text of each column except the password."""
    for name in row.__struct_fields__:
        if name != "password" and (value := shown(getattr(row, name))):
            yield value


def _spellings(word: str) -> set[str]:
    """Return the word as typed and, if it may be a number, in normal form (engine.md 2.1)."""
    found = {word.casefold()}
    if any(char.isdigit() for char in word):
        with suppress(ValueError):
            found.add(normal_number(word).casefold())
    return found - {""}


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
