"""A real switch that asks by RADIUS: SIPp calls through Sippy's B2BUA with the files of docs/switches/sippy."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.books import ip_account, put_rows
from support.operator import asked, counted, held
from support.phones import Callers
from support.ports import free_port
from support.server import Server
from support.sippy import SECRET, Sippy, callers, client_config, running, vendor
from support.waiting import PATIENCE, wait_for

from identengine.model.reasons import Reason
from identengine.model.records import Account, Client, ClientStatus, Did, IdentBy, SrcPolicy
from identengine.store.vault import Vault, default_key_file

ENGINES = "127.0.0.4", "127.0.0.3"
VENDORS = "127.0.0.6", "127.0.0.8"
"""Vendors in the order of the routes. The second one answers numbers 503…, which the first one rejects."""
PLAIN, PREFIXED, LOGIN = "127.0.0.11", "127.0.0.13", "127.0.0.31"
"""Addresses of callers: a plain account, one with a prefix and one number, and one that logs in."""
OWN_NUMBER = "442079460201"
PASSWORD = "of alice"
REJECTED = {
    Reason.UNKNOWN_SOURCE: ("127.0.0.14", "44171"),
    Reason.GATEWAY_MISMATCH: ("127.0.0.15", "44171"),
    Reason.PROTOCOL_MISMATCH: ("127.0.0.16", "44171"),
    Reason.PORT_MISMATCH: ("127.0.0.17", "44171"),
    Reason.TECH_PREFIX_MISMATCH: (PREFIXED, "44171"),
    Reason.INVALID_DESTINATION: (PREFIXED, "77%23"),
    Reason.AMBIGUOUS: ("127.0.0.18", "44171"),
    Reason.AUTH_REQUIRED: ("127.0.0.19", "44171"),
    Reason.ACCOUNT_DISABLED: ("127.0.0.20", "44171"),
    Reason.CLIENT_BLOCKED: ("127.0.0.21", "44171"),
    Reason.SRC_NOT_ALLOWED: ("127.0.0.22", "44171"),
    Reason.NO_DID: ("127.0.0.23", "44171"),
    Reason.ACCOUNT_CAPACITY: ("127.0.0.24", "44171"),
    Reason.CLIENT_CAPACITY: ("127.0.0.25", "44171"),
    Reason.RESELLER_CAPACITY: ("127.0.0.26", "44171"),
    Reason.CPS_EXCEEDED: ("127.0.0.27", "44171"),
}
"""A call that is rejected for each reason: its source, and the number that it dials."""
CLIENTS = [
    *(Client(id=number, name=f"client {number}") for number in (1, 2, 3)),
    Client(id=4, name="blocked", status=ClientStatus.BLOCKED),
    Client(id=5, name="full", orig_capacity=0),
    Client(id=6, name="reseller", capacity=0),
    Client(id=7, name="of the reseller", parent_id=6),
]


def accounts() -> list[Account]:
    """Return the accounts of customers and vendors."""

    def at(reason: Reason, account_id: int, **fields: Any) -> Account:
        return ip_account(account_id, REJECTED[reason][0], **fields)

    return [
        ip_account(1, PLAIN),
        ip_account(2, PREFIXED, tech_prefix="77#", src_policy=SrcPolicy.OVERWRITE),
        at(Reason.GATEWAY_MISMATCH, 15, gateways=("another",)),
        at(Reason.PROTOCOL_MISMATCH, 16, term_protocol="h323"),
        at(Reason.PORT_MISMATCH, 17, term_port=5060),
        at(Reason.AMBIGUOUS, 18),
        at(Reason.AMBIGUOUS, 28, client_id=2),
        at(Reason.ACCOUNT_DISABLED, 20, orig_enabled=False),
        at(Reason.CLIENT_BLOCKED, 21, client_id=4),
        at(Reason.SRC_NOT_ALLOWED, 22, src_policy=SrcPolicy.REJECT),
        at(Reason.NO_DID, 23, src_policy=SrcPolicy.OVERWRITE),
        at(Reason.ACCOUNT_CAPACITY, 24, orig_capacity=0),
        at(Reason.CLIENT_CAPACITY, 25, client_id=5),
        at(Reason.RESELLER_CAPACITY, 26, client_id=7),
        at(Reason.CPS_EXCEEDED, 27, orig_cps=0),
        *(
            ip_account(900 + index, vendor, client_id=3, orig_enabled=False, term_enabled=True)
            for index, vendor in enumerate(VENDORS)
        ),
    ]


def named_accounts(vault: Vault) -> list[Account]:
    """Return accounts with passwords. The one that logs in has the terminator part enabled, too."""
    password = vault.encrypt(PASSWORD)
    common: dict[str, Any] = {"client_id": 2, "ident_by": IdentBy.NAME, "password": password}
    return [
        Account(id=19, name="named", ident=(REJECTED[Reason.AUTH_REQUIRED][0],), **common),
        Account(id=31, name="alice", ident=("alice",), term_enabled=True, **common),
    ]


class Site:
    """One or two engines, two vendors, and the switch that a test puts between them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.vendors = vendor(folder, VENDORS[0]), vendor(folder, VENDORS[1], answers_503=True)
        for one in self.vendors:
            stack.enter_context(running(one))
        self.engines: list[Server] = []
        self._ports = [(free_port(address), free_port(address)) for address in ENGINES]
        self.start()

    @property
    def engine(self) -> Server:
        """The first engine."""
        return self.engines[0]

    def start(self, number: int = 0) -> None:
        """Start an engine, or restart it on its ports."""
        folder = self._folder / f"engine {number}"
        if not folder.exists():
            folder.mkdir()
            put_rows(folder / "store", accounts(), CLIENTS, [Did(number=OWN_NUMBER, account_id=2)])
            vault = Vault.from_file(default_key_file(folder / "store"), create=True)
            put_rows(folder / "store", named_accounts(vault))
        auth, acct = self._ports[number]
        address = ENGINES[number]
        config = f"""
            [listen]
            udp = ["127.0.0.1:0"]
            tcp = ["127.0.0.1:0"]
            radius_auth = ["{address}:{auth}"]
            radius_acct = ["{address}:{acct}"]
            [identify]
            strict_ambiguity = true
            [[switch]]
            name = "sippy1"
            addresses = ["127.0.0.0/8"]
            secret = "{SECRET}"
            [switch.radius]
            ignore_password = "cisco"
            require_message_authenticator = true
            map = {{ interval = [85], leg_id = ["h323-remote-address"] }}
        """
        server = Server(folder, config, patient=True)
        self._stack.callback(server.stop)
        self.engines[number : number + 1] = [server]

    def switch(self, *options: str, announce: bool = True, **values: object) -> Sippy:
        """Start the switch with options, and with values in the config of its RADIUS client."""
        servers = [f"{address}:{auth}:{acct}" for address, (auth, acct) in zip(ENGINES, self._ports, strict=True)]
        routes = [f"{one.address}:{one.port};hs_scodes=486,600,603" for one in self.vendors]
        folder = self._folder / f"switch {len(list(self._folder.iterdir()))}"
        folder.mkdir()
        config = client_config(folder, servers[: len(self.engines)], routes, **values)
        started = Sippy(folder, config, "--max_radiusclients=6", *options, announce=announce)
        self._stack.enter_context(running(started))
        return started

    def call(self, switch: Sippy, kind: str, source: str, *dialled: str, **how: Any) -> Callers:
        """Call numbers from an address, each by another caller."""
        numbers = [(caller(index), number) for index, number in enumerate(dialled)]
        placed = callers(self._folder, switch, kind, source, numbers, **how)
        self._stack.callback(placed.kill)
        return placed

    def holds(self, legs: int, number: int = 0, seconds: float = PATIENCE) -> None:
        """Wait until an engine holds ``legs`` legs."""
        wait_for(lambda: held(self.engines[number]) == legs, seconds)

    def legs(self) -> set[tuple[str, int]]:
        """Return direction and account of all legs that the first engine holds."""
        return {(row["direction"], row["account_id"]) for row in asked(self.engine, ask="calls")["rows"]}

    def seen(self) -> Counter[tuple[str, str, str]]:
        """Return vendor, dialled number and caller's number of all calls that arrived."""
        return Counter((one.address, call.dialled, call.shown) for one in self.vendors for call in one.seen())


