"""The rows of the book as they are found and listed: by id or name, by filters, by words; and what they inherit.

Everything here works on one version of the book, a :class:`~identengine.store.snapshot.View` of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from identengine.book.mistakes import Mistake, RowError
from identengine.errors import IdentengineError
from identengine.model.addresses import Network, parse_network
from identengine.model.numbers import normal_number
from identengine.model.records import Account, Client, ClientStatus, Did, IdentBy
from identengine.provisioning.changes import as_object, shown

if TYPE_CHECKING:  # at runtime the store brings heavy libraries, which `--help` must not wait for
    from identengine.store.format import AuditEntry
    from identengine.store.snapshot import View
    from identengine.store.versions import Store

NAMED = 10
"""How many things a sentence lists before it says how many more there are."""
NEAR = 100_000
"""How many names are looked through for near ones; beyond that a hint is not worth the wait."""

Status = Literal["enabled", "disabled", "orig", "term", "blocked"]
"""What an account may be by its parts and its client: a filter of the list."""

R = TypeVar("R", Client, Account)
Keep = Callable[[Account], bool]


class NotFoundError(IdentengineError):
    """What a command names is not in the book."""


class Inherited(NamedTuple):
    """A table or plan and the client that it is set at; ``client`` is None where it is the account's own."""

    value: str
    client: Client | None


class Clients:
    """The clients of a snapshot, read once each; knows who is above whom."""

    def __init__(self, snapshot: View) -> None:
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

    def tables(self, client_id: int) -> dict[str, Inherited | None]:
        """Return the tables and the plan that hold for a client, by column: its own, or a reseller's."""
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
    """Return the account with this id or name. Raises NotFoundError with near ones."""
    return _find("account", wanted, book.account, book.accounts)


def find_client(book: View, wanted: str) -> Client:
    """Return the client with this id or name. Raises NotFoundError with near ones."""
    return _find("client", wanted, book.client, book.clients)


def find_did(book: View, number: str) -> Did:
    """Return the DID with this number, however it is written. Raise RowError for no number, or NotFoundError."""
    normal = did_number(number)
    found = book.did(normal)
    if found is None:
        # The numbers that share the most of its beginning are those that a slip of the finger would miss.
        raise NotFoundError(
            f"there is no DID {normal}; `identengine dids search {normal[:-2] or normal}` shows near ones"
        )
    return found


def did_number(text: str) -> str:
    """Return the number of a DID in normal form (engine.md 2.1). Raise RowError if ``text`` is no number."""
    try:
        normal = normal_number(text)
    except ValueError as error:
        raise RowError([Mistake("number", text, str(error))]) from None
    if not normal:
        raise RowError([Mistake("number", text, "a number is wanted; nothing is left of this one")])
    return normal


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


def has_status(status: Status, clients: Clients) -> Keep:
    """Keep accounts that are enabled (a part is on), disabled (both off), on in one part, or blocked."""
    tests: dict[Status, Keep] = {
        "enabled": lambda account: not account.disabled,
        "disabled": lambda account: account.disabled,
        "orig": lambda account: account.orig_enabled,
        "term": lambda account: account.term_enabled,
        "blocked": lambda account: clients.blocked_by(account.client_id) is not None,
    }
    return tests[status]


def covers(wanted: Network) -> Keep:
    """Keep accounts of which a network holds the whole of ``wanted``."""

    def keep(account: Account) -> bool:
        if account.ident_by is not IdentBy.IP:
            return False
        networks = (parse_network(item)[0] for item in account.ident)
        return any(network.length <= wanted.length and network.covers(wanted.address) for network in networks)

    return keep


def fits_number(number: str, did_owner: int | None) -> Keep:
    """Keep accounts that the number fits: as ANI, as a DID of theirs, or as one that their tech prefix begins."""
    return lambda account: (
        account.id == did_owner
        or (account.ident_by is IdentBy.ANI and number in account.ident)
        or (account.tech_prefix is not None and number.startswith(account.tech_prefix))
    )


def has_tag(tag: str) -> Keep:
    """Keep accounts that bear the tag in either part."""
    folded = tag.casefold()
    return lambda account: folded in ((account.orig_tag or "").casefold(), (account.term_tag or "").casefold())


def has_words(words: Iterable[str], clients: Clients) -> Keep:
    """Keep accounts in which every word stands somewhere: any column but the password, or the client's name."""
    in_text = _in_text(words)

    def keep(account: Account) -> bool:
        client = clients.get(account.client_id)
        return in_text((*_searchable(account), client.name if client else ""))

    return keep


def client_has_words(words: Iterable[str]) -> Callable[[Client], bool]:
    """Keep clients in which every word stands somewhere."""
    in_text = _in_text(words)
    return lambda client: in_text(_searchable(client))


def _in_text(words: Iterable[str]) -> Callable[[Iterable[str]], bool]:
    """Return a test whether every word stands in the text of a row's columns."""
    wanted = [_spellings(word) for word in words]

    def test(columns: Iterable[str]) -> bool:
        text = "\n".join(columns).casefold()
        return all(any(spelling in text for spelling in spellings) for spellings in wanted)

    return test


def _searchable(row: Account | Client) -> Iterator[str]:
    """Yield the text of each column; never the password."""
    for name in row.__struct_fields__:
        if name != "password" and (value := shown(getattr(row, name))):
            yield value


def _spellings(word: str) -> set[str]:
    """Return the word as typed and, where it may be a number, as the book keeps it (engine.md 2.1)."""
    found = {word.casefold()}
    if any(char.isdigit() for char in word):
        with suppress(ValueError):
            found.add(normal_number(word).casefold())
    return found - {""}


def account_object(account: Account, clients: Clients) -> dict[str, object]:
    """Return the account for JSON: its columns, its client's name, whether it is blocked, what it inherits."""
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
    """Return the client for JSON: its columns, whether it or a reseller is blocked, what it inherits."""
    return as_object(client) | {
        "blocked": clients.blocked_by(client.id) is not None,
        "inherited": {name: _source(found) for name, found in clients.tables(client.id).items()},
    }


def owned_dids(book: View, account_id: int) -> tuple[list[Did], int]:
    """Return the first :data:`NAMED` DIDs of an account, by number, and how many it has in all."""
    numbers = book.account_dids(account_id)
    first = list(islice(numbers, NAMED))
    return first, len(first) + sum(1 for _ in numbers)


def accounts_of(book: View, client_id: int) -> list[tuple[int, str]]:
    """Return id and name of the client's own accounts, by id."""
    return [(account.id, account.name) for account in book.accounts() if account.client_id == client_id]


def clients_below(book: View, client_id: int) -> list[Client]:
    """Return the clients whose direct reseller is this one, by id."""
    return [client for client in book.clients() if client.parent_id == client_id]


def last_change_of_account(store: Store, account_id: int) -> AuditEntry | None:
    """Return the newest entry of the audit log that changed the account or a DID of it; None if there is none."""
    return _last(entry for entry in store.audit(account=account_id) if _table(entry) in ("account", "did"))


def last_change_of_client(store: Store, client_id: int) -> AuditEntry | None:
    """Return the newest entry of the audit log that changed the client's own row; None if there is none."""
    return _last(entry for entry in store.audit(client=client_id) if _table(entry) == "client")


def _last(entries: Iterator[AuditEntry]) -> AuditEntry | None:
    return next(iter(deque(entries, maxlen=1)), None)


def _table(entry: AuditEntry) -> str | None:
    return entry.change.table if entry.change else None


def _source(found: Inherited | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {"value": found.value, "client_id": found.client.id if found.client else None}
