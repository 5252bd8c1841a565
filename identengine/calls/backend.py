"""The messages to the set of calls and its answers: the complete interface between the engine and a backend.

A :class:`Backend` receives a batch and answers as if its messages arrived one by one, in order (engine.md 5.3).
Before it returns, the changes of the batch are stored outside the process. Only the engine knows some facts about
existing calls, such as the levels they count on. The backend asks for them through the callables of a message.

All other parts of this interface are plain values, so that no layer above knows how a backend keeps its legs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, final

import msgspec

from identengine.calls.legs import Content, State
from identengine.calls.levels import Cells, Levels
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of ``[calls]`` (interfaces.md 7). Times are in seconds."""

    max_legs: int = 100_000
    lapsed_max: int = 1_000_000
    reserved: float = 200.0
    active: float = 7200.0
    grace: float = 60.0
    global_capacity: int | None = None
    cps_burst: float = 1.0
    """Time without calls after which a token bucket is full, in seconds (engine.md 5.9)."""


@final
class EncodedDecision(msgspec.Struct, frozen=True, gc=False):
    """The decision of a call that may pass, encoded once for both the mirror and the switch."""

    packed: bytes
    """The decision in MessagePack or JSON, as the switch asked."""
    outward: bool = False
    """True for a call of termination."""

    @property
    def is_json(self) -> bool:
        """True if the decision is encoded in JSON. No map in MessagePack begins with a brace."""
        return self.packed[0] == _BRACE

    def decision(self) -> Decision:
        """Return the decoded decision."""
        return unpacked(self.packed)


def in_parts(decision: Decision | EncodedDecision) -> Decision:
    """Return ``decision`` as a Decision, decoded if necessary."""
    return decision.decision() if isinstance(decision, EncodedDecision) else decision


_from_messagepack: Callable[[bytes], Decision] = msgspec.msgpack.Decoder(Decision).decode
_from_json: Callable[[bytes], Decision] = msgspec.json.Decoder(Decision).decode
_BRACE = ord("{")


def unpacked(answer: bytes) -> Decision:
    """Return the decision that a leg keeps, in MessagePack or JSON."""
    return _from_json(answer) if answer[0] == _BRACE else _from_messagepack(answer)


class Admit(msgspec.Struct, frozen=True, gc=False):
    """A request to reserve a slot for a call that the engine has decided (engine.md 5.2, 5.3)."""

    call: str | None
    """Key of the call, or None if the request has no call id.

    Such a request must pass the limits but takes no slot (engine.md 5.10).
    """
    leg: str
    switch: str
    content: Content
    """Content of the request. A repetition of a held call with the same content receives the same answer."""
    decision: Decision | EncodedDecision
    levels: Levels | None
    """The levels on which the call will count, or None if the engine rejected it."""


