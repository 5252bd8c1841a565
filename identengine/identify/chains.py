"""Chains: the accounts of one ident value, best first. Only this module makes the order of engine.md 3.3.

A chain is compiled for the options of a book. Accounts that are equal in everything except the id are one node.
Many accounts become a crowd, one node for all of them: their number then costs neither a walk nor time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from identengine.identify.index import (
    AccountEntry,
    Candidate,
    CellKey,
    Counted,
    Crowd,
    Order,
    Shape,
    Tier,
    Ties,
)

INDEXED_FROM = 8
"""Number of accounts on one ident value above which they are looked up by constraints, not tried one by one."""

STEP = 128
"""Number of keys that one step handles, in well below a millisecond."""

Rank = tuple[int, Shape]
"""Length of the tech prefix, then gateway, port and protocol. The greatest wins (engine.md 3.3)."""


def rank(entry: AccountEntry, counted: Counted) -> Rank:
    """Return the rank of an account among all accounts of an ident value, up to the id."""
    return len(entry.tech_prefix), entry.shape_of(counted)


def outwards(candidate: Candidate | None) -> Iterator[Candidate]:
    """Yield a chain from a candidate on: its ident value, then the wider networks."""
    while candidate is not None:
        yield candidate
        candidate = candidate.next


def alone(entry: AccountEntry, matched: str, mask: int, counted: Counted) -> Candidate:
    """Return the chain of the only account of an ident value."""
    tech_prefix = entry.tech_prefix
    plain = not any(entry.shape_of(counted))
    varies = entry.port is not None or entry.protocol is not None
    return Candidate(tech_prefix, len(tech_prefix), None, entry, plain, matched, mask, varies)


def chain(
    entries: list[AccountEntry], matched: str, mask: int, counted: Counted
) -> Generator[None, None, Candidate]:
    """Return the chain of accounts that share an ident value. Its last node is not linked yet."""
    if len(entries) <= INDEXED_FROM and not _overlap(entries):
        return _short(entries, matched, mask, counted)
    crowd = yield from _crowd(entries, matched, mask, counted)
    return _stands_for(crowd, matched, mask)


def link(head: Candidate, wider: Candidate | None, prefix_first: bool) -> None:
    """Link the last node of a chain to the chain of the next wider network.

    With ``prefix_first`` (option ``rank``) none of its nodes stays plain: a longer prefix of a wider network wins.
    """
    if wider is None:
        return
    last = head
    while True:
        last.varies = last.varies or wider.varies
        if prefix_first:
            last.plain = False
        if last.next is None:
            break
        last = last.next
    last.next = wider


def reordered(head: Candidate, counted: Counted) -> Candidate:
    """Return a chain in the order for a switch whose port and protocol count otherwise than for the book.

    It is built again, except for crowds: they have every order.
    """
    found: Candidate | None = None
    for mask, group in groupby(reversed([*outwards(head)]), attrgetter("mask")):
        same = [*group]
        if same[0].crowd is not None:
            nearer = _stands_for(same[0].crowd, same[0].matched, mask)
        else:
            entries = [entry for node in same for entry in node.entries()]
            nearer = _short(entries, same[0].matched, mask, counted)
        link(nearer, found, prefix_first=False)
        found = nearer
    assert found is not None  # noqa: S101 - tells mypy that a chain has nodes
    return found


def _stands_for(crowd: Crowd, matched: str, mask: int) -> Candidate:
    """Return the node of a crowd."""
    return Candidate("", 0, None, crowd.entries[0], False, matched, mask, False, None, crowd)


def _short(entries: Sequence[AccountEntry], matched: str, mask: int, counted: Counted) -> Candidate:
    """Return the chain of a few accounts."""
    cells: dict[object, list[AccountEntry]] = {}
    for entry in sorted(entries, key=lambda entry: (rank(entry, counted), -entry.account.id), reverse=True):
        cells.setdefault(_cell(entry, counted), []).append(entry)
    varies = any(entry.port is not None or entry.protocol is not None for entry in entries)
    found: Candidate | None = None
    for same in reversed(cells.values()):
        node = _equal(same, matched, mask, counted)
        node.next, node.varies = found, varies
        found = node
    assert found is not None  # noqa: S101 - tells mypy that there are accounts
    return found


def _cell(entry: AccountEntry, counted: Counted) -> tuple[object, ...]:
    """Return what accounts have in common that are equal in everything except the id."""
    port, protocol = counted
    return entry.tech_prefix, entry.gateways, port and entry.port, protocol and entry.protocol


def _overlap(entries: Sequence[AccountEntry]) -> bool:
    """Return True if two accounts share some of their gateways, but not all.

    The gateway of the request then decides if they are equal, so no order of nodes holds for all requests.
    """
    named = {entry.gateways for entry in entries if entry.gateways is not None}
    return sum(map(len, named)) > len(frozenset().union(*named))


def _equal(same: Sequence[AccountEntry], matched: str, mask: int, counted: Counted) -> Candidate:
    """Return the node of accounts that are equal in everything except the id."""
    entries = tuple(sorted(same, key=_id))
    node = alone(entries[0], matched, mask, counted)
    if len(entries) > 1:
        without = tuple(entry for entry in entries if entry.account.password is None)
        node.plain = False
        node.ties = Ties(entries, one_client(entries), without, one_client(without))
    return node


def one_client(entries: Sequence[AccountEntry]) -> bool:
    """Return True if all accounts are of one client."""
    return len({entry.account.client_id for entry in entries}) == 1


def _crowd(
    entries: Sequence[AccountEntry], matched: str, mask: int, counted: Counted
) -> Generator[None, None, Crowd]:
    """Return many accounts in the order of every option."""
    nodes: list[Candidate] = []
    ranked: dict[Rank, dict[object, list[AccountEntry]]] = {}
    by_port = by_protocol = False
    for done, entry in enumerate(entries, 1):
        nodes.append(alone(entry, matched, mask, counted))
        ranked.setdefault(rank(entry, counted), {}).setdefault(_cell(entry, counted), []).append(entry)
        by_port, by_protocol = by_port or entry.port is not None, by_protocol or entry.protocol is not None
        if done % STEP == 0:
            yield
    made: dict[Counted, Order] = {}
    orders: dict[Counted, Order] = {}
    for each in ((port, protocol) for port in (True, False) for protocol in (True, False)):
        # Options that make no difference to these accounts share one order.
        differing = each[0] and by_port, each[1] and by_protocol
        if differing not in made:
            made[differing] = yield from _order(nodes, matched, mask, differing)
        orders[each] = made[differing]
    entries_worst_first: list[AccountEntry] = []
    for place in sorted(ranked):
        cells = ranked[place]
        while cells:  # emptied item by item: to drop the whole dict would be a long step
            _, same = cells.popitem()
            entries_worst_first += sorted(same, key=_id, reverse=True)
            if len(cells) % STEP == 0:
                yield
    return Crowd(tuple(reversed(entries_worst_first)), orders)


def _order(nodes: Sequence[Candidate], matched: str, mask: int, counted: Counted) -> Generator[None, None, Order]:
    """Return the order of a crowd for one set of options."""
    tiers: dict[Rank, dict[CellKey, Candidate]] = {}
    shared: dict[tuple[Rank, CellKey], list[AccountEntry]] = {}
    reach: set[tuple[str | int | None, ...]] = set()
    port, protocol = counted
    for done, node in enumerate(nodes, 1):
        entry = node.entry
        place = rank(entry, counted)
        cells = tiers.setdefault(place, {})
        own_port, own_protocol = entry.port if port else None, entry.protocol if protocol else None
        for gateway in entry.gateways or (None,):
            reach |= {(gateway,), (gateway, own_protocol), (gateway, own_protocol, own_port)}
            key: CellKey = entry.tech_prefix
            if any(place[1]):
                key = entry.tech_prefix, gateway, own_port, own_protocol
            first = cells.setdefault(key, node)
            if first is not node:
                shared.setdefault((place, key), [first.entry]).append(entry)
        if done % STEP == 0:
            yield
    while shared:
        (place, key), same = shared.popitem()
        tiers[place][key] = _equal(same, matched, mask, counted)
        if len(shared) % STEP == 0:
            yield
    ranks = sorted(tiers, reverse=True)
    return Order(tuple(Tier(cut, shape, tiers[cut, shape]) for cut, shape in ranks), reach)


_id = attrgetter("account.id")
