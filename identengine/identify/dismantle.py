"""Takes a book apart that is no longer in use, in steps so short that requests are decided in between.

Dropping the book whole would free millions of objects at once, and hold up the requests of that time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from identengine.identify.index import Book

_KEYS = 128
"""Keys of a dict that one step drops: well below a millisecond."""
_NETWORKS = 16
"""Networks of a trie, or numbers of a table, that one step drops."""


def dismantled(book: Book) -> Iterator[None]:
    """Take a book apart that nothing else refers to; yield after each step."""
    for lookup in (*book.enabled.values(), *book.disabled.values()):
        for table in (lookup.singles, lookup.names, lookup.passwordless, lookup.denied, lookup.anis):
            yield from emptied(table)
        for trie in lookup.tries.values():
            networks: list[str] = []
            walk = iter(trie)  # ends before the trie changes
            while some := list(islice(walk, _NETWORKS)):
                networks += some
                yield
            while networks:
                for network in networks[-_NETWORKS:]:
                    del trie[network]
                del networks[-_NETWORKS:]
                yield
    yield from emptied(book.accounts)
    yield from emptied(book.clients)
    yield from book.dids.dismantle(_NETWORKS)


def emptied(table: dict[Any, Any]) -> Iterator[None]:
    """Empty a dict; yield after each step."""
    while table:
        for _ in range(min(_KEYS, len(table))):
            table.popitem()
        yield
