"""Takes a book to pieces, bit by bit: to let go of it at once would free millions of objects in one go."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from identengine.identify.builder import emptied
from identengine.identify.index import Book

_LOOK = 16
"""Networks that are taken out of a trie between two moments in which others may go on."""


def dismantled(book: Book) -> Iterator[None]:
    """Empty the tables of a book that nobody uses any more; yield often."""
    for lookup in (*book.enabled.values(), *book.disabled.values()):
        for table in (lookup.singles, lookup.names, lookup.passwordless, lookup.denied, lookup.anis):
            yield from emptied(table)
        for trie in lookup.tries.values():
            networks: list[str] = []
            walk = iter(trie)  # ends before the trie changes
            while some := list(itertools.islice(walk, _LOOK)):
                networks += some
                yield
            while networks:
                for network in networks[-_LOOK:]:
                    del trie[network]
                del networks[-_LOOK:]
                yield
    yield from emptied(book.bearers)
    yield from emptied(book.owners)
    yield from book.dids.dismantle(_LOOK)
