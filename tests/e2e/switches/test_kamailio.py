"""A real switch: SIPp calls through Kamailio with the configs of docs/switches/kamailio, and identengine decides."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.books import ip_account, put_rows
from support.kamailio import ENGINE, VENDOR, Callers, Kamailio, Seen, callee, switching
from support.operator import counted, held
from support.ports import free_port
from support.server import Server
from support.waiting import wait_for

from identengine.model.records import Client, Did, SrcPolicy

PLAIN, FULL, PREFIXED, STRANGER = "127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"
"""Addresses of callers: a plain account, one without free slots, one with a prefix and one number, and none."""
OWN_NUMBER = "442079460201"
OUT = 900
"""The account of the vendor."""


class Site:
    """An engine, a vendor that receives the calls, and the switch that a test puts between them."""

    def __init__(self, folder: Path, stack: ExitStack, config: str = "") -> None:
        self._folder = folder
        self._stack = stack
        self.vendor = stack.enter_context(callee(folder))
        port = free_port(ENGINE)
        self._port = port
        self._config = f"""
            [listen]
            udp = ["127.0.0.1:0"]
            tcp = ["{ENGINE}:{port}"]
            {config}
        """
        out = {"orig_enabled": False, "term_enabled": True, "term_port": self.vendor.port}
        accounts = [
            ip_account(1, PLAIN),
            ip_account(2, FULL, orig_capacity=0),
            ip_account(3, PREFIXED, tech_prefix="77#", src_policy=SrcPolicy.OVERWRITE),
            ip_account(OUT, VENDOR, client_id=2, **out),
        ]
        clients = [Client(id=1, name="customer"), Client(id=2, name="vendor")]
        put_rows(folder / "store", accounts, clients, [Did(number=OWN_NUMBER, account_id=3)])
        self.start()
        stack.callback(self.close)

    def close(self) -> None:
        """Stop the engine."""
        self.engine.stop()

    def start(self) -> None:
        """Start the engine, or restart it on its port."""
        self.engine = Server(self._folder, self._config)

    def switch(self, **defines: object) -> Kamailio:
        """Start the switch with some lines of its config set."""
        return self._stack.enter_context(switching(self._folder, self._port, OUT, **defines))

    def call(self, switch: Kamailio, kind: str, source: str, *dialled: str, **how: float) -> Callers:
        """Call numbers from an address, each by another caller."""
        numbers = [(caller(index), number) for index, number in enumerate(dialled)]
        callers = Callers(self._folder, switch, kind, source, numbers, **how)
        self._stack.callback(callers.kill)
        return callers

    def holds(self, legs: int) -> None:
        """Wait until ``legs`` legs are held."""
        wait_for(lambda: held(self.engine) == legs)


def caller(index: int) -> str:
    """Return the number that a caller shows."""
    return f"4420{index:07}"


def plain(*dialled: str) -> list[Seen]:
    """Return the calls that the vendor receives if no number is rewritten."""
    return [Seen(number, caller(index), caller(index)) for index, number in enumerate(dialled)]


def numbers(begin: str, count: int) -> list[str]:
    """Return numbers to dial."""
    return [f"{begin}{index:05}" for index in range(count)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_each_way_that_a_call_can_go(site: Site) -> None:
    switch = site.switch(RING=2000)
    answered, dropped, ringing, busy, sick, silent = (
        numbers(begin, 3) for begin in ("1", "2", "3", "486", "503", "6")
    )
    running = [
        site.call(switch, "answered", PLAIN, *answered),
        site.call(switch, "hung_up", PLAIN, *dropped),
        site.call(switch, "cancelled", PLAIN, *ringing),
        site.call(switch, "486", PLAIN, *busy),
        site.call(switch, "500", PLAIN, *sick),  # RFC 3261 16.7: a proxy's own 503 would concern only itself
        site.call(switch, "408", PLAIN, *silent),
        site.call(switch, "403", STRANGER, "44171"),
        site.call(switch, "480", FULL, "44171"),
        site.call(switch, "484", PREFIXED, "77%23", "77%2344171x" + "9" * 64),
        site.call(switch, "403", PREFIXED, "44171"),
        site.call(switch, "answered", PREFIXED, "77%2313", "77%2314;npdi"),
    ]
    for one in running:
        one.ended()
    expected = [seen for group in (answered, dropped, ringing, busy, sick, silent) for seen in plain(*group)]
    expected += [Seen("13", OWN_NUMBER, OWN_NUMBER), Seen("14", OWN_NUMBER, OWN_NUMBER)]
    assert Counter(site.vendor.seen()) == Counter(expected)
    site.holds(0)
    assert " ERROR: " not in switch.log, switch.log


def test_an_invite_that_comes_again_is_asked_once(site: Site) -> None:
    switch = site.switch()
    switch.insist(PLAIN, "486", 486)
    assert [seen.dialled for seen in site.vendor.seen()] == ["486"]
    wait_for(lambda: counted(site.engine, "requests_stop"))
    assert counted(site.engine, "requests_authorize") == 2, "one for each side"
    site.holds(0)


def test_callers_without_a_number(site: Site, tmp_path: Path) -> None:
    switch = site.switch()
    pairs = [("anonymous", "11"), ("9" * 70, "12")]
    Callers(tmp_path, switch, "answered", PLAIN, pairs).ended()
    assert {one.dialled: one.asserted for one in site.vendor.seen()} == {"11": "", "12": ""}
    assert Seen("11", "anonymous", "") in site.vendor.seen()
    site.holds(0)
    assert " ERROR: " not in switch.log, switch.log


def test_a_switch_that_has_to_show_a_token(tmp_path: Path) -> None:
    config = '[[switch]]\nname = "sbc1"\naddresses = ["127.0.0.0/8"]\ntoken = "a-long-enough-secret"\n'
    with ExitStack() as stack:
        site = Site(tmp_path, stack, config)
        without = site.switch(TIMEOUT=100, RETRIES=1)
        site.call(without, "500", PLAIN, "11").ended()
        assert "token" in without.log
        site.call(site.switch(TOKEN='"a-long-enough-secret"'), "answered", PLAIN, "12").ended()
        site.holds(0)
        assert [seen.dialled for seen in site.vendor.seen()] == ["12"]
        assert "a-long-enough-secret" not in without.log + site.engine.log


def test_no_call_passes_without_a_slot_by_what_is_no_text(site: Site) -> None:
    switch = site.switch()
    switch.insist(PLAIN, "486", 400, mark="\xff")
    switch.insist(PLAIN, "4\xff", 400)
    switch.insist(PLAIN, "486", 486, mark='"\\u0000{[')
    assert counted(site.engine, "unreserved") == 0
    site.holds(0)


def test_a_caller_who_hangs_up_while_the_engine_is_asked(site: Site) -> None:
    switch = site.switch(ASKED=2)
    site.call(switch, "answered", PLAIN, "1").ended()
    os.kill(site.engine.decider, signal.SIGSTOP)
    asking = site.call(switch, "impatient", PLAIN, "1")
    asking.ended()
    os.kill(site.engine.decider, signal.SIGCONT)
    site.holds(1)  # the answer arrived after its call had ended
    site.holds(0)
    assert len(site.vendor.seen()) == 1


def test_updates_keep_a_long_call_and_it_ends_by_itself(site: Site) -> None:
    # The engine frees calls without an update for 3 s. The switch ends calls after 6 s.
    switch = site.switch(UPDATE=1, FIRST_UPDATE=1, LONGEST=6)
    site.call(switch, "answered", PLAIN, "1", length=60)
    site.holds(2)
    site.holds(0)
    assert counted(site.engine, "requests_update") >= 4
    assert counted(site.engine, "lapsed_active") == 0


def test_a_switch_that_starts_again_has_no_calls(site: Site) -> None:
    assert site.engine.authorize(call_id="of before", src_ip=PLAIN, dst_number="1")["accepted"]
    site.holds(1)
    site.switch()
    site.holds(0)


def test_no_engine(site: Site) -> None:
    strict = site.switch(TIMEOUT=100, RETRIES=1)
    lenient = site.switch(TIMEOUT=100, RETRIES=1, FIRST_UPDATE=1, AWAY=f'"sip:{VENDOR}:{site.vendor.port}"')
    for switch in (strict, lenient):
        site.call(switch, "answered", PLAIN, "10").ended()
    site.engine.kill()
    site.call(strict, "503", PLAIN, "11").ended()
    site.call(lenient, "503", STRANGER, "12").ended()
    site.call(lenient, "answered", PLAIN, "13", length=60)
    wait_for(lambda: len(site.vendor.seen()) == 3)
    site.start()
    site.holds(1)  # the call exists, so it counts
    assert site.vendor.seen()[-1] == Seen("13", caller(0), "")


@pytest.mark.timeout(150)
def test_many_calls_and_an_engine_that_dies(site: Site) -> None:
    many = 10 if "CI" in os.environ else 2  # hundreds of calls, or a thousand in CI
    # Without an engine for some seconds, the calls wait for it.
    switch = site.switch(RETRIES=8, TIMEOUT=500, ASKED=120)
    answered, dropped, ringing, busy, sick = (
        numbers(begin, count * many) for begin, count in (("1", 35), ("2", 15), ("3", 15), ("486", 8), ("503", 7))
    )
    running = [
        site.call(switch, kind, source, *dialled, seconds=2 + many)
        for kind, source, dialled in (
            ("answered", PLAIN, answered),
            ("hung_up", PREFIXED, [f"77%23{number}" for number in dropped]),
            ("cancelled", PLAIN, ringing),
            ("486", PLAIN, busy),
            ("500", PLAIN, sick),
            ("403", STRANGER, numbers("1", 10 * many)),
            ("480", FULL, numbers("1", 5 * many)),
            ("484", PREFIXED, ["77%23"] * 5 * many),
        )
    ]
    wait_for(lambda: len(site.vendor.seen()) > 20 * many)
    os.kill(site.engine.decider, signal.SIGKILL)
    wait_for(lambda: len(site.vendor.seen()) > 45 * many, 40)
    site.engine.kill()
    site.start()
    for one in running:
        one.ended()
    expected = [seen for group in (answered, ringing, busy, sick) for seen in plain(*group)]
    expected += [Seen(number, OWN_NUMBER, OWN_NUMBER) for number in dropped]
    assert Counter(site.vendor.seen()) == Counter(expected)
    site.holds(0)
