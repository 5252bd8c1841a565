"""Requests that show a trouble. The matching code decides each before it becomes an example (engine.md 8.7)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from identengine.identify.builder import build
from identengine.identify.index import Book
from identengine.identify.matching import Match, identify
from identengine.identify.query import Query, read
from identengine.lint.findings import Probe
from identengine.lint.pages import Pages
from identengine.lint.places import Places
from identengine.lint.scope import Scope
from identengine.lint.values import network_of, text_key
from identengine.model.addresses import format_address, parse_address
from identengine.model.numbers import national
from identengine.model.reasons import Reason
from identengine.model.records import Account, Client, IdentBy, Request

_DIALLED = ("442079460123", "12025550123", "81312345678", "5255123456", "*5551234", "#5551234", "x5551234")
"""Numbers that an example dials after the tech prefix. Several begin unlike any tech prefix."""
_HASH_KEY = bytes(32)
_MOST = 5000
"""Largest number of accounts at an address that an example is decided among."""


class Examples:
    """Finds examples in a book whose values are known."""

    def __init__(self, book: Pages, places: Places, scope: Scope) -> None:
        self._book = book
        self._places = places
        self._scope = scope
        self._last: tuple[tuple[int, ...], Book] | None = None

    def example(self, probe: Probe) -> dict[str, str] | None:
        """Return the parameters of a request that shows the trouble, or None."""
        for request in self._requests(probe):
            found, tied = self._decide(request)
            if probe.shows(found, tied):
                fields = msgspec.structs.asdict(request).items()
                return {name: str(value) for name, value in fields if value is not None}
        return None

    def _requests(self, probe: Probe) -> Iterator[Request]:
        """Yield the requests of a probe with different addresses and dialled numbers."""
        addresses: list[str | None] = [None]
        if probe.network is not None:
            network = network_of(probe.network)
            free = self._places.free_address(network)
            addresses = [format_address(each) for each in dict.fromkeys((free, network.address))]
        numbers = [probe.tech_prefix + number for number in _DIALLED] if probe.dialled is None else [probe.dialled]
        for address in addresses:
            for number in numbers:
                yield msgspec.structs.replace(probe.request, src_ip=address, dst_number=number)

    def _decide(self, request: Request) -> tuple[int | None, bool]:
        """Return the account that a request finds, and True for a tie."""
        book = self._around(request)
        if book is None:
            return None, False
        query = read(request, book)
        if not isinstance(query, Query):
            return None, False
        # No example carries credentials, so that no password is ever revealed.
        outcome = identify(book, query, self._scope.options, str)
        if isinstance(outcome, Match):
            return outcome.entry.account.id, outcome.ambiguous
        return None, outcome is Reason.AMBIGUOUS

    def _around(self, request: Request) -> Book | None:
        """Return the index of the accounts that a request touches, or None if they are too many."""
        ids = tuple(self._touched(request))
        if self._last is not None and self._last[0] == ids:
            return self._last[1]
        if len(ids) > _MOST:
            return None
        accounts = [account for account in map(self._book.account, ids) if account is not None]
        book = build(self._scope.options, 1, _HASH_KEY, self._clients(accounts), accounts, ())
        self._last = ids, book
        return book

    def _touched(self, request: Request) -> Iterator[int]:
        """Yield the ids of the accounts whose idents a request hits."""
        places = self._places
        if request.account_id is not None:
            yield int(request.account_id)
        if request.name is not None:
            yield from places.accounts(text_key(IdentBy.NAME, request.name))
        for number in (request.src_number, request.dst_number):
            if number is not None:
                yield from places.accounts(text_key(IdentBy.ANI, national(number, self._scope.prefixes)))
        if request.src_ip is not None:
            for key in places.covering(parse_address(request.src_ip)):
                yield from places.accounts(key)

    def _clients(self, accounts: list[Account]) -> list[Client]:
        """Return the clients of accounts and the resellers above them."""
        found: dict[int, Client] = {}
        for account in accounts:
            client_id: int | None = account.client_id
            while client_id is not None and client_id not in found:
                client = self._book.client(client_id)
                if client is None:
                    break
                found[client_id] = client
                client_id = client.parent_id
        return list(found.values())
