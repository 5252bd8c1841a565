"""What is known of a leg of a call, and how it is named (engine.md 5.1)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal, TypeAlias

import msgspec

from identengine.model import Decision, Direction

LONGEST_ID = 256
"""Of a call or leg id, in bytes; of a longer one the beginning and a hash are kept: room is bounded."""


State: TypeAlias = Literal[1, 2, 3]
"""Where a leg stands. No enum: to encode one takes longer than all the rest of a leg."""
RESERVED: Final = 1
ACTIVE: Final = 2
LAPSED: Final = 3
"""Remembered (engine.md 5.4); the others are held."""


class Counter:
    """One counter of legs that are held."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


class Standing(msgspec.Struct, array_like=True, dict=True):
    """Where legs of one account in one direction count; they share it."""

    account: int
    """The account's counter (:mod:`identengine.calls.levels`)."""
    counters: tuple[int, ...]
    """Those of the clients."""

    def count_in(self, cells: tuple[Counter, ...]) -> None:
        """Have these counters: the account's, and the clients' in their order. They are not kept in the mirror."""
        self.cells = cells


class Leg(msgspec.Struct, gc=False, array_like=True):
    """One leg. Times are seconds of the set's clock (:mod:`identengine.calls.clock`)."""

    slot: int
    """Its place in the set, and its key in the mirror; used again once the leg is gone."""
    call: str
    """:func:`call_key`."""
    leg: str
    """:func:`leg_key`."""
    switch: str
    """Name of the switch that last authorized, started, updated or listed it (engine.md 5.6)."""
    state: State
    standing: Standing
    """Where it counts: where it did when it was taken."""
    since: float
    """When it was taken."""
    due: float
    """When its lease, or, lapsed, its memory ends."""
    lease: float
    """What a start or update gives it, in seconds."""
    missed: str | None = None
    """The last complete list of its switch, where that lacked it (engine.md 5.6)."""
    content: bytes | None = None
    """While it is reserved: what a request has to be like to be its retransmission (engine.md 5.3)."""
    answer: Decision | None = None
    """While it is reserved: what a retransmission is answered."""

    @property
    def account_id(self) -> int:
        """Whose it is."""
        return self.standing.account >> 1

    @property
    def direction(self) -> Direction:
        """Which way the call goes."""
        return Direction.ORIGINATION if self.leg[0] == "o" else Direction.TERMINATION


def call_key(scope: str, call_id: str) -> str:
    """Return the key of a call: ids of different scopes never meet."""
    return f"{scope}\0{shortened(call_id)}"


def leg_key(direction: Direction, leg_id: str | None) -> str:
    """Return the key of a leg within its call; an absent leg id is one value (engine.md 5.1)."""
    return ("o" if direction is Direction.ORIGINATION else "t") + (shortened(leg_id) if leg_id else "")


def call_id_of(call: str) -> str:
    """Return the call id that a key was made of."""
    return call.partition("\0")[2]


def scope_of(call: str) -> str:
    """Return the scope that a key was made of."""
    return call.partition("\0")[0]


def shortened(text: str) -> str:
    """Return an id as it is kept: whole, or of a long one the beginning and a hash."""
    if len(text) <= LONGEST_ID and text.isascii():
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= LONGEST_ID:
        return text
    digest = blake2b(encoded, digest_size=16).hexdigest()
    return f"{encoded[: LONGEST_ID - 35].decode('utf-8', 'ignore')}…{digest}"
