"""Dismantles a book that is no longer in use, in steps so short that requests are decided in between.

Dropping the whole book at once would free millions of objects and delay all requests meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from identengine.identify.index import Book, Candidate, Crowd

_KEYS = 128
"""Number of keys of a dict that one step drops, in well below a millisecond."""
_NETWORKS = 16
"""Number of networks of a trie, or of texts of a DID table, that one step drops."""


def dismantled(book: Book) -> Iterator[None]:
    """Dismantle a book that nothing else refers to. Yield after each step."""
    for lookup in (*book.enabled.values(), *book.disabled.values()):
        for table in (lookup.singles, lookup.names, lookup.passwordless, lookup.denied, lookup.anis):
            yield from _chains_emptied(table)
        for trie in lookup.tries.values():
            networks: list[str] = []
            walk = iter(trie)  # it is exhausted before the trie changes
            while some := list(islice(walk, _NETWORKS)):
                networks += some
                yield
            while networks:
                for network in networks[-_NETWORKS:]:
                    yield from _crowd_emptied(trie[network].crowd)
                    del trie[network]
                del networks[-_NETWORKS:]
                yield
    yield from emptied(book.reordered)
    yield from emptied(book.accounts)
    yield from emptied(book.clients)
    yield from book.dids.dismantle(_NETWORKS)


def _chains_emptied(table: dict[str, Candidate]) -> Iterator[None]:
    """Remove all chains of a dict in short steps. Yield after each step."""
    while table:
        for _ in range(min(_KEYS, len(table))):
            yield from _crowd_emptied(table.popitem()[1].crowd)
        yield


def _crowd_emptied(crowd: Crowd | None) -> Iterator[None]:
    """Dismantle a crowd: thousands of accounts can share an address. Yield after each step."""
    if crowd is not None:
        for order in crowd.orders.values():
            for tier in order.tiers:
                yield from emptied(tier.cells)
            while order.reach:
                for _ in range(min(_KEYS, len(order.reach))):
                    order.reach.pop()
                yield


def emptied(table: dict[Any, Any]) -> Iterator[None]:
    """Remove all items of a dict in short steps. Yield after each step."""
    while table:
        for _ in range(min(_KEYS, len(table))):
            table.popitem()
        yield
