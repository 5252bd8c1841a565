"""Chains of resellers: whether a client would stand above itself (engine.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def loops(client_ids: Iterable[int], parent_of: Callable[[int], int | None]) -> dict[int, tuple[int, ...]]:
    """Return each client that stands on a loop, with the whole loop beginning at it.

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
            for place, client_id in enumerate(loop):
                found[client_id] = tuple(loop[place:] + loop[:place])
        seen.update(path)
    return found
