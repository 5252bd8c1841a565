"""Accounts that compete for the same requests: ties and shadowed accounts (engine.md 3.3, 3.4, 3.6).

Rule: one account beats another for a request only if the request fits both. So an account
never wins if others come before it for each of its values and gateways, with equal or fewer constraints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple, Protocol

from identengine.model.addresses import Network
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Direction, IdentBy

Cell = tuple[int, str, str | None, int | None, str | None]
"""Level, tech prefix, gateway, port and protocol of requests for which accounts are equal."""


class Rival(NamedTuple):
    """An account as matching compares it."""

    id: int
    client_id: int
    ident_by: IdentBy
    tech_prefix: str
    gateways: tuple[str | None, ...]
    """The gateways in lower case, or only None if any gateway fits."""
    port: int | None
    protocol: str | None
    has_password: bool
    originates: bool
    terminates: bool

    def cells(self, level: int, options: IdentifyOptions) -> Iterator[Cell]:
        """Yield the cell of each gateway, by the options of a switch."""
        port = self.port if options.match_port == "always" else None
        protocol = self.protocol if options.match_protocol == "always" else None
        for gateway in self.gateways:
            yield level, self.tech_prefix, gateway, port, protocol

    def level(self, options: IdentifyOptions, direction: Direction) -> int | None:
        """Return the place of the account's class among the classes of its value, or None if it is denied."""
        if self.ident_by is not IdentBy.NAME or self.has_password or direction is Direction.TERMINATION:
            return 1
        match options.passwordless_name:
            case "deny":
                return None
            case "normal":
                return 1
        classes = options.classes
        after = "ip" not in classes or "name" not in classes or classes.index("name") < classes.index("ip")
        return 2 if after else 0


def rival_of(account: Account) -> Rival:
    """Return an account as a rival."""
    return Rival(
        account.id,
        account.client_id,
        account.ident_by,
        account.tech_prefix or "",
        tuple(dict.fromkeys(gateway.casefold() for gateway in account.gateways)) or (None,),
        account.term_port,
        account.term_protocol.casefold() if account.term_protocol else None,
        account.password is not None,
        account.orig_enabled,
        account.term_enabled,
    )


class Board:
    """The accounts of one ident value in one direction, by the options of one switch."""

    def __init__(self, rivals: Iterable[Rival], options: IdentifyOptions, direction: Direction) -> None:
        self.options = options
        self.direction = direction
        self.cells: dict[Cell, list[Rival]] = {}
        self.levels: dict[int, int] = {}
        """Level of each account, by its id."""
        for rival in rivals:
            level = rival.level(options, direction)
            enabled = rival.originates if direction is Direction.ORIGINATION else rival.terminates
            if enabled and level is not None:
                self.levels[rival.id] = level
                for cell in rival.cells(level, options):
                    self.cells.setdefault(cell, []).append(rival)
        self._levels = sorted(set(self.levels.values()))
        self._open = {cell: [one for one in same if not one.has_password] for cell, same in self.cells.items()}
        """The accounts of each cell that need no password: their credentials always hold."""

    def ties(self) -> Iterator[tuple[Cell, list[Rival]]]:
        """Yield each cell whose accounts a request cannot distinguish."""
        for cell, same in self.cells.items():
            if len(same) > 1 and self._are_tied(cell, same):
                yield cell, same

    def _are_tied(self, cell: Cell, same: Sequence[Rival]) -> bool:
        """Return True if the credentials of several accounts hold for one request."""
        if self.direction is Direction.TERMINATION:
            return True
        needed = same[0].ident_by is IdentBy.NAME or self.options.require_password
        return bool(self._open[cell]) or not needed

    def beaten_by_equal(self, rival: Rival, cell: Cell) -> Rival | None:
        """Return the account that wins each request of a cell instead of ``rival``, or None."""
        for other in self._open[cell]:
            if other.id < rival.id or (self.options.strict_ambiguity and other.client_id != rival.client_id):
                return other
        return None

    def more_general(self, cell: Cell, below: int, *, same_prefix: bool = False) -> Rival | None:
        """Return an account of a level under ``below`` that fits each request of ``cell``, or None."""
        _, prefix, gateway, port, protocol = cell
        levels = [level for level in self._levels if level < below]
        if not levels:
            return None
        prefixes = (prefix,) if same_prefix else [prefix[:length] for length in range(len(prefix) + 1)]
        ways = product(levels, prefixes, {None, gateway}, {None, port}, {None, protocol})
        return next((self.cells[way][0] for way in ways if way in self.cells), None)


_ANY_LEVEL = 9
"""A level below which all classes are."""


class Narrower(Protocol):
    """The narrower networks of the book."""

    def next_inside(self, network: Network, around: Network, start: int) -> Network | None:
        """Return the widest network inside ``network`` that begins exactly at ``start``, or None.

        If ``around`` begins at ``start`` too, only networks that are narrower than ``around`` count.
        """

    def board(self, network: Network, options: IdentifyOptions, direction: Direction) -> Board:
        """Return the accounts of a network."""


def beaten_by(
    rival: Rival, boards: Sequence[Board], network: Network | None, narrower: Narrower | None
) -> Rival | None:
    """Return an account that wins all requests of a value instead of ``rival``, or None.

    ``boards`` are the accounts of the value by the options of each switch. ``narrower`` is None unless narrower
    networks fill the network of the value.
    """
    winner: Rival | None = None
    for board in boards:
        level = board.levels.get(rival.id)
        if level is None:
            return None
        for cell in rival.cells(level, board.options):
            winner = board.beaten_by_equal(rival, cell) or board.more_general(cell, level)
            if winner is None and narrower is not None and network is not None:
                winner = _filled(network, narrower, cell, board)
            if winner is None:
                return None
    return winner


def is_hidden(cell: Cell, board: Board, network: Network | None, narrower: Narrower) -> bool:
    """Return True if no request reaches a cell, since other accounts come before it everywhere.

    ``network`` is None unless narrower networks fill the network of the value.
    """
    if board.more_general(cell, cell[0]) is not None:
        return True
    return network is not None and _filled(network, narrower, cell, board) is not None


def _filled(network: Network, narrower: Narrower, cell: Cell, board: Board) -> Rival | None:
    """Return an account of a narrower network if such accounts win everywhere in ``network``, or None."""
    bits = len(network.address) * 8
    same_prefix = board.options.rank == "tech_prefix_first"
    filled = int.from_bytes(network.address, "big")
    end = filled + (1 << (bits - network.length))
    around = network
    winner: Rival | None = None
    while filled < end:
        inside = narrower.next_inside(network, around, filled)
        if inside is None:
            return None
        found = narrower.board(inside, board.options, board.direction).more_general(
            cell, _ANY_LEVEL, same_prefix=same_prefix
        )
        if found is None:
            around = inside
            continue
        winner = found
        filled += 1 << (bits - inside.length)
    return winner