def caller(index: int) -> str:
    """Return the number that a caller shows."""
    return f"4420{index:07}"


def numbers(begin: str, count: int) -> list[str]:
    """Return numbers to dial."""
    return [f"{begin}{index:05}" for index in range(count)]


def arrived(vendor: int, *dialled: str) -> Counter[tuple[str, str, str]]:
    """Return the calls that a vendor receives if no number is rewritten."""
    return Counter((VENDORS[vendor], number, caller(index)) for index, number in enumerate(dialled))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_each_reason_and_each_way_that_a_call_can_take(site: Site) -> None:
    switch = site.switch()
    answered, dropped, ringing, busy, forked, changed = (
        numbers(begin, 3) for begin in ("1", "2", "3", "486", "503", "14")
    )
    running = [
        site.call(switch, "answered", PLAIN, *answered),
        site.call(switch, "hung_up", PLAIN, *dropped),
        site.call(switch, "cancelled", PLAIN, *ringing),
        site.call(switch, "486", PLAIN, *busy),
        site.call(switch, "answered", PLAIN, *forked),
        site.call(switch, "reinvited", PLAIN, *changed),
        site.call(switch, "answered", PREFIXED, "77%2313"),
        *(site.call(switch, "403", source, dialled) for source, dialled in REJECTED.values()),
    ]
    for one in running:
        one.ended()
    expected = arrived(0, *answered) + arrived(0, *dropped) + arrived(0, *ringing) + arrived(0, *busy)
    expected += arrived(0, *forked) + arrived(1, *forked) + arrived(0, *changed)
    expected[VENDORS[0], "13", OWN_NUMBER] += 1
    assert site.seen() == expected
    site.holds(0)
    assert counted(site.engine, "requests_authorize") == 6 * 3 + 1 + len(REJECTED), "a re-INVITE asks nothing"
    for reason in REJECTED:
        assert counted(site.engine, f"rejected_{reason}") == 1, reason
        assert f"Reply-Message                    = '{reason}'" in switch.log
    assert "Traceback" not in switch.log, switch.log


