"""The checks of accounts that share a value or an address: ties, shadowed accounts, and nested tech prefixes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice

from identengine.errors import quoted, sentences
from identengine.lint.countrycodes import COUNTRY_CODES, may_begin_number
from identengine.lint.findings import Probe, Trouble
from identengine.lint.pages import Pages
from identengine.lint.places import Places
from identengine.lint.rivals import Board, Cell, Rival, beaten_by, is_hidden, rival_of
from identengine.lint.rowchecks import missed_probe
from identengine.lint.scope import Scope
from identengine.lint.values import network_key, request_of, values_of
from identengine.model.addresses import Network
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Direction, IdentBy, Request

_BOARDS = 1000
"""Networks whose accounts are kept, so that neighbours need not be read again."""
_DIDS = 1000
"""DIDs of an account that are compared with the tech prefixes on its address."""
_COMPARED = 1000
"""Numbers on an address that one tech prefix is compared with, so that time grows with the accounts alone."""


class Competition:
    """The accounts that share a value, value by value."""

    def __init__(self, book: Pages, places: Places, scope: Scope) -> None:
        self._book = book
        self._places = places
        self._scope = scope
        self._tied: set[int] = set()
        self._beaten: dict[int, int] = {}
        """Number of values at which an account never wins."""
        self._winners: dict[int, tuple[int, int, str]] = {}
        """Of each account that is beaten: id and client of a winner, and the value."""
        self._boards: dict[tuple[int, IdentifyOptions, Direction], Board] = {}
        self._narrower = {network_key(network) for network in places.tiled()}

    def troubles(self) -> Iterator[Trouble]:
        """Yield all troubles of accounts that share a value."""
        tiled = set(self._narrower)
        for key, ids in self._places.shared():
            tiled.discard(key)
            yield from self._at(key, ids)
        for key in sorted(tiled):
            yield from self._at(key, self._places.accounts(key))
        yield from self._shadowed()

    def next_inside(self, network: Network, around: Network, start: int) -> Network | None:
        """Return the widest network inside ``network`` that begins exactly at ``start``, or None."""
        return self._places.next_inside(network, around, start)

    def board(self, network: Network, options: IdentifyOptions, direction: Direction) -> Board:
        """Return the accounts of a network."""
        place = network_key(network), options, direction
        found = self._boards.get(place)
        if found is None:
            if len(self._boards) >= _BOARDS:
                self._boards.clear()
            rivals = [rival_of(account) for account in self._read(self._places.accounts(place[0]))]
            found = self._boards[place] = Board(rivals, options, direction)
        return found

    def _read(self, ids: Sequence[int]) -> list[Account]:
        return [account for account in map(self._book.account, ids) if account is not None]

    def _at(self, key: int, ids: Sequence[int]) -> Iterator[Trouble]:
        """Yield the troubles at one value, and count the accounts that never win there."""
        accounts = self._read(ids)
        if not accounts or accounts[0].ident_by.value not in self._scope.options.classes:
            return
        item, network = self._item(accounts[0], key)
        rivals = [rival_of(account) for account in accounts]
        tiled = key in self._narrower
        prefixes = {rival.tech_prefix for rival in rivals}
        by_name = accounts[0].ident_by is IdentBy.NAME and self._scope.options.passwordless_name == "after_ip"
        if len(prefixes) < len(rivals) or tiled or by_name:
            yield from self._ties(rivals, item, network if tiled else None)
            self._count_beaten(rivals, item, network, tiled=tiled)
        if len(prefixes) > 1:
            yield from self._nested_prefixes(accounts, item)

    def _item(self, account: Account, key: int) -> tuple[str, Network | None]:
        """Return the text and the network of a value."""
        for each, item, network in values_of(account, self._scope.prefixes):
            if each == key:
                return item, network
        return account.ident[0], None

    def _ties(self, rivals: Sequence[Rival], item: str, tiled: Network | None) -> Iterator[Trouble]:
        """Yield the ties at a value. The same accounts are one tie, however many values they share.

        ``tiled`` is the network of the value if narrower networks fill it. A tie that no request reaches is
        left out.
        """
        for direction in Direction:
            for options in self._scope.variants:
                board = Board(rivals, options, direction)
                for cell, same in board.ties():
                    if is_hidden(cell, board, tiled, self):
                        continue
                    ids = tuple(sorted(rival.id for rival in same))
                    if (mark := hash(ids)) not in self._tied:
                        self._tied.add(mark)
                        yield _tie(same, cell, item, ids, direction, options)

    def _count_beaten(self, rivals: Sequence[Rival], item: str, network: Network | None, *, tiled: bool) -> None:
        boards = [Board(rivals, options, Direction.ORIGINATION) for options in self._scope.variants]
        for rival in rivals:
            winner = beaten_by(rival, boards, network, self if tiled else None) if rival.originates else None
            if winner is not None:
                self._beaten[rival.id] = self._beaten.get(rival.id, 0) + 1
                self._winners.setdefault(rival.id, (winner.id, winner.client_id, item))

    def _shadowed(self) -> Iterator[Trouble]:
        """Yield the accounts that are beaten at each of their values."""
        for account_id, beaten in self._beaten.items():
            account = self._book.account(account_id)
            if account is None:
                continue
            if beaten == len({key for key, _, _ in values_of(account, self._scope.prefixes)}):
                winner, client_id, item = self._winners[account_id]
                text = (
                    f"account {account_id} (client {account.client_id}) never gets a call: account {winner} "
                    f"(client {client_id}) comes before it for each call that fits it ({item})"
                )
                clients = tuple(dict.fromkeys((account.client_id, client_id)))
                probe = missed_probe(account, request_of(account, item), item)
                yield Trouble("shadowed", "warning", text, None, (account_id,), clients, (), probe)

    def _nested_prefixes(self, accounts: Sequence[Account], item: str) -> Iterator[Trouble]:
        """Yield the tech prefixes of digits that begin the numbers of another account on an address."""
        originating = [account for account in accounts if account.orig_enabled]
        own = [each for each in originating if each.tech_prefix and each.tech_prefix.isdigit()]
        if not own:
            return
        dialled = sorted(self._dialled(originating))
        for account in own:
            prefix = account.tech_prefix or ""
            if prefix in COUNTRY_CODES:  # reported already
                continue
            place = bisect_right(dialled, (prefix, 0, False))
            for number, other, plain in dialled[place : place + _COMPARED]:
                if not number.startswith(prefix):
                    break
                if other != account.id and number != prefix and (plain or _continues(number, prefix)):
                    yield _nested(account, item, number, other, plain=plain)
                    break

    def _dialled(self, accounts: Sequence[Account]) -> Iterator[tuple[str, int, bool]]:
        """Yield the begins of the numbers that accounts dial, with the account and True for a whole number.

        An account dials its tech prefix first. One without tech prefix dials its own DIDs, between its sites.
        """
        for account in accounts:
            if account.tech_prefix:
                yield account.tech_prefix, account.id, False
            else:
                for did in islice(self._book.account_dids(account.id), _DIDS):
                    yield did.number, account.id, True


def _continues(number: str, prefix: str) -> bool:
    """Return True if the rest of a longer tech prefix can begin a number that is dialled after ``prefix``."""
    rest = number[len(prefix) :]
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return bool(digits) and may_begin_number(digits)


def _nested(account: Account, item: str, number: str, other: int, *, plain: bool) -> Trouble:
    prefix = quoted(account.tech_prefix)
    if plain:
        what = f"begins the number {number} of account {other}, which has the same ident {item} and no tech prefix"
    else:
        what = f"begins the tech prefix {quoted(number)} of account {other}, which has the same ident {item}"
    text = f"account {account.id}: tech_prefix: {prefix} {what}. Some calls go to the other of the two accounts."
    wanted = account.id if plain else other
    network = item if account.ident_by is IdentBy.IP else None
    probe = Probe(
        request_of(account, item), lambda found, _: found == wanted, number, network, number if plain else None
    )
    return Trouble("prefix_begins_number", "warning", text, None, (account.id,), (account.client_id,), (), probe)


def _tie(
    same: Sequence[Rival],
    cell: Cell,
    item: str,
    ids: tuple[int, ...],
    direction: Direction,
    options: IdentifyOptions,
) -> Trouble:
    """Return the trouble of accounts that are equal in everything except the id."""
    _, tech_prefix, gateway, port, protocol = cell
    clients = tuple(sorted({rival.client_id for rival in same}))
    named = ", ".join(map(str, ids[:3])) + (", …" if len(ids) > 3 else "")
    equal = "".join(
        f", {name} {quoted(value)}"
        for name, value in (
            ("tech prefix", tech_prefix),
            ("gateway", gateway),
            ("port", port),
            ("protocol", protocol),
        )
        if value
    )
    if options.strict_ambiguity and len(clients) > 1:
        result = "Calls that fit all of them are rejected as ambiguous."
    else:
        result = f"Account {ids[0]} gets the calls, since it has the lowest id."
    text = sentences(f"accounts {named} are equal in everything except the id ({item}{equal})", result)
    kind = same[0].ident_by
    outward = direction is Direction.TERMINATION
    request = Request(
        direction=direction.value if outward else None,
        name=item if kind is IdentBy.NAME else None,
        src_number=item if kind is IdentBy.ANI and not outward else None,
        gateway=gateway,
        src_port=port,
        protocol=protocol,
    )
    among = frozenset(ids)
    probe = Probe(
        request,
        lambda found, tied: tied and (found is None or found in among),
        tech_prefix,
        item if kind is IdentBy.IP else None,
        item if kind is IdentBy.ANI and outward else None,
    )
    severity = "error" if len(clients) > 1 else "warning"
    return Trouble("tie", severity, text, None, ids, clients, (), probe)  # type: ignore[arg-type]
