"""Batches that fail, or whose changes do not fit the mirror (engine.md 5.2, 5.5, 5.8)."""

from __future__ import annotations

from identengine.calls.backend import (
    Admit,
    CallsMessage,
    Fault,
    LegResult,
    LegSelector,
    Refresh,
    Refused,
    Settings,
    Stop,
)
from identengine.calls.legs import call_key
from identengine.calls.levels import ClientLevels, Levels, account_counter, client_counters
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, MirrorFullError, RoomLeft
from identengine.calls.overview import (
    LegFilter,
)
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


def test_a_call_without_a_call_id_needs_no_room_in_the_set() -> None:
    mirror = Narrow()
    calls = Calls(Settings(max_legs=1), mirror)
    without_id = Admit(None, "o", "s", b"", ACCEPTED, LEVELS)
    answers = calls.apply([admit("a"), admit("b"), without_id], 1.0)
    assert [type(answer) for answer in answers] == [Decision, Refused, Decision]
    mirror.room = False
    answers = calls.apply([Stop(LegSelector(call_key("s", "a"), None, None)), admit("c")], 2.0)
    assert type(answers[1]) is Refused
    assert type(calls.apply([without_id], 3.0)[0]) is Decision, "also while the mirror is full"
    assert calls.gauges().turned_away == 2


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


def test_a_call_without_an_id_needs_no_room_in_a_full_set() -> None:
    calls = Calls(Settings(max_legs=1), Narrow())
    unreserved = Admit(None, "o", "s", b"", ACCEPTED, LEVELS)
    answers = calls.apply([admit("a"), unreserved, admit("b")], 1.0)
    assert answers == [ACCEPTED, ACCEPTED, Refused(Reason.OVERLOAD)]
    assert calls.gauges().held == calls.gauges().turned_away == 1


def test_undo_frees_the_leg_of_the_current_message_alone() -> None:
    calls = Calls(Settings(), Narrow())
    calls.apply([admit("earlier")], 1.0)
    calls.begin(2.0)
    calls.undo()
    assert calls.gauges().held == 1, "no message of this batch has admitted a leg"
    calls.answer(admit("same batch"))
    calls.batch.newest = None
    cells = calls.counts.room(LEVELS)
    assert isinstance(cells, tuple)
    calls.reserve(call_key("s", "faulty"), "o", "s", cells, b"", b"")
    calls.undo()  # the answer to the call could not be encoded
    assert calls.end() == ()
    assert calls.gauges().held == calls.gauges().reserved == 2
    assert calls.usage("accounts", 0, 10) == [(LEVELS.counter, 2)]


def test_the_usual_ways_answer_only_usual_messages() -> None:
    calls = Calls(Settings(), Narrow())
    calls.apply([admit("one"), admit("lapses")], 1.0)
    calls.apply([Admit(call_key("s", "several"), leg, "s", b"", ACCEPTED, LEVELS) for leg in ("o1", "o2")], 1.0)
    calls.apply(
        [Refresh("start", LegSelector(call_key("s", "one"), None, None), "s", None, None, lambda *_: LEVELS)], 2.0
    )
    calls.work(300.0)
    calls.begin(300.0)
    for call in ("lapses", "several", "unknown"):
        if call != "unknown":
            assert calls.stop_call(call_key("s", call)) is None
        assert calls.refresh_call("start", call_key("s", call), "s") is None
    assert calls.refresh_call("update", call_key("s", "one"), "t") == LegResult(True)
    (leg,) = calls.matching(LegSelector(call_key("s", "one"), None, None), LegFilter())
    assert (leg.switch, leg.due) == ("t", 300.0 + 7200.0)
    assert calls.stop_call(call_key("s", "unknown")) == LegResult(True, unknown=True, freed=0)
    assert calls.stop_call(call_key("s", "one")) == LegResult(True, freed=1)
    late = Refresh(
        "start", LegSelector(call_key("s", "one"), None, None), "s", None, lambda: LEVELS, lambda *_: LEVELS
    )
    assert calls.answer(late) == LegResult(True, unknown=True)
    calls.end()
    assert calls.gauges().held == 0