class LegSelector(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A selection of the legs of one call. A direction or leg id of None matches all legs (engine.md 5.1)."""

    call: str
    direction: Direction | None
    leg_id: str | None

    @property
    def whole(self) -> bool:
        """True if the selector names all legs of the call."""
        return self.direction is None and self.leg_id is None


LimitsNow: TypeAlias = Callable[[int, tuple[int, ...]], Levels]
"""Return the levels on which a leg was counted, with their current limits (engine.md 5.2).

The arguments are the account's counter and those of the clients (:mod:`identengine.calls.levels`).
"""


class Refresh(msgspec.Struct, frozen=True):
    """A ``start`` or ``update`` (engine.md 5.4)."""

    method: Literal["start", "update"]
    selector: LegSelector
    switch: str
    interval: float | None
    """Announced time between updates, in seconds, or None if the switch did not announce it."""
    identify: Callable[[], Levels | None] | None
    """Return the levels of an unknown call. None if the message carries no fields that identify it."""
    levels: LimitsNow
    numbers: bytes | None = None
    """Numbers of an unknown call (:func:`~identengine.calls.numbers.ending_of`), or None without such fields."""


class Stop(msgspec.Struct, frozen=True, gc=False):
    """A ``stop``, which frees the selected legs (engine.md 5.4)."""

    selector: LegSelector


class SyncPart(msgspec.Struct, frozen=True):
    """A part of ``sync``, the complete list of a switch's calls (engine.md 5.6)."""

    switch: str
    list_id: str
    part: int
    """Number of the part, counted from 1."""
    parts: int
    calls: tuple[LegSelector, ...]
    confirm_empty: bool


class SwitchReset(msgspec.Struct, frozen=True):
    """A ``switch_up`` or ``switch_down``: the older calls of the switch no longer exist (engine.md 5.6)."""

    switch: str


CallsMessage: TypeAlias = Admit | Refresh | Stop | SyncPart | SwitchReset


@final
class Refused(msgspec.Struct, frozen=True):
    """A reject by the set of calls: no capacity, or an unusable leg. The engine adds the account to the answer."""

    reason: Reason
    field: Literal["call_id", "leg_id"] | None = None
    """The field that makes the request invalid, if the reason is ``invalid_request``."""


class LegResult(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The answer to a message that needs no decision (interfaces.md 3, "Result of the life-cycle methods")."""

    ok: Literal[True]
    """Always true. Wrong use of a method is answered with an error instead."""
    unknown: bool = False
    """True if no leg matched, and the message counted none (engine.md 5.4)."""
    overcommit: bool = False
    """True if a leg was counted although that exceeds a limit (engine.md 5.4)."""
    missing: int | None = None
    """Number of listed legs that the set does not know (engine.md 5.6)."""
    freed: int | None = None
    """Number of slots that the message freed."""
    repeated: bool = False
    """True if a list with this ``list_id`` was counted before; this list changed nothing (engine.md 5.6)."""


DONE, FREED_ONE, UNKNOWN = LegResult(True), LegResult(True, freed=1), LegResult(True, unknown=True, freed=0)
"""The answers to most messages of a call's life: ``start`` and ``update``, ``stop``, and an unknown ``stop``."""


class Deferred:
    """An answer that is computed in steps. Other batches are decided between the steps (engine.md 5.8)."""

    def __init__(self) -> None:
        self.result: LegResult | None = None
        """The answer, or None until it is complete."""
        self._waiting: list[Callable[[LegResult], None]] = []

    def then(self, call: Callable[[LegResult], None]) -> None:
        """Call ``call`` with the answer, as soon as it is complete."""
        if self.result is not None:
            call(self.result)
        else:
            self._waiting.append(call)

    def finish(self, result: LegResult) -> None:
        """Set the answer and call all waiting callbacks."""
        self.result = result
        for call in self._waiting:
            call(result)
        self._waiting.clear()


@final
class Fault(msgspec.Struct, frozen=True, eq=False):
    """A message that raised an exception. It took no slot. The other messages of its batch stand."""

    error: Exception


CallsAnswer: TypeAlias = Decision | EncodedDecision | Refused | LegResult | Deferred | Fault


class LegKeys(Protocol):
    """The keys of a leg (:mod:`identengine.calls.legs`)."""

    call: str
    leg: str


class BatchState(Protocol):
    """The state of a batch that is being answered."""

    newest: Any
    """The leg that :meth:`Backend.undo` would free. Each message sets it to None first."""


class UsualBackend(Protocol):
    """The parts of a set of calls that the usual way asks, without a message for each."""

    @property
    def batch(self) -> BatchState:
        """The state of the current batch."""

    @property
    def legs(self) -> Mapping[str, object]:
        """The legs that are held or remembered, by call key."""

    def state(self, call: str, leg: str, /) -> State | None:
        """Return the state of the held or lapsed leg with these keys, or None."""

    def repeated(self, call: str, leg: str, switch: str, content: Content, /) -> EncodedDecision | Refused | None:
        """Return the answer to a call whose leg is held already, or None if the call has to be decided.

        A retransmission gets its earlier answer (engine.md 5.3).
        """

    def admissible(self, levels: Levels, /) -> Cells | Reason:
        """Return the counters of a leg that may be reserved now, and take its CPS tokens, or return the reason."""

    def reserve(
        self, call: str, leg: str, switch: str, cells: Cells, content: Content, answer: bytes, /
    ) -> object:
        """Reserve a leg that :meth:`admissible` let pass, and count it."""

    def lease_left(self, call: str, leg: str, /) -> int:
        """Return the time that the lease of a held leg has left, in seconds, at least 1."""

    def admissible_again(self, call: str, leg: str, levels: Levels, /) -> Cells | Reason:
        """Do what :meth:`admissible` does for a reserved leg that is decided again, as if its slot were free."""

    def reserve_again(
        self, call: str, leg: str, switch: str, cells: Cells, content: Content, answer: bytes, /
    ) -> object:
        """Change a leg that :meth:`admissible_again` let pass. It keeps its lease (engine.md 5.3)."""

    def stop_call(self, call: str, /) -> LegResult | None:
        """Answer a ``stop`` of a whole call if it has one held leg or is unknown, or return None."""

    def stop_leg(self, selector: LegSelector, /) -> LegResult | None:
        """Answer a ``stop`` of some legs of a call if it names one held leg or none, or return None."""

    def is_only_leg(self, selector: LegSelector, /) -> bool:
        """Return True if ``selector`` names the only leg of its call."""

    def refresh_call(
        self, method: Literal["start", "update"], call: str, switch: str, interval: float | None, /
    ) -> LegResult | None:
        """Answer a ``start`` or ``update`` of a whole call if it has one held leg, or return None."""


class Backend(UsualBackend, Protocol):
    """A set of calls. A batch begins, its messages are answered one by one, and it ends."""

    def begin(self, now: float) -> None:
        """Open a batch. ``now`` is the time of the set's clock in seconds."""

    def answer(self, message: CallsMessage) -> CallsAnswer:
        """Answer a message."""

    def undo(self) -> None:
        """Free the newest leg, and derive everything else from the legs again, after a fault within a message."""

    def roll_back(self) -> Sequence[LegKeys]:
        """Free and return the legs that the batch has admitted, after a fault of :meth:`end`."""

    def end(self) -> Sequence[LegKeys]:
        """Store what the batch changed. Return the legs that were admitted, but could not be stored."""

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[CallsAnswer]:
        """Answer a batch. ``now`` is the time of the set's clock in seconds.

        If this method raises an exception, all calls of the batch must be rejected. They hold no slots.
        """

    def work(self, now: float) -> bool:
        """Do one short step of pending work (leases, lists, resets). Return True if more work is left."""
