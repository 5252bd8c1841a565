"""Lists of recorded rejects with the account that was nearest (engine.md 8.8).

Rule: a filter by account or client also selects the rejects whose nearest account it is, since many rejects name
no account. Requests that hit no ident of these accounts are left out first, without a look at their version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice

from identengine.identify.explain import CandidateLimits
from identengine.identify.index import Book
from identengine.identify.query import Query, read
from identengine.model.addresses import Network, parse_address, parse_network
from identengine.model.numbers import national
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, IdentBy
from identengine.provisioning.excerpt import Tell, network_of
from identengine.provisioning.recorded import Circumstances, OptionsOf, circumstances
from identengine.record.entry import Recorded
from identengine.store.snapshot import Snapshot
from identengine.store.versions import Store

_FIRST, _MOST = 128, 2048
"""Number of rejects that share a walk through the accounts of their version, at first and at most."""
_NEAREST = CandidateLimits(None, 1)


Watch = Callable[[], AbstractContextManager[Tell]]
"""A function that returns the context of a walk through a version. Its value receives the progress."""


def with_nearest(
    store: Store, entries: Iterator[Recorded], options_of: OptionsOf, watch: Watch
) -> Iterator[Circumstances]:
    """Yield each decision with the account that was nearest, in the order of ``entries``."""
    size = _FIRST
    while block := list(islice(entries, size)):
        with watch() as tell:
            found = list(circumstances(store, block, options_of, _NEAREST, tell))
        yield from found
        size = min(2 * size, _MOST)


def concerning(
    store: Store,
    entries: Iterator[Recorded],
    options_of: OptionsOf,
    watch: Watch,
    *,
    account_id: int | None,
    client_id: int | None,
) -> Iterator[Circumstances]:
    """Yield the decisions that concern an account, or an account of a client.

    A decision concerns the account that it names, or else the account that was nearest.
    """
    with store.read() as newest:
        hit = _hits(newest, account_id, client_id, options_of(""))
    for found in with_nearest(store, filter(hit, entries), options_of, watch):
        decision, account = found.entry.decision, found.account
        ids = {decision.account_id, account.id if account else None}
        clients = {decision.client_id, account.client_id if account else None}
        if (account_id is None or account_id in ids) and (client_id is None or client_id in clients):
            yield found


def _hits(
    newest: Snapshot, account_id: int | None, client_id: int | None, options: IdentifyOptions
) -> Callable[[Recorded], bool]:
    """Return a function that returns False for decisions that cannot concern these accounts."""
    empty = Book(options, 0, b"")
    reach = _Reach(newest, account_id, client_id, empty.prefixes)

    def hit(entry: Recorded) -> bool:
        decision = entry.decision
        if decision.account_id is not None and decision.account_id == account_id:
            return True
        if decision.client_id is not None and decision.client_id == client_id:
            return True
        query = read(entry.request, empty)
        return isinstance(query, Query) and reach.has(query)

    return hit


class _Reach:
    """The idents that accounts have or ever had."""

    def __init__(
        self, newest: Snapshot, account_id: int | None, client_id: int | None, prefixes: tuple[str, ...]
    ) -> None:
        self._ids = set[int]()
        self._names, self._anis = set[str](), set[str]()
        self._networks: dict[int, set[Network]] = {}
        self._known: dict[str, bool] = {}
        for account in _accounts(newest, account_id, client_id):
            self._ids.add(account.id)
            for item in account.ident:
                match account.ident_by:
                    case IdentBy.NAME:
                        self._names.add(item)
                    case IdentBy.ANI:
                        self._anis.add(national(item, prefixes))
                    case IdentBy.IP:
                        network = parse_network(item)[0]
                        self._networks.setdefault(network.length, set()).add(network)

    def has(self, query: Query) -> bool:
        """Return True if a request hits one of the idents, or names one of the accounts."""
        if query.account_id is not None:
            return query.account_id in self._ids
        return query.name in self._names or query.ani in self._anis or self._covers(query.src_ip)

    def _covers(self, src_ip: str | None) -> bool:
        if src_ip is None:
            return False
        if src_ip not in self._known:
            packed = parse_address(src_ip)
            self._known[src_ip] = any(
                length <= len(packed) * 8 and network_of(packed, length) in networks
                for length, networks in self._networks.items()
            )
        return self._known[src_ip]


def _accounts(newest: Snapshot, account_id: int | None, client_id: int | None) -> Iterator[Account]:
    """Yield each state of the account, or of the present accounts of the client."""
    if account_id is not None:  # the account may have been removed, so that only its history is known
        found = iter([Account(id=account_id, client_id=0, name="", ident_by=IdentBy.NAME, ident=())])
    else:
        found = (account for account in newest.accounts() if account.client_id == client_id)
    for account in found:
        yield account
        for _info, before, after in newest.history(account):
            yield from (row for row in (before, after) if isinstance(row, Account))
