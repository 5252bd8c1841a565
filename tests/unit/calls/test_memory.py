"""Batches that fail, or whose changes do not fit the mirror (engine.md 5.2, 5.5, 5.8)."""

from __future__ import annotations

from identengine.calls.backend import Admit, CallsMessage, Fault, LegSelector, Refresh, Refused, Settings
from identengine.calls.legs import call_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, MirrorFullError, RoomLeft
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction

ORIG = Direction.ORIGINATION
ACCEPTED = Decision(accepted=True)
LEVELS = Levels(account_counter(1, ORIG), None, None, ClientLevels(client_counters(1, ORIG)))


class Narrow:
    """A mirror that can be full."""

    room_left = RoomLeft.AMPLE
    generation = 0
    room = True

    def complete(self) -> None:
        pass

    def write(self, changes: Changes) -> None:
        if not self.room and any(row.left for row in changes.rows.values()):
            raise MirrorFullError


def admit(call_id: str, content: bytes = b"") -> CallsMessage:
    return Admit(call_key("s", call_id), "o", "s", content, ACCEPTED, LEVELS)


def test_no_answer_accepts_a_call_that_was_rolled_back() -> None:
    mirror = Narrow()
    calls = Calls(Settings(), mirror)
    mirror.room = False
    batch = [admit("again"), admit("again"), admit("changed"), admit("changed", b"other")]
    answers = calls.apply(batch, 1.0)
    assert [answer.reason if isinstance(answer, Refused) else None for answer in answers] == [Reason.OVERLOAD] * 4
    assert calls.gauges().held == 0
    mirror.room = True
    calls.work(2.0)
    assert isinstance(calls.apply([admit("again")], 2.0)[0], Decision)


def test_a_fault_in_one_message_leaves_the_others_of_its_batch() -> None:
    def breaks(account: int, counters: tuple[int, ...]) -> Levels:
        raise ArithmeticError

    calls = Calls(Settings(), Narrow())
    calls.apply([admit("lapses")], 0.0)
    calls.work(300.0)
    calls.apply([admit("earlier")], 300.0)
    lapsed = LegSelector(call_key("s", "lapses"), None, None)
    batch = [admit("c"), Refresh("update", lapsed, "s", None, None, breaks), admit("d")]
    accepted, fault, after = calls.apply(batch, 301.0)
    assert isinstance(fault, Fault)
    assert isinstance(fault.error, ArithmeticError)
    assert isinstance(accepted, Decision)
    assert isinstance(after, Decision)
    calls.work(301.1)
    assert calls.gauges().held == 3
    assert isinstance(calls.apply([admit("c")], 302.0)[0], Decision)
    assert calls.gauges().held == 3
    calls.work(600.0)
    assert calls.gauges().held == 0
