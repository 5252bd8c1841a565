"""Leases and clocks: expiry and memory of legs, wall clocks that jump, and boots (engine.md 5.4, 5.5)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.books import ip_account, put_rows
from support.clocks import Clocks
from support.operator import counted
from support.server import Server, serving
from support.switch import Switch
from support.waiting import wait_for

from identengine.model.records import Client

DAY = 24 * 3600.0
ACCOUNTS = [
    ip_account(1, "10.0.0.1"),
    ip_account(2, "10.0.0.2", orig_capacity=1),
    ip_account(3, "10.0.0.3", orig_capacity=1),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", ACCOUNTS, [Client(id=1, name="one")])
    return tmp_path


def calls(**settings: int) -> str:
    """Return the section of the config, with leases of 100 s unless ``settings`` names others."""
    known = {"max_legs": 1000, "reserved": 100, "active": 100} | settings
    return '[calls]\npath = "calls"\n' + "".join(f"{name} = {value}\n" for name, value in known.items())


def lapsed(switch: Switch) -> bool:
    """Return True if the one slot of account 2 is free. Stop the call that tried it."""
    accepted = switch.authorize("try", "10.0.0.2")["accepted"]
    if accepted:
        switch.ask("stop", call_id="try")
    return bool(accepted)


def stays(switch: Switch, clocks: Clocks, seconds: float = 4.0) -> None:
    """Advance the clocks. Check that the slot of account 2 is still taken after the server expired leases.

    The lease of a marker call of account 3 ends in this time. When its slot is free, the server has expired
    leases.
    """
    assert seconds >= 4
    switch.activate("marker", source="10.0.0.3")
    assert switch.ask("update", call_id="marker", interval=1) == {"ok": True}  # a lease of 3 s
    assert not lapsed(switch)
    clocks.forward(seconds)
    wait_for(lambda: switch.authorize("next", "10.0.0.3")["accepted"])
    switch.ask("stop", call_id="next")
    switch.ask("stop", call_id="marker")
    assert not lapsed(switch)


def notes_the_time(server: Server, clocks: Clocks) -> None:
    """Advance the clocks by 4 s, in which the server stores the time, as it does once a second."""
    for _ in range(2):  # the first report may precede the jump of the clock
        before = counted(server, "noted")
        clocks.forward(2)
        wait_for(lambda before=before: counted(server, "noted") >= before + 2)  # type: ignore[misc]


# ---- leases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["reserved", "active"])
def test_a_lease_ends_within_a_second_and_never_early(folder: Path, state: str) -> None:
    settings = {"reserved": 1, "active": 1000} if state == "reserved" else {"active": 1}
    with serving(folder, calls(**settings)) as server, server.switch() as switch:
        noticed: list[float] = []
        # One of several tries must be in time, since other tests may keep the machine busy.
        while len(noticed) < 2 or (min(noticed) >= 2.5 and len(noticed) < 5):
            call_id = f"c{len(noticed)}"
            began = time.monotonic()
            assert switch.authorize(call_id, "10.0.0.2")["accepted"]
            if state == "active":
                switch.ask("start", call_id=call_id)
            sent = time.monotonic()
            wait_for(lambda: lapsed(switch))
            assert time.monotonic() - began >= 1.0
            noticed.append(time.monotonic() - sent)
        assert min(noticed) < 2.5  # one second for the lapse, one to notice it, and the rest for a slow machine


def test_the_last_announced_update_interval_counts(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls(active=7200)) as server, server.switch() as switch:
        switch.activate("a", source="10.0.0.2")
        switch.ask("update", call_id="a", interval=1000)
        switch.ask("update", call_id="a", interval="60")
        stays(switch, clocks, 175)
        switch.ask("update", call_id="a")
        stays(switch, clocks, 175)
        clocks.forward(7)
        wait_for(lambda: lapsed(switch))


def test_a_second_start_extends_nothing_and_an_update_does(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls()) as server, server.switch() as switch:
        switch.activate("a", source="10.0.0.2")
        clocks.forward(60)
        assert switch.ask("start", call_id="a") == {"ok": True}
        clocks.forward(42)
        wait_for(lambda: lapsed(switch))
        switch.activate("b", source="10.0.0.2")
        clocks.forward(60)
        assert switch.ask("update", call_id="b") == {"ok": True}
        stays(switch, clocks, 42)


def test_a_retransmission_and_changed_content_renew_no_lease(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls()) as server, server.switch() as switch:
        first = switch.authorize("a", "10.0.0.2")
        clocks.forward(60)
        assert switch.authorize("a", "10.0.0.2") == first
        changed = switch.ask("authorize", call_id="a", src_ip="10.0.0.2", dst_number="45")
        assert changed["accepted"]
        assert changed["lease"] <= 40, "the remaining time"
        clocks.forward(42)
        wait_for(lambda: lapsed(switch))


# ---- lapsed legs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["start", "update"])
@pytest.mark.parametrize("state", ["reserved", "active"])
def test_a_lapsed_leg_is_revived_over_the_limit(folder: Path, clocks: Clocks, state: str, method: str) -> None:
    with serving(folder, calls(active=100)) as server, server.switch() as switch:
        switch.authorize("a", "10.0.0.2")
        if state == "active":
            switch.ask("start", call_id="a")
        clocks.forward(102)
        wait_for(lambda: switch.authorize("b", "10.0.0.2")["accepted"])
        assert switch.ask(method, call_id="a") == {"ok": True, "overcommit": True}
        switch.ask("stop", call_id="b")
        assert switch.authorize("c", "10.0.0.2")["reason"] == "account_capacity", "the revived leg counts"
        assert switch.ask("stop", call_id="a") == {"ok": True, "freed": 1}
        assert switch.authorize("c", "10.0.0.2")["accepted"]


def test_if_a_held_leg_matches_lapsed_ones_are_not_revived(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls()) as server, server.switch() as switch:
        assert switch.authorize("a", "10.0.0.2", leg_id="1")["accepted"]
        clocks.forward(102)
        wait_for(lambda: switch.authorize("a", "10.0.0.2", leg_id="2")["accepted"])
        assert switch.ask("start", call_id="a") == {"ok": True}
        assert switch.ask("stop", call_id="a") == {"ok": True, "freed": 1}


def test_a_lapsed_leg_is_remembered_for_a_day(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls()) as server, server.switch() as switch:
        for call_id in ("a", "b"):
            assert switch.authorize(call_id)["accepted"]
        clocks.forward(102)
        switch.authorize("x", "10.0.0.2")
        clocks.forward(102)
        wait_for(lambda: lapsed(switch))  # the two legs above have lapsed then, too
        clocks.forward(DAY - 300)
        assert switch.ask("start", call_id="a") == {"ok": True}
        assert switch.authorize("until then", "10.0.0.2")["accepted"]
        clocks.forward(310)
        wait_for(lambda: lapsed(switch))  # the server has expired leases then
        assert switch.ask("start", call_id="b") == {"ok": True, "unknown": True}


def test_the_oldest_of_too_many_lapsed_legs_are_forgotten(folder: Path, clocks: Clocks) -> None:
    config = calls(lapsed_max=2)
    with serving(folder, config) as server, server.switch() as switch:
        for call_id in "abcd":
            switch.authorize(call_id)
            clocks.forward(10)
        clocks.forward(62)
        for number in range(1, 5):
            wait_for(lambda number=number: counted(server, "lapsed_reserved") == number)  # type: ignore[misc]
            clocks.forward(10)
        assert switch.ask("start", call_id="a") == {"ok": True, "unknown": True}
        assert switch.ask("start", call_id="b") == {"ok": True, "unknown": True}
        assert switch.ask("start", call_id="c") == {"ok": True}
        assert switch.ask("start", call_id="d") == {"ok": True}


def test_lapses_survive_a_crash_of_the_server(folder: Path, clocks: Clocks) -> None:
    server = Server(folder, calls())
    with server.switch() as switch:
        switch.authorize("lapsed", "10.0.0.2")
        clocks.forward(102)
        wait_for(lambda: switch.authorize("held", "10.0.0.2")["accepted"])
    server.kill()
    clocks.forward(50)
    with serving(folder, calls()) as again, again.switch() as switch:
        stays(switch, clocks)
        assert switch.ask("start", call_id="lapsed") == {"ok": True, "overcommit": True}
        assert switch.stop("held", "lapsed") == ["held", "lapsed"]


def test_leases_that_end_while_no_server_runs(folder: Path, clocks: Clocks) -> None:
    server = Server(folder, calls())
    with server.switch() as switch:
        switch.authorize("a", "10.0.0.2")
    server.kill()
    clocks.forward(102)
    with serving(folder, calls()) as again, again.switch() as switch:
        wait_for(lambda: lapsed(switch))
        assert switch.ask("start", call_id="a") == {"ok": True}


# ---- clocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [1, -400])
def test_the_wall_clock_does_not_matter(folder: Path, clocks: Clocks, days: int) -> None:
    server = Server(folder, calls())
    with server.switch() as switch:
        switch.activate("a", source="10.0.0.2")
        clocks.set_wall(days * DAY)
        stays(switch, clocks)
        clocks.forward(32)
        clocks.set_wall(-2 * days * DAY)
        stays(switch, clocks)
    server.kill()
    clocks.set_wall(days * DAY)
    with serving(folder, calls()) as again, again.switch() as switch:
        clocks.set_wall(days * DAY)
        stays(switch, clocks, 36)
        clocks.forward(25)
        wait_for(lambda: lapsed(switch))


@pytest.mark.parametrize(
    ("off", "left", "base"),
    [
        (0.0, 1000.0, -1e6),
        (600.0, 400.0, 1e6),
        (600.0, 400.0, -1e6),
        (-400 * DAY, 1000.0, -1e6),
        (30 * DAY, -1.0, 1e6),
    ],
    ids=["at once", "ten minutes later", "ten minutes later, as is usual", "clock back", "a month later"],
)
def test_leases_across_a_boot(folder: Path, clocks: Clocks, off: float, left: float, base: float) -> None:
    """The set may be on a disk, or its tmpfs may be kept. ``off`` is the downtime by the wall clock."""
    config = calls(reserved=1000, active=1000)
    clocks.set_boot("0f0f0f0f-0000-4000-8000-000000000001", 2_000_000.0)
    server = Server(folder, config)
    with server.switch() as switch:
        switch.activate("a", source="10.0.0.2")
        switch.activate("b")
        switch.ask("stop", call_id="b")
    notes_the_time(server, clocks)
    server.kill()
    clocks.set_boot("0f0f0f0f-0000-4000-8000-000000000002", base)
    clocks.set_wall(off)
    server = Server(folder, config)
    with server.switch() as switch:
        late = switch.ask("start", call_id="b", src_ip="10.0.0.1", dst_number="44")
        assert late.get("unknown", False) is (off < 50)
        switch.ask("stop", call_id="b")
    notes_the_time(server, clocks)
    server.kill()  # in the same boot: the next server must not use the beat of the boot before
    with serving(folder, config) as again, again.switch() as switch:
        if left < 0:
            wait_for(lambda: lapsed(switch))
            return
        stays(switch, clocks)
        stays(switch, clocks, left - 212)  # 12 s have passed, and 200 s are left for a slow machine
        clocks.forward(201)
        wait_for(lambda: lapsed(switch))
