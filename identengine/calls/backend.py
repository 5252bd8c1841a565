"""What is asked of the set of calls and what it answers: the whole interface between the engine and a backend.

A backend is a :class:`Backend`: it is given a batch and answers it as if one by one in the order in which it came
(engine.md 5.3); before it returns, what the batch changed outlives the process. What only the engine knows of
calls that are there already, where they count say, is asked back through the callables of a message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, final

import msgspec

from identengine.calls.legs import Leg
from identengine.calls.levels import Levels
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction


@final
class Grant(msgspec.Struct, frozen=True, gc=False):
    """A call that may pass: its Decision, encoded once, for the mirror and for who asked."""

    packed: bytes
    """In MessagePack."""

    def decision(self) -> Decision:
        """Return it in its parts."""
        return unpacked(self.packed)


def in_parts(decision: Decision | Grant) -> Decision:
    """Return a decision in its parts, however it came."""
    return decision.decision() if isinstance(decision, Grant) else decision


packed: Callable[[Decision], bytes] = msgspec.msgpack.Encoder().encode
"""Return a decision in MessagePack, as it is kept."""
unpacked: Callable[[bytes], Decision] = msgspec.msgpack.Decoder(Decision).decode
"""Return a decision that was kept."""


class Admit(msgspec.Struct, frozen=True, gc=False):
    """Reserve a slot for a call that was decided (engine.md 5.2, 5.3)."""

    call: str | None
    """None: the request has no call id, so it is held to the limits but takes no slot (engine.md 5.10)."""
    leg: str
    switch: str
    content: bytes
    """What makes a request the same as another; a call that is held already has the answer that it had."""
    decision: Decision | Grant
    levels: Levels | None
    """Where the call is to be counted; None where it was rejected."""


class Named(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Legs of a call: a direction or leg id that is None matches all (engine.md 5.1)."""

    call: str
    direction: Direction | None
    leg_id: str | None

    @property
    def whole(self) -> bool:
        """Whether all legs of the call are meant."""
        return self.direction is None and self.leg_id is None


class Progress(msgspec.Struct, frozen=True):
    """``start`` and ``update`` (engine.md 5.4)."""

    method: Literal["start", "update"]
    named: Named
    switch: str
    interval: float | None
    """Seconds between updates, where they were announced."""
    identify: Callable[[], Levels | None] | None
    """Where an unknown call is to be counted; None where the message does not carry who it is."""
    levels: Callable[[Leg], Levels]
    """The limits, as they are now, of the levels at which a leg was taken."""


class Stop(msgspec.Struct, frozen=True, gc=False):
    """``stop``: free what is named (engine.md 5.4)."""

    named: Named


class Listed(msgspec.Struct, frozen=True):
    """``sync``: a part of a switch's complete list of its calls (engine.md 5.6)."""

    switch: str
    list_id: str
    part: int
    """From 1."""
    parts: int
    calls: tuple[Named, ...]
    confirm_empty: bool
    levels: Callable[[Leg], Levels]


class Switched(msgspec.Struct, frozen=True):
    """``switch_up`` and ``switch_down``: the switch has none of its older calls any more (engine.md 5.6)."""

    switch: str


Message: TypeAlias = Admit | Progress | Stop | Listed | Switched


@final
class Refused(msgspec.Struct, frozen=True):
    """There is no room for a call, or its leg cannot be; the answer that names the account is the engine's."""

    reason: Reason
    field: Literal["call_id", "leg_id"] | None = None
    """What is wrong with an ``invalid_request``."""


class Done(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The result of what is not a decision (interfaces.md 3, "Result of the life-cycle methods")."""

    ok: Literal[True]
    unknown: bool = False
    overcommit: bool = False
    missing: int | None = None
    freed: int | None = None


class Later:
    """An answer that takes steps between which other batches are decided (engine.md 5.8)."""

    def __init__(self) -> None:
        self.done: Done | None = None
        """The answer, once it is there."""
        self._waiting: list[Callable[[Done], None]] = []

    def then(self, call: Callable[[Done], None]) -> None:
        """Call back with the answer once it is there."""
        if self.done is not None:
            call(self.done)
        else:
            self._waiting.append(call)

    def finish(self, done: Done) -> None:
        """Give the answer."""
        self.done = done
        for call in self._waiting:
            call(done)
        self._waiting.clear()


Answer: TypeAlias = Decision | Grant | Refused | Done | Later


class Backend(Protocol):
    """A set of calls."""

    def apply(self, batch: Sequence[Message], now: float) -> list[Answer]:
        """Answer a batch; ``now`` is the time of the set's clock in seconds."""

    def work(self, now: float) -> bool:
        """Do one short step of what is due: lapses, lists, switches; returns whether more is left."""


Of: TypeAlias = Literal["accounts", "clients"]
"""Whose counters: keys of accounts are ``account_id << 1 | (the direction is termination)``, those of clients are
as in :mod:`identengine.calls.levels`."""


class Overview(Protocol):
    """What a backend shows to an operator, in short steps between which nothing stays open.

    Who goes through the set sees each leg that is there all the while; one that is started meanwhile moves, and
    may come twice or not at all.
    """

    @property
    def held(self) -> int:
        """Legs that hold slots."""

    @property
    def lapsed(self) -> int:
        """Legs that are remembered."""

    @property
    def overfull(self) -> bool:
        """Whether nothing is let in, since what changed last could not be kept."""

    def page(self, first: int, count: int) -> list[Leg] | None:
        """Return the legs at ``count`` places from ``first`` on; None behind the last one."""

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        """Return those of ``count`` counters from the ``first`` on that are not zero; None behind the last."""

    def matching(self, named: Named) -> list[Leg]:
        """Return the legs that are named, held or lapsed."""

    def apply(self, batch: Sequence[Message], now: float) -> list[Answer]:
        """As :meth:`Backend.apply`."""
