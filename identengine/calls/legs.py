"""What is known of a leg of a call, and how it is named (engine.md 5.1)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal, TypeAlias

import msgspec

from identengine.calls.levels import Cells
from identengine.model.records import Direction

LONGEST_ID = 256
"""Of a call or leg id, in bytes; of a longer one the beginning and a hash are kept: room is bounded."""

_ORIGINATION = Direction.ORIGINATION  # a look at a member of an enum is dear

State: TypeAlias = Literal[1, 2, 3]
"""Where a leg stands. No enum: to encode one takes longer than all the rest of a leg."""
RESERVED: Final = 1
ACTIVE: Final = 2
LAPSED: Final = 3
"""Remembered (engine.md 5.4); the others are held."""


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
    cells: Cells
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
    answer: bytes | None = None
    """While it is reserved: what a retransmission is answered, a Decision in MessagePack."""

    @property
    def account_id(self) -> int:
        """Whose it is."""
        return self.cells[0].number >> 1

    @property
    def counters(self) -> tuple[int, ...]:
        """The numbers of the clients' counters that it is in."""
        return tuple(cell.number for cell in self.cells[1:])

    @property
    def direction(self) -> Direction:
        """Which way the call goes."""
        return Direction.ORIGINATION if self.leg[0] == "o" else Direction.TERMINATION


def call_key(scope: str, call_id: str) -> str:
    """Return the key of a call: ids of different scopes never meet."""
    if len(call_id) > LONGEST_ID or not call_id.isascii():
        call_id = shortened(call_id)
    return f"{scope}\0{call_id}"


def leg_key(direction: Direction, leg_id: str | None) -> str:
    """Return the key of a leg within its call; an absent leg id is one value (engine.md 5.1)."""
    way = "o" if direction is _ORIGINATION else "t"
    return way + shortened(leg_id) if leg_id else way


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
