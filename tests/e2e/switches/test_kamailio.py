"""A real switch: SIPp calls through Kamailio with the configs of docs/switches/kamailio, and identengine decides.

Each test runs for each way in which Kamailio asks, unless it concerns one way alone.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from e2e.switches.carrier import (
    DIALLED,
    FULL,
    OWN_NUMBER,
    PLAIN,
    PREFIXED,
    REJECTED,
    STRANGER,
    TOKEN,
    Carrier,
    caller,
    numbers,
    plain,
)
from support.kamailio import Kamailio
from support.operator import counted
from support.phones import VENDOR, Callers, Seen
from support.waiting import wait_for

WAYS = ("janssonrpcc", "redis", "radius")
IMPATIENT = {
    "janssonrpcc": {"TIMEOUT": 100, "RETRIES": 1},
    "redis": {"TIMEOUT": 100, "RETRIES": 1},
    "radius": {"RETRIES": 1},
}
"""Settings of a switch that does not wait for an engine that is away."""
Build = Callable[..., Carrier]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def build(tmp_path: Path, way: str) -> Iterator[Build]:
    with ExitStack() as stack:
        yield lambda **how: Carrier(tmp_path, stack, way, **how)


@pytest.fixture
def carrier(build: Build) -> Carrier:
    return build()


def only(*ways: str) -> pytest.MarkDecorator:
    """Return the mark of a test that concerns these ways alone."""
    return pytest.mark.parametrize("way", ways, indirect=True)


def test_each_way_that_a_call_can_go(carrier: Carrier) -> None:
    switch = carrier.switch(RING=2000)
    answered, dropped, ringing, busy, sick, silent, changed = (
        numbers(begin, 3) for begin in ("1", "2", "3", "486", "503", "6", "17")
    )
    running = [
        carrier.call(switch, "answered", PLAIN, *answered),
        carrier.call(switch, "hung_up", PLAIN, *dropped),
        carrier.call(switch, "cancelled", PLAIN, *ringing),
        carrier.call(switch, "486", PLAIN, *busy),
        carrier.call(switch, "500", PLAIN, *sick),  # RFC 3261 16.7: a proxy's own 503 would concern only itself
        carrier.call(switch, "408", PLAIN, *silent),
        carrier.call(switch, "reinvited", PLAIN, *changed),
        carrier.calls(switch, "retried", PLAIN, [(caller(0), "48699", "199")]),
        carrier.call(switch, "403", STRANGER, "44171"),
        carrier.call(switch, "480", FULL, "44171"),
        carrier.call(switch, "484", PREFIXED, "77%23", "77%2344171x" + "9" * 64),
        carrier.call(switch, "403", PREFIXED, "44171"),
        carrier.call(switch, "answered", PREFIXED, "77%2313", "77%2314;npdi"),
    ]
    running += [
        carrier.call(switch, kind, source, DIALLED.get(kind, "44171")) for kind, source in REJECTED.items()
    ]
    for one in running:
        one.ended()
    passed = (answered, dropped, ringing, busy, sick, silent, changed, ["48699"], ["199"])
    expected = [seen for group in passed for seen in plain(*group)]
    expected += [Seen("13", OWN_NUMBER, OWN_NUMBER), Seen("14", OWN_NUMBER, OWN_NUMBER)]
    assert Counter(carrier.seen()) == Counter(expected)
    carrier.holds(0)
    assert " ERROR: " not in switch.log.replace(_NOISE, ""), switch.log


_NOISE = (
    "ERROR: misc_radius [functions.c:279]: ki_radius_load_caller_avps(): Authz radius - Load Caller - REJECTED"
)
"""The line with which misc_radius reports each reject."""


def test_a_call_that_is_asked_for_once(carrier: Carrier) -> None:
    switch = carrier.switch()
    carrier.call(switch, "reinvited", PLAIN, "1").ended()
    server = carrier.engine.server
    wait_for(lambda: counted(server, "requests_stop"))
    assert counted(server, "requests_authorize") == 2, "one for each side, and none for the re-INVITE"
    carrier.holds(0)


def test_vendors_one_after_the_other(build: Build) -> None:
    carrier = build(vendors=2)
    switch = carrier.switch()
    running = [
        carrier.call(switch, "answered", PLAIN, *numbers("55", 3)),  # the first vendor fails
        carrier.call(switch, "500", PLAIN, "503"),  # both fail
        carrier.call(switch, "486", PLAIN, "486"),  # a busy number is not tried again
    ]
    for one in running:
        one.ended()
    first, second = carrier.vendors
    assert Counter(first.seen()) == Counter(plain(*numbers("55", 3)) + plain("503") + plain("486"))
    assert Counter(second.seen()) == Counter(plain(*numbers("55", 3)) + plain("503"))
    carrier.holds(0)
    talking = carrier.call(switch, "answered", PLAIN, "55", length=60)
    carrier.holds(2)  # the leg of the first vendor was stopped by name
    carrier.until(lambda: _active(carrier) == 2)
    talking.kill()


def test_vendors_at_the_same_time(build: Build) -> None:
    carrier = build(vendors=2)
    switch = carrier.switch(PARALLEL=1)
    running = [
        carrier.call(switch, "answered", PLAIN, *numbers("6", 3)),  # the first vendor rings, the second answers
        carrier.call(switch, "answered", PLAIN, *numbers("55", 3)),  # the first fails, the second answers
        carrier.call(switch, "cancelled", PLAIN, "3"),
        carrier.call(switch, "486", PLAIN, "486"),
    ]
    for one in running:
        one.ended()
    expected = plain(*numbers("6", 3)) + plain(*numbers("55", 3)) + plain("3") + plain("486")
    assert [Counter(vendor.seen()) for vendor in carrier.vendors] == [Counter(expected)] * 2
    carrier.holds(0)
    talking = carrier.call(switch, "answered", PLAIN, "6", length=60)
    carrier.until(lambda: _active(carrier) == 2)
    carrier.holds(2)  # the leg of the vendor that lost was stopped by name
    talking.kill()


def _active(carrier: Carrier) -> int:
    return counted(carrier.engine.server, "active")


def test_an_invite_that_comes_again_is_asked_once(carrier: Carrier) -> None:
    switch = carrier.switch()
    switch.insist(PLAIN, "486", 486)
    assert [seen.dialled for seen in carrier.seen()] == ["486"]
    server = carrier.engine.server
    wait_for(lambda: counted(server, "requests_stop"))
    assert counted(server, "requests_authorize") == 2, "one for each side"
    carrier.holds(0)


def test_callers_without_a_number(carrier: Carrier) -> None:
    switch = carrier.switch()
    carrier.calls(switch, "answered", PLAIN, [("anonymous", "11"), ("9" * 70, "12")]).ended()
    assert {one.dialled: one.asserted for one in carrier.seen()} == {"11": "", "12": ""}
    assert Seen("11", "anonymous", "", "gold") in carrier.seen()
    carrier.holds(0)
    assert " ERROR: " not in switch.log, switch.log


@only("janssonrpcc", "redis")
def test_a_switch_that_has_to_show_a_token(build: Build) -> None:
    carrier = build(config=f'[[switch]]\nname = "sbc1"\naddresses = ["127.0.0.0/8"]\ntoken = "{TOKEN}"\n')
    without = carrier.switch(**IMPATIENT[carrier.way])
    code, error = {"janssonrpcc": ("500", "token: expected"), "redis": ("503", "NOAUTH")}[carrier.way]
    carrier.call(without, code, PLAIN, "11").ended()
    assert error in without.log
    carrier.call(carrier.switch(**carrier.token()), "answered", PLAIN, "12").ended()
    carrier.holds(0)
    assert [seen.dialled for seen in carrier.seen()] == ["12"]
    assert TOKEN not in without.log + carrier.engine.server.log


@only("janssonrpcc")
def test_no_call_passes_without_a_slot_by_what_is_no_text(carrier: Carrier) -> None:
    switch = carrier.switch()
    switch.insist(PLAIN, "486", 400, mark="\xff")
    switch.insist(PLAIN, "4\xff", 400)
    switch.insist(PLAIN, "486", 486, mark='"\\u0000{[')
    assert counted(carrier.engine.server, "unreserved") == 0
    carrier.holds(0)


@only("redis", "radius")
def test_no_field_of_a_question_is_the_callers_choice(carrier: Carrier) -> None:
    switch = carrier.switch()
    switch.insist(STRANGER, f"4|src_ip={PLAIN}", 400 if carrier.way == "redis" else 403)
    switch.insist(STRANGER, f"4%7csrc_ip={PLAIN}", 484)
    switch.insist(STRANGER, "486", 403, mark=f"|src_ip={PLAIN}")
    switch.insist(PLAIN, "4\xff", 484)
    switch.insist(PLAIN, "486", 486, mark='"\\u0000{[|leg_id=1')
    assert counted(carrier.engine.server, "unreserved") == 0
    carrier.holds(0)


@only("janssonrpcc")
def test_a_caller_who_hangs_up_while_the_engine_is_asked(carrier: Carrier) -> None:
    switch = carrier.switch(ASKED=2)
    carrier.call(switch, "answered", PLAIN, "1").ended()
    os.kill(carrier.engine.server.decider, signal.SIGSTOP)
    asking = carrier.call(switch, "impatient", PLAIN, "1")
    asking.ended()
    os.kill(carrier.engine.server.decider, signal.SIGCONT)
    carrier.holds(1)  # the answer arrived after its call had ended
    carrier.holds(0)
    assert len(carrier.seen()) == 1


@only("redis", "radius")
def test_a_caller_who_hangs_up_while_a_worker_waits(carrier: Carrier) -> None:
    switch = carrier.switch(ASKED=2)
    carrier.call(switch, "answered", PLAIN, "1").ended()
    os.kill(carrier.engine.server.decider, signal.SIGSTOP)
    asking = carrier.call(switch, "impatient", PLAIN, "1")
    asking.ended()
    os.kill(carrier.engine.server.decider, signal.SIGCONT)
    server = carrier.engine.server
    wait_for(lambda: counted(server, "requests_stop") > 1)
    carrier.holds(0)
    assert len(carrier.seen()) == 1


def test_updates_keep_a_long_call_and_it_ends_by_itself(carrier: Carrier) -> None:
    # The engine frees calls without an update for 3 s. The switch ends calls after 6 s.
    switch = carrier.switch(UPDATE=1, FIRST_UPDATE=1, LONGEST=6)
    carrier.call(switch, "answered", PLAIN, "1", length=60)
    carrier.holds(2)
    carrier.holds(0)
    server = carrier.engine.server
    assert counted(server, "requests_update") >= 4
    assert counted(server, "lapsed_active") == 0


def test_a_report_that_the_engine_does_not_accept(carrier: Carrier) -> None:
    switch = carrier.switch(UPDATE=20_000_000)  # too long an interval
    carrier.call(switch, "answered", PLAIN, "1").ended()
    carrier.holds(0)  # the stop followed
    assert counted(carrier.engine.server, "requests_stop") > 0


def test_a_switch_that_starts_again_has_no_calls(carrier: Carrier) -> None:
    token = {"token": TOKEN} if carrier.way == "radius" else {}
    before = {"call_id": "of before", "src_ip": PLAIN, "dst_number": "1", **token}
    assert carrier.engine.server.authorize(**before)["accepted"]
    carrier.holds(1)
    carrier.switch()
    carrier.holds(0)


def test_a_switch_that_starts_before_its_engine(carrier: Carrier) -> None:
    carrier.engine.server.kill()
    switch = carrier.switch()
    carrier.engine.start()
    carrier.call(switch, "answered", PLAIN, "1").ended()
    carrier.holds(0)


def test_no_engine(carrier: Carrier) -> None:
    impatient = IMPATIENT[carrier.way]
    strict = carrier.switch(**impatient)
    # The engine may lose a report while it loads its book. The next update replaces the report.
    lenient = carrier.switch(**impatient, FIRST_UPDATE=1, UPDATE=3, AWAY=f'"sip:{VENDOR}:{carrier.vendor.port}"')
    for switch in (strict, lenient):
        carrier.call(switch, "answered", PLAIN, "10").ended()
    carrier.engine.server.kill()
    carrier.call(strict, "503", PLAIN, "11").ended()
    carrier.call(lenient, "503", STRANGER, "12").ended()
    carrier.call(lenient, "answered", PLAIN, "13", length=60)
    wait_for(lambda: len(carrier.seen()) == 3)
    carrier.engine.start()
    carrier.holds(1)  # the call exists, so it counts
    assert carrier.seen()[-1] == Seen("13", caller(0), "")


def _mix(carrier: Carrier, switch: Kamailio, together: Kamailio, scale: int) -> tuple[list[Callers], list[Seen]]:
    """Begin ``scale`` hundred calls of all kinds. Return them, and what the vendors must see of them.

    ``switch`` tries the vendors one after the other, and ``together`` lets them ring at the same time.
    """
    seconds = 2 + scale
    running, seen = [], []
    for kind, begin, count, times in (
        ("answered", "1", 18, 1),
        ("reinvited", "17", 3, 1),
        ("answered", "55", 9, 2),  # the first vendor fails
        ("hung_up", "2", 7, 1),
        ("cancelled", "3", 10, 1),
        ("486", "486", 6, 1),
        ("500", "503", 4, 2),
    ):
        dialled = numbers(begin, count * scale)
        running.append(carrier.call(switch, kind, PLAIN, *dialled, seconds=seconds))
        seen += plain(*dialled) * times
    for kind, begin, count in (("answered", "6", 7), ("cancelled", "36", 2), ("486", "4866", 2)):
        dialled = numbers(begin, count * scale)
        running.append(carrier.call(together, kind, PLAIN, *dialled, seconds=seconds))
        seen += plain(*dialled) * 2
    rewritten = numbers("18", 5 * scale)
    running.append(
        carrier.call(switch, "answered", PREFIXED, *(f"77%23{number}" for number in rewritten), seconds=seconds)
    )
    seen += [Seen(number, OWN_NUMBER, OWN_NUMBER) for number in rewritten]
    again = [
        (caller(n), number, number.replace("4867", "19")) for n, number in enumerate(numbers("4867", 3 * scale))
    ]
    running.append(carrier.calls(switch, "retried", PLAIN, again, seconds=seconds))
    seen += plain(*(first for _, first, _ in again)) + plain(*(second for _, _, second in again))
    for kind, source in REJECTED.items():
        count = 3 if kind.endswith(("source", "y")) else 1
        running.append(
            carrier.call(switch, kind, source, *[DIALLED.get(kind, "44171")] * count * scale, seconds=seconds)
        )
    return running, seen


@pytest.mark.parametrize("scale", [2, pytest.param(10, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
@pytest.mark.timeout(150)
def test_many_calls_and_an_engine_that_dies(build: Build, scale: int) -> None:
    carrier = build(vendors=2)
    # Without an engine for some seconds, the calls wait for it.
    patient = {"RETRIES": 8, "TIMEOUT": 300} if carrier.way == "janssonrpcc" else {"RETRIES": 10}
    switch = carrier.switch(**patient, ASKED=120)
    together = carrier.switch(**patient, ASKED=120, PARALLEL=1)
    running, seen = _mix(carrier, switch, together, scale)
    assert seen
    carrier.seen_more_than(20 * scale)
    os.kill(carrier.engine.server.decider, signal.SIGKILL)
    carrier.seen_more_than(45 * scale)
    carrier.engine.server.kill()
    carrier.engine.start()
    for one in running:
        one.ended()
    assert Counter(carrier.seen()) == Counter(seen)
    carrier.holds(0)


def test_a_second_engine_and_back(build: Build) -> None:
    carrier = build(engines=2)
    first, second = carrier.engines
    switch = carrier.switch()
    carrier.call(switch, "answered", PLAIN, "11").ended()
    carrier.call(switch, "403 unknown_source", STRANGER, "44171").ended()
    assert counted(second.server, "requests_authorize") == 0
    carrier.holds(0)
    first.server.kill()
    carrier.call(switch, "answered", PLAIN, *numbers("1", 3)).ended()
    carrier.call(switch, "480 account_capacity", FULL, "44171").ended()
    assert counted(second.server, "requests_authorize") == 7
    wait_for(lambda: second.held == 0)
    first.start()

    def returned() -> bool:
        carrier.call(switch, "answered", PLAIN, "12").ended()
        return counted(first.server, "requests_authorize") > 0

    wait_for(returned)
    carrier.holds(0)


@only("janssonrpcc", "redis")
def test_a_call_that_a_second_engine_holds(build: Build) -> None:
    carrier = build(engines=2)
    first, second = carrier.engines
    switch = carrier.switch()
    carrier.call(switch, "answered", PLAIN, "11").ended()
    carrier.holds(0)
    first.server.kill()
    talking = carrier.call(switch, "answered", PLAIN, "12", length=8)
    wait_for(lambda: second.held == 2)
    first.start()
    talking.ended()
    carrier.holds(0)
