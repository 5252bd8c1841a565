"""Admission: an authorization takes a slot, or finds that its leg has one (engine.md 5.2, 5.3, 5.9, 5.10)."""

from __future__ import annotations

from identengine.calls.backend import Admit, CallsAnswer, EncodedDecision, Refused, in_parts
from identengine.calls.batch import Batch
from identengine.calls.buckets import LevelBuckets
from identengine.calls.leg import Leg
from identengine.calls.legs import ACTIVE, LAPSED, RESERVED, Content, State, is_same
from identengine.calls.legtable import LegTable
from identengine.calls.levels import Cells, Levels
from identengine.calls.numbers import packed
from identengine.calls.rows import ROW_LEGS
from identengine.model.reasons import Reason


class Admission:
    """Answers authorizations, and reserves legs."""

    def __init__(self, table: LegTable, batch: Batch, cps_burst: float) -> None:
        self.retransmitted = self.turned_away = 0
        """Numbers of retransmissions, and of legs for which the set had no room."""
        self._table = table
        self._legs, self._rows, self._counts = table.legs, table.rows, table.counts
        self._batch = batch
        self.buckets = LevelBuckets(cps_burst)
        """The token buckets. Only admissions take tokens."""

    def admit(self, message: Admit) -> CallsAnswer:
        """Answer an authorization."""
        call, key = message.call, message.leg
        old = None
        if call is not None and call in self._legs:
            earlier = self.repeated(call, key, message.switch, message.content)
            if earlier is not None:
                return earlier if type(earlier) is Refused else in_parts(earlier)
            old = self._table.find(call, key)
            if old is not None and old.state != LAPSED:
                return self._admit_again(call, message)
        decision, levels = message.decision, message.levels
        if levels is None:
            return decision
        if call is None:  # it takes no slot, so that the room of the set does not matter
            refusal = self._refusal(levels)
            return decision if refusal is None else Refused(refusal)
        found = self.admissible(levels)
        if type(found) is Reason:
            return Refused(found)
        if old is not None:
            self._table.free(old)
        answer = decision.packed if type(decision) is EncodedDecision else packed(decision)
        self.reserve(call, key, message.switch, found, message.content, answer)
        return decision

    def repeated(self, call: str, key: str, switch: str, content: Content) -> EncodedDecision | Refused | None:
        """Answer an authorization whose leg is held already, or whose call may have no further leg.

        Return None if the call has to be decided.
        """
        if call not in self._legs:
            return None
        leg = self._table.find(call, key)
        if leg is None:
            return None if self._table.may_add_leg(call) else Refused(Reason.INVALID_REQUEST, field="leg_id")
        if leg.state == ACTIVE:
            return Refused(Reason.INVALID_REQUEST, field="call_id")
        if leg.state == LAPSED or leg.answer is None or not is_same(leg.content or b"", content):
            return None
        if leg.switch != switch or self._batch.is_older(leg):
            self._batch.busy = True
            self._rows.move(leg, RESERVED)
            self._batch.hand_over(leg, switch)
            self._batch.busy = False
        self.retransmitted += 1
        return EncodedDecision(leg.answer, leg.leg[0] == "t")

    def admissible(self, levels: Levels) -> Cells | Reason:
        """Return the counters of a leg that may be reserved now, and take its CPS tokens, or return the reason."""
        paced = levels.paced
        if paced and self.buckets.empty(levels, self._batch.now):
            return Reason.CPS_EXCEEDED
        found = self._counts.room(levels)
        if type(found) is Reason:
            self.turned_away += found is Reason.OVERLOAD
        elif paced:
            self.buckets.take(levels, self._batch.now)
        return found

    def _refusal(self, levels: Levels) -> Reason | None:
        """Return the reason why a call without a new slot is refused, or None. Then its CPS tokens are taken."""
        if self.buckets.empty(levels, self._batch.now):
            return Reason.CPS_EXCEEDED
        refusal = self._counts.full(levels)
        if refusal is None:
            self.buckets.take(levels, self._batch.now)
        return refusal

    def reserve(self, call: str, key: str, switch: str, cells: Cells, content: Content, answer: bytes) -> Leg:
        """Reserve a leg that has passed all checks, and count it.

        ``cells`` are those that ``Counts.room`` returned. The call must have no leg with this key. The row of the
        leg schedules the lease when the batch ends.
        """
        batch, rows, counts = self._batch, self._rows, self._counts
        row = rows.fresh[RESERVED]
        if row is None or len(row.legs) == ROW_LEGS:
            row = rows.begin(RESERVED)
        legs = row.legs
        # Arguments by position: keyword arguments make this call a quarter slower.
        leg = Leg(
            row.serial, len(legs), call, key, switch, RESERVED, cells, batch.now, batch.reserved_until,
            batch.active, None, content, answer,
        )  # fmt: skip
        batch.busy = True
        batch.newest = leg
        batch.admitted.append(leg)
        legs.append(leg)
        counts.held += 1
        for cell in cells:
            cell.held += 1
        if self._legs.setdefault(call, leg) is not leg:
            self._table.add(leg)
        batch.busy = False
        return leg

    def _admit_again(self, call: str, message: Admit) -> CallsAnswer:
        """Answer an authorization with other content than that of its reserved leg (engine.md 5.3)."""
        decision, levels = message.decision, message.levels
        if levels is None:
            return decision
        found = self.admissible_again(call, message.leg, levels)
        if type(found) is Reason:
            return Refused(found)
        answer = decision.packed if type(decision) is EncodedDecision else packed(decision)
        self.reserve_again(call, message.leg, message.switch, found, message.content, answer)
        return decision

    def state(self, call: str, key: str) -> State | None:
        """Return the state of the held or lapsed leg with these keys, or None."""
        leg = self._table.find(call, key)
        return None if leg is None else leg.state

    def lease_left(self, call: str, key: str) -> int:
        """Return the time that the lease of a held leg has left, in seconds, at least 1.

        An authorization renews no lease, so the answer to other content names this time.
        """
        return max(1, int(self._table.leg(call, key).due - self._batch.now))

    def admissible_again(self, call: str, key: str, levels: Levels) -> Cells | Reason:
        """Do what :meth:`admissible` does for a reserved leg that is decided again, as if its slot were free."""
        counts, leg = self._counts, self._table.leg(call, key)
        self._batch.busy = True
        counts.remove(leg.cells)
        refusal = self._refusal(levels)
        leg.cells = counts.add(leg.cells)
        self._batch.busy = False
        return counts.cells(levels) if refusal is None else refusal

    def reserve_again(
        self, call: str, key: str, switch: str, cells: Cells, content: Content, answer: bytes
    ) -> None:
        """Change a reserved leg to the content and the counters of its new decision. It keeps its lease."""
        leg = self._table.leg(call, key)
        self._batch.busy = True
        self._rows.move(leg, RESERVED)
        self._batch.hand_over(leg, switch)
        self._counts.remove(leg.cells)
        leg.cells = self._counts.add(cells)
        leg.content, leg.answer = content, answer
        self._batch.busy = False