@pytest.mark.parametrize(
    ("first", "options"),
    [
        ("start", ["-A", "2"]),
        ("update", ["-A", "1", "--alive_acct_int=1"]),
        ("stop", ["-A", "1"]),
    ],
)
def test_both_sides_count_once_from_what_is_heard_first(site: Site, first: str, options: list[str]) -> None:
    switch = site.switch(*options)
    calling = site.call(switch, "answered", PLAIN, "1", length=2 if first == "update" else 0.5)
    if first != "stop":
        wait_for(lambda: site.legs() == {("origination", 1), ("termination", 900)})
        wait_for(lambda: all(1700 < row["left"] <= 1800 for row in asked(site.engine, ask="calls")["rows"]))
        assert held(site.engine) == 2
    calling.ended()
    site.holds(0)
    wait_for(lambda: counted(site.engine, "requests_stop") == 2)
    heard = {kind for kind in ("start", "update") if counted(site.engine, f"requests_{kind}")}
    assert heard == {first} - {"stop"}
    assert counted(site.engine, "overcommits") == 0


def test_the_vendor_that_answers_counts_although_another_failed(site: Site) -> None:
    switch = site.switch()
    calling = site.call(switch, "answered", PLAIN, "503", length=3)
    wait_for(lambda: site.legs() == {("origination", 1), ("termination", 901)})
    calling.ended()
    site.holds(0)


def test_callers_who_log_in(site: Site) -> None:
    switch = site.switch("--digest_auth=on", "--digest_auth_only=on")
    right = site.call(switch, "digest", LOGIN, "1", login=f'username=alice password="{PASSWORD}"')
    wait_for(lambda: site.legs() == {("origination", 31), ("termination", 900)})
    right.ended()
    site.holds(0)
    site.call(switch, "digest", LOGIN, "3", login="username=alice password=wrong").ended()
    assert counted(site.engine, "rejected_bad_password") == 1
    assert site.seen() == arrived(0, "1")


