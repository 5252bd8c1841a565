"""Chains of resellers: whether a client would stand above itself (engine.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

SHOWN = 6
"""Clients of a loop that are told at most: a loop may be of thousands."""


def loops(client_ids: Iterable[int], parent_of: Callable[[int], int | None]) -> dict[int, tuple[int, ...]]:
    """Return each client that stands on a loop, with the loop beginning at it, :data:`SHOWN` clients at most.

    ``client_ids`` are those to begin at, ``parent_of`` gives a client's reseller or None. Each client is looked
    at once, however long the chains are.
    """
    found: dict[int, tuple[int, ...]] = {}
    seen: set[int] = set()
    for start in client_ids:
        path: dict[int, None] = {}
        at: int | None = start
        while at is not None and at not in seen and at not in path:
            path[at] = None
            at = parent_of(at)
        if at in path:
            chain = list(path)
            loop = chain[chain.index(at) :]
            around = loop + loop[:SHOWN]
            for place, client_id in enumerate(loop):
                found[client_id] = tuple(around[place : place + min(len(loop), SHOWN)])
        seen.update(path)
    return found
