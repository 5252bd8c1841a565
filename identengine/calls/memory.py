"""The set of calls in the memory of the decider (engine.md 5; docs/decisions/one-decider.md).

Each rule is a plain operation on dicts, without locks or races. The legs are the truth, and counters follow them.
The changes of a batch are written to the mirror together, before the batch is answered.

A batch is :meth:`Calls.begin`, then its messages one by one, then :meth:`Calls.end`. :meth:`Calls.apply` is these
three in one. Each loop sets :attr:`Batch.newest` of :attr:`Calls.batch` to None before each message, so that
:meth:`Calls.undo` frees no leg of an earlier message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from identengine.calls.admission import Admission
from identengine.calls.backend import (
    Admit,
    CallsAnswer,
    CallsMessage,
    EncodedDecision,
    Fault,
    LegSelector,
    Refresh,
    Refused,
    Settings,
    Stop,
    SwitchReset,
    SyncPart,
)
from identengine.calls.batch import Batch
from identengine.calls.counts import Counts
from identengine.calls.expiry import Expiry
from identengine.calls.leg import Leg, Row, filtered
from identengine.calls.legs import LAPSED, RESERVED
from identengine.calls.legtable import LegTable
from identengine.calls.levels import Levels
from identengine.calls.leveluse import LevelUse, level_uses
from identengine.calls.listedlegs import ListedLegs
from identengine.calls.mirror import Changes, Mirror, RoomLeft
from identengine.calls.mirroring import Mirroring
from identengine.calls.overview import (
    Gauges,
    LegFilter,
    LegView,
    Of,
)
from identengine.calls.progress import Progress
from identengine.calls.sync import Lists, Note
from identengine.calls.tombstones import TombstoneRow, Tombstones
from identengine.model.reasons import Reason
from identengine.model.records import Decision

STEP = 256
"""Rows of stops that one step of :meth:`Calls.work` forgets, and legs that it moves to compact rows."""
TOMBSTONES_ROOM, TOMBSTONES_LEG_ROOM = 1024 * 1024, 256
"""Space for stops in the mirror, in bytes: a fixed part, and a part for each leg of ``max_legs``."""
_INSTANT = 1e-6
_AMPLE = RoomLeft.AMPLE  # looking up an enum member is slow


class Calls:
    """A set of calls in memory. It implements the interfaces of :mod:`identengine.calls.backend`."""

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self._settings = settings
        self._mirror = mirror
        self.counts = Counts(settings.global_capacity, settings.max_legs)
        self._table = table = LegTable(self.counts)
        self._rows = table.rows
        self.legs = table.legs
        """By call key: the leg of the call, or its legs by leg key if it has several. Only read it."""
        self.batch = Batch.of(settings)
        """The batch that is being answered."""
        self._expiry = Expiry(table, settings)
        self._tombstones = Tombstones(TOMBSTONES_ROOM + TOMBSTONES_LEG_ROOM * settings.max_legs)
        self._admission = Admission(table, self.batch, settings.cps_burst)
        progress = Progress(table, self.batch, self._expiry, self._tombstones, self._admission)
        self._changes = Changes(table.rows.changed)
        legs = ListedLegs(table, self._expiry, settings, self._changes)
        self._lists = Lists(legs, 2 * settings.max_legs, self.batch.freeing)
        self._mirroring = Mirroring(mirror, self._changes, table, self._tombstones, self._lists, settings.max_legs)
        self._open = False
        """True while a batch is being answered. If it is true when the next one begins, a fault cut it short."""
        self._rolled_back: Sequence[Leg] = ()
        """The legs that the end of the batch frees, since the mirror could not store them."""
        self._floor = 0.0
        self._handlers: dict[type, Callable[[Any], CallsAnswer]] = {
            Admit: self._admission.admit,
            Refresh: progress.refresh,
            Stop: progress.stop,
            SyncPart: self._sync,
            SwitchReset: self._reset,
        }
        self.find = table.find
        self.repeated, self.state = self._admission.repeated, self._admission.state
        self.admissible = self._admission.admissible
        self.reserve = self._admission.reserve
        self.lease_left, self.admissible_again = self._admission.lease_left, self._admission.admissible_again
        self.reserve_again = self._admission.reserve_again
        self.refresh_call = progress.refresh_call
        self.stop_call, self.stop_leg = progress.stop_call, progress.stop_leg
        self.is_only_leg = table.is_only_leg

    def restore(
        self, rows: Sequence[Row], stops: Iterable[tuple[int, TombstoneRow]], notes: Mapping[str, Note], now: float
    ) -> None:
        """Restore the set that a mirror stored (engine.md 5.8)."""
        self._table.restore(rows)
        for serial, row in stops:
            self._tombstones.restore(serial, row)
        for name, value in notes.items():
            self._lists.restore(name, value, now)
        self._rows.seal()
        self._mirroring.write()

    # ---- messages

    def apply(self, batch: Sequence[CallsMessage], now: float) -> list[CallsAnswer]:
        """Answer a batch as if its messages had arrived one by one. Its changes are in the mirror on return.

        If this method raises an exception, all calls of the batch must be rejected. They hold no slots.
        """
        self.begin(now)
        answers: list[CallsAnswer] = []
        for message in batch:
            self.batch.newest = None
            try:
                answers.append(self.answer(message))
            except Exception as error:
                self.undo()
                answers.append(Fault(error))
        rolled_back = self._store()
        if rolled_back:
            self._refuse(batch, answers, {(leg.call, leg.leg) for leg in rolled_back})
        self._open = False
        return answers

    def begin(self, now: float) -> None:
        """Begin a batch. ``now`` is the time of the set's clock in seconds."""
        if self._open:
            self._recover()
        batch = self.batch
        batch.now = now = max(now, self._floor)
        batch.reserved_until, batch.active_until = now + batch.reserved, now + batch.active
        batch.admitted.clear()
        batch.newest, batch.busy = None, False
        self._rolled_back, self._open = (), True

    def answer(self, message: CallsMessage) -> CallsAnswer:
        """Answer one message of the batch. After an exception, :meth:`undo` must be called."""
        self.batch.busy = True
        answer = self._handlers[type(message)](message)
        self.batch.busy = False
        return answer

    def undo(self) -> None:
        """Free the leg that the current message admitted, after a fault within the message. The rest stands.

        If the fault left a change incomplete, everything is derived from the legs in the rows again. That takes
        some 2 ms for 1,000 legs.
        """
        batch = self.batch
        if batch.busy:
            self._table.rebuild()
        if batch.newest is not None:
            batch.busy = True
            self._free([batch.newest])
            batch.newest = None
        batch.busy = False

    def end(self) -> Sequence[Leg]:
        """End a batch: its changes are in the mirror on return. Return the admissions that were rolled back.

        They hold no slots, and must be rejected, since the mirror could not store them. If this method raises an
        exception, all admissions of the batch must be rejected.
        """
        rolled_back = self._store()
        self._open = False
        return rolled_back

    def roll_back(self) -> Sequence[Leg]:
        """Implement :meth:`identengine.calls.backend.Backend.roll_back`."""
        self._table.rebuild()
        freed = [*self._rolled_back, *self._free(self.batch.admitted)]
        self._open = False
        return freed

    def _store(self) -> Sequence[Leg]:
        """Store the changes of a batch in the mirror. Return the admissions that were rolled back."""
        stops = self._tombstones
        if stops.calls or stops.parts:
            stopped = stops.row(self.batch.now)
            if not self._mirroring.overfull:  # else only memory keeps them, as stops need the reserve
                self._changes.tombstones.update(stopped)
        self._rows.seal()
        if self._mirroring.write():
            return ()
        rolled_back = self._held([leg for leg in self.batch.admitted if leg.state == RESERVED])
        self._rolled_back = rolled_back
        self._free(rolled_back)
        self._rows.seal()
        self._mirroring.write()  # the other changes of the batch, now or later
        self._admission.turned_away += len(rolled_back)
        return rolled_back

    def _free(self, legs: Iterable[Leg]) -> list[Leg]:
        """Free those of these legs that are held. Return them."""
        held = self._held(legs)
        for leg in held:
            self._table.free(leg)
        return held

    def _held(self, legs: Iterable[Leg]) -> list[Leg]:
        """Return those of these legs that are held."""
        return [leg for leg in legs if leg.state != LAPSED and self._table.find(leg.call, leg.leg) is leg]

    def _recover(self) -> None:
        """Make the set consistent after a fault within a batch, and free the slots of its rejected calls.

        The other changes of the batch are kept: they are of calls that exist or ended.
        """
        self._table.rebuild()
        self._free(self.batch.admitted)
        self._open = False

    def _refuse(
        self, batch: Sequence[CallsMessage], answers: list[CallsAnswer], rolled_back: set[tuple[str, str]]
    ) -> None:
        """Replace the answers that accept calls which were rolled back."""
        for position, (message, answer) in enumerate(zip(batch, answers, strict=True)):
            if not isinstance(message, Admit) or (message.call, message.leg) not in rolled_back:
                continue  # the batch may hold several authorizations of one leg
            if isinstance(answer, EncodedDecision) or (isinstance(answer, Decision) and answer.accepted):
                answers[position] = Refused(Reason.OVERLOAD)

    def _sync(self, message: SyncPart) -> CallsAnswer:
        return self._lists.receive(message, self.batch.now)

    def _reset(self, message: SwitchReset) -> CallsAnswer:
        answer = self._lists.reset(message, self.batch.now)
        batch = self.batch
        batch.now = self._floor = batch.now + _INSTANT  # later messages of the batch are younger than the reset
        batch.reserved_until, batch.active_until = batch.now + batch.reserved, batch.now + batch.active
        return answer

    # ---- pending work

    def work(self, now: float) -> bool:
        """Do one step of pending work: leases, memories, stops, jobs and rows. Return True if more is due."""
        self.begin(now)
        now, tight = self.batch.now, self._mirror.room_left is not _AMPLE
        stored = not self._rows.changed
        more = self._expiry.lapse(now)
        more |= self._expiry.forget(now, early=tight)
        self._changes.tombstones.update(dict.fromkeys(self._tombstones.forget(now, STEP)))
        more |= self._tombstones.due(now)
        self.counts.drop_idle()
        more |= self._lists.step(now)
        if stored:  # else the mirror had no space for the changes, and moved legs would be more
            more |= self._rows.compact(STEP, tight=tight)
        more |= self._mirroring.write_anew()
        self._rows.seal()
        self._mirroring.write()
        self._open = False
        return more

    # ---- the operator's view (identengine.calls.overview.Overview)

    def gauges(self) -> Gauges:
        """Implement :meth:`identengine.calls.overview.Overview.gauges`."""
        return Gauges(
            held=self.counts.held,
            reserved=self._rows.count(RESERVED),
            lapsed=self._table.lapsed,
            max_legs=self._settings.max_legs,
            global_capacity=self._settings.global_capacity,
            overfull=self._mirroring.overfull,
            lapsed_reserved=self._expiry.lapsed_reserved,
            lapsed_active=self._expiry.lapsed_active,
            retransmitted=self._admission.retransmitted,
            turned_away=self._admission.turned_away,
        )

    def page(self, cursor: int, count: int, conditions: LegFilter) -> tuple[list[LegView], int | None]:
        """Implement :meth:`identengine.calls.overview.Overview.page`."""
        legs, following = self._table.run(cursor, count)
        return list(filtered(legs, conditions)), following

    def matching(self, selector: LegSelector, conditions: LegFilter) -> list[LegView]:
        """Implement :meth:`identengine.calls.overview.Overview.matching`."""
        return list(filtered(self._table.matching(selector), conditions))

    def level_uses(self, levels: Levels) -> list[LevelUse]:
        """Implement :meth:`identengine.calls.leveluse.LevelUses.level_uses`."""
        return level_uses(levels, self.counts, self._admission.buckets, self.batch.now)

    def usage(self, of: Of, first: int, count: int) -> list[tuple[int, int]] | None:
        """Implement :meth:`identengine.calls.overview.Overview.usage`."""
        page = self.counts.page(first, count, of_accounts=of == "accounts")
        return [(counter, held) for counter, held in page if held > 0] if page else None