def test_a_second_engine_and_back(site: Site) -> None:
    site.start(1)
    switch = site.switch(rest=1)
    site.call(switch, "answered", PLAIN, "1", length=60)
    site.holds(2, 0)
    site.holds(2, 1)  # accounting reaches both engines
    site.engine.kill()
    site.call(switch, "answered", PLAIN, "12").ended()
    asked = counted(site.engines[1], "requests_authorize")
    assert asked == 1
    site.start()
    site.holds(2)
    wait_for(lambda: switch.log.count("AAA request accepted") == 2)
    before = counted(site.engine, "requests_authorize")
    time.sleep(1)  # a silent engine rests for this time
    site.call(switch, "answered", PLAIN, *numbers("1", 3)).ended()
    assert counted(site.engine, "requests_authorize") == before + 3
    switch.stop()
    site.holds(0, 0)
    site.holds(0, 1)


def test_no_engine(site: Site) -> None:
    switch = site.switch(tries=1)
    calling = site.call(switch, "answered", PLAIN, "1", length=1)
    site.holds(2)
    site.engine.kill()
    site.call(switch, "403", PLAIN, "1").ended()
    calling.ended()
    site.start()
    site.holds(0)  # the stops were kept
    site.call(switch, "answered", PLAIN, "1").ended()


def test_a_caller_who_hangs_up_while_the_engine_is_asked(site: Site) -> None:
    switch = site.switch(tries=20)
    os.kill(site.engine.decider, signal.SIGSTOP)
    site.call(switch, "impatient", PLAIN, "1").ended()
    os.kill(site.engine.decider, signal.SIGCONT)
    wait_for(lambda: counted(site.engine, "requests_stop"))
    site.holds(0)
    assert not site.seen()


def test_callers_who_write_lines_of_a_request(site: Site) -> None:
    switch = site.switch("--max_radiusclients=1")
    forged = (
        "1%22%0AUser-Name=%22alice",
        "1%22%0Ah323-gw-id=%22h323-gw-id=another",
        "1%22%0A%0AAUTH%0AUser-Name=%22alice",
        "1%0A",
        "1%3Bbill-to=x",
        "1%40127.0.0.99",
        "1" * 300,
    )
    for dialled in forged:
        site.call(switch, "403", PLAIN, dialled).ended()
    assert not site.seen()
    assert counted(site.engine, "requests_authorize") == 0
    site.call(switch, "403", *REJECTED[Reason.UNKNOWN_SOURCE]).ended()
    site.call(switch, "answered", PLAIN, "12").ended()
    assert site.seen() == arrived(0, "12")
    site.holds(0)


def test_a_switch_that_stops_and_starts(site: Site) -> None:
    crashing = site.switch(announce=False)
    site.call(crashing, "answered", PLAIN, "1", length=60)
    site.holds(2)
    crashing.kill()
    switch = site.switch()
    site.holds(0)
    site.call(switch, "answered", PLAIN, "12", length=60)
    site.holds(2)
    switch.stop()
    site.holds(0)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("many", [2, pytest.param(10, marks=pytest.mark.long)])
def test_many_calls_and_an_engine_that_dies(site: Site, many: int) -> None:
    switch = site.switch(tries=20)  # without an engine for some seconds, the calls wait for it
    answered, dropped, ringing, busy, forked = (
        numbers(begin, count * many) for begin, count in (("1", 30), ("2", 10), ("3", 15), ("486", 8), ("503", 5))
    )
    running = [
        site.call(switch, kind, source, *dialled, seconds=3 + many)
        for kind, source, dialled in (
            ("answered", PLAIN, answered),
            ("hung_up", PREFIXED, [f"77%23{number}" for number in dropped]),
            ("cancelled", PLAIN, ringing),
            ("486", PLAIN, busy),
            ("answered", PLAIN, forked),
            *(("403", source, [number] * 2 * many) for source, number in REJECTED.values()),
        )
    ]
    wait_for(lambda: site.seen().total() > 20 * many, 60)
    os.kill(site.engine.decider, signal.SIGKILL)
    wait_for(lambda: site.seen().total() > 45 * many, 60)
    site.engine.kill()
    site.start()
    for one in running:
        one.ended(100)
    expected = arrived(0, *answered) + arrived(0, *ringing) + arrived(0, *busy)
    expected += arrived(0, *forked) + arrived(1, *forked)
    assert site.seen() == expected + Counter((VENDORS[0], number, OWN_NUMBER) for number in dropped)
    site.holds(0, seconds=20 * many)  # each packet costs Sippy's client a process
    assert "Traceback" not in switch.log, switch.log
