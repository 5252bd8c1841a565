"""Chains of resellers: whether a client would stand above itself, and how long a chain is (engine.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

DEEPEST = 32
"""Clients that one chain may have: a client and the resellers above it.

A call counts on each of them (engine.md 5.2), so each admission costs by the length of the chain, and so does what
is kept of each client. Resellers of resellers are a handful; a chain of thousands is an attack, or a mistake.
"""
SHOWN = 6
"""Clients of a loop or a chain that are told at most: it may be of thousands."""


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


def depths(client_ids: Iterable[int], parent_of: Callable[[int], int | None]) -> dict[int, int]:
    """Return how many clients stand in a client's chain: itself and the resellers above it.

    So for ``client_ids`` and all above them; 0 for those on a loop or below one, whose chain has no end
    (:func:`loops` tells of them). Each client is looked at once, however long the chains are.
    """
    found: dict[int, int] = {}
    for start in client_ids:
        path: dict[int, None] = {}
        at: int | None = start
        while at is not None and at not in found and at not in path:
            path[at] = None
            at = parent_of(at)
        endless = at in path or (at is not None and found[at] == 0)
        above = 0 if at is None or endless else found[at]
        for place, client_id in enumerate(reversed(path), 1):
            found[client_id] = 0 if endless else above + place
    return found


def deepened(
    client_ids: Iterable[int], parent_of: Callable[[int], int | None], before: Callable[[int], int | None]
) -> dict[int, int]:
    """Return the clients that a change brings more than :data:`DEEPEST` deep, or deeper yet, and how deep.

    ``parent_of`` and ``before`` give a client's reseller after the change and before it. What an older program
    let stand too deep is none of it, so that a store of such can still be mended step by step.
    """
    deep = {client_id: depth for client_id, depth in depths(client_ids, parent_of).items() if depth > DEEPEST}
    was = depths(deep, before)
    return {client_id: depth for client_id, depth in deep.items() if depth > was[client_id]}


def chain_told(client_id: int, parent_of: Callable[[int], int | None]) -> str:
    """Return the first of a chain that is longer than can be shown, for an error."""
    chain: list[int] = []
    at: int | None = client_id
    while at is not None and len(chain) < SHOWN:
        chain.append(at)
        at = parent_of(at)
    return " below ".join(map(str, (*chain, "…")))
