"""Chains of resellers: how to find loops, and how long a chain is (engine.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

DEEPEST = 32
"""Longest chain of a client and the resellers above it, in clients.

A call counts on each client of its chain (engine.md 5.2). The cost of an admission and the memory for each client
therefore grow with the length of the chain. Resellers of resellers are few. A chain of thousands is an attack or a
mistake.
"""
SHOWN = 6
"""Longest part of a loop or chain that a message shows, in clients. A chain in an import may have thousands."""


def loops(client_ids: Iterable[int], parent_of: Callable[[int], int | None]) -> dict[int, tuple[int, ...]]:
    """Return each client on a loop with the clients of that loop, beginning with itself.

    At most :data:`SHOWN` clients of a loop are returned. The search begins at each of ``client_ids``.
    ``parent_of`` returns the reseller of a client, or None. Each client is visited once, however long the chains
    are.
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
    """Return the number of clients in each client's chain: the client itself and the resellers above it.

    The result covers ``client_ids`` and all clients above them. The number is 0 for a client on or below a loop,
    whose chain is endless (see :func:`loops`). Each client is visited once, however long the chains are.
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
    """Return the clients whose chain a change makes longer than :data:`DEEPEST`, or longer still, with its length.

    ``parent_of`` and ``before`` return the reseller of a client after the change and before it. Chains that were
    too long before the change are accepted unless they grow, so that an old store can be repaired step by step.
    """
    deep = {client_id: depth for client_id, depth in depths(client_ids, parent_of).items() if depth > DEEPEST}
    was = depths(deep, before)
    return {client_id: depth for client_id, depth in deep.items() if depth > was[client_id]}


def chain_told(client_id: int, parent_of: Callable[[int], int | None]) -> str:
    """Return the beginning of a chain that is too long for a message: ``1 → 2 → 3 → …``."""
    chain: list[int] = []
    at: int | None = client_id
    while at is not None and len(chain) < SHOWN:
        chain.append(at)
        at = parent_of(at)
    return " → ".join(map(str, (*chain, "…")))
