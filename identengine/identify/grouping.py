"""Groups the accounts of one ident value, in short steps. Many accounts get look-ups, so that none is tried."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from identengine.identify.index import (
    COUNTED,
    AccountEntry,
    Bucket,
    BucketIndex,
    Constraints,
    ConstraintTables,
    Counted,
    Group,
    Reach,
    Shape,
    Ties,
)

INDEXED_FROM = 8
"""Number of accounts on one ident value above which they are looked up by constraints, not tried one by one."""

STEP = 128
"""Number of keys that one step handles, in well below a millisecond."""


def group(bucket: Bucket, entries: list[AccountEntry]) -> Generator[None, None, None]:
    """Group the accounts that share an ident value by their tech prefix."""
    by_prefix: dict[str, list[AccountEntry]] = {}
    by_length: dict[int, list[str]] = {}
    for done, entry in enumerate(entries, 1):
        prefix = entry.tech_prefix
        if prefix not in by_prefix:
            by_prefix[prefix] = []
            by_length.setdefault(len(prefix), []).append(prefix)
        by_prefix[prefix].append(entry)
        if done % STEP == 0:
            yield
    groups: dict[str, Group] = {}
    lengths = tuple(sorted(by_length, reverse=True))
    for length in lengths:
        for prefix in by_length[length]:
            same = sorted(by_prefix.pop(prefix), key=lambda entry: entry.account.id)
            groups[prefix] = yield from _grouped(prefix, same)
            if len(groups) % STEP == 0:
                yield
    bucket.groups = tuple(groups.values())
    if len(entries) > INDEXED_FROM:
        bucket.index = yield from _bucket_index(entries, groups, lengths)


def _grouped(prefix: str, entries: list[AccountEntry]) -> Generator[None, None, Group]:
    """Return the group of accounts that share a tech prefix, with a look-up if they are many."""
    constrained = any(entry.constrained for entry in entries)
    if len(entries) <= INDEXED_FROM:
        return Group(prefix, tuple(entries), constrained)
    if not constrained:
        return Group(prefix, tuple(entries), constrained, _ties(entries))
    tables = yield from _by_constraints(entries)
    return Group(prefix, tuple(entries), constrained, None, tables)


def _ties(entries: list[AccountEntry]) -> Ties:
    """Return accounts that are equal in everything except the id."""
    without = tuple(entry for entry in entries if entry.account.password is None)
    clients = {entry.account.client_id for entry in entries}
    return Ties(
        tuple(entries), len(clients) == 1, without, len({entry.account.client_id for entry in without}) == 1
    )


def _by_constraints(entries: list[AccountEntry]) -> Generator[None, None, dict[Counted, ConstraintTables]]:
    """Return :attr:`Group.by_constraints` of accounts that share a tech prefix."""
    gathered: dict[Counted, dict[Shape, dict[Constraints, list[AccountEntry]]]] = {each: {} for each in COUNTED}
    for done, entry in enumerate(entries, 1):
        for counted, shapes in gathered.items():
            table = shapes.setdefault(entry.shape_of(counted), {})
            for constraints in _constraints(entry, counted):
                table.setdefault(constraints, []).append(entry)
        if done % STEP == 0:
            yield
    found: dict[Counted, ConstraintTables] = {}
    for counted, shapes in gathered.items():
        tables: list[tuple[Shape, dict[Constraints, Ties]]] = []
        for shape in sorted(shapes, reverse=True):
            lists, table_of = shapes.pop(shape), {}
            while lists:
                constraints, same = lists.popitem()
                table_of[constraints] = _ties(same)
                if len(table_of) % STEP == 0:
                    yield
            tables.append((shape, table_of))
        found[counted] = tuple(tables)
    return found


def _constraints(entry: AccountEntry, counted: Counted) -> Iterator[Constraints]:
    """Yield the constraints that a request may satisfy, one for each gateway."""
    port, protocol = counted
    for gateway in entry.gateways or (None,):
        yield gateway, entry.port if port else None, entry.protocol if protocol else None


def _bucket_index(
    entries: list[AccountEntry], groups: dict[str, Group], lengths: tuple[int, ...]
) -> Generator[None, None, BucketIndex]:
    ports: dict[Counted, set[Constraints]] = {each: set() for each in COUNTED}
    for done, entry in enumerate(entries, 1):
        for counted, found in ports.items():
            found.update(_constraints(entry, counted))
        if done % STEP == 0:
            yield
    reach: dict[Counted, Reach] = {}
    for counted, found in ports.items():
        gateways = frozenset(gateway for gateway, _, _ in found)
        protocols = frozenset((gateway, protocol) for gateway, _, protocol in found)
        reach[counted] = Reach(gateways, protocols, frozenset(found))
        yield
    return BucketIndex(groups, lengths, reach)
