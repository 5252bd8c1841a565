"""Leases and clocks: what lapses and is remembered, whatever the wall clock does, and over a boot (5.4, 5.5)."""

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
    """Return the section of the config; leases of 100 s unless others are named."""
    known = {"max_legs": 1000, "reserved": 100, "active": 100} | settings
    return '[calls]\npath = "calls"\n' + "".join(f"{name} = {value}\n" for name, value in known.items())


def lapsed(switch: Switch) -> bool:
    """Whether the one slot of account 2 is free; what tries it is stopped again."""
    accepted = switch.authorize("try", "10.0.0.2")["accepted"]
    if accepted:
        switch.ask("stop", call_id="try")
    return bool(accepted)


def stays(switch: Switch, clocks: Clocks, seconds: float = 4.0) -> None:
    """Let time pass; the one slot of account 2 is taken when the server has looked at what lapsed meanwhile.

    The lease of a call of account 3 ends meanwhile: when its slot is free, the server has looked.
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
    """Let 4 s pass in which the server has noted the time, as it does once a second of its clock."""
    for _ in range(2):  # the first time that it reports, it may have noted the time just before it was later
        before = counted(server, "noted")
        clocks.forward(2)
        wait_for(lambda before=before: counted(server, "noted") >= before + 2)  # type: ignore[misc]


# ---- leases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["reserved", "active"])
def test_a_lease_ends_within_a_second_and_never_too_soon(folder: Path, state: str) -> None:
    settings = {"reserved": 1, "active": 1000} if state == "reserved" else {"active": 1}
    with serving(folder, calls(**settings)) as server, server.switch() as switch:
        noticed: list[float] = []
        # In time, that is; the machine may be busy with other tests: one of a few has to be.
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
        assert min(noticed) < 2.5  # one second, one to notice it, and a slow machine


def test_the_update_interval_that_was_announced_last_counts(folder: Path, clocks: Clocks) -> None:
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
        assert changed["lease"] <= 40, "what is left"
        clocks.forward(42)
        wait_for(lambda: lapsed(switch))


# ---- what lapsed -------------------------------------------------------------------------------------------


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
        assert switch.authorize("c", "10.0.0.2")["reason"] == "account_capacity", "a counts"
        assert switch.ask("stop", call_id="a") == {"ok": True, "freed": 1}
        assert switch.authorize("c", "10.0.0.2")["accepted"]


def test_where_a_held_leg_matches_lapsed_ones_are_not_revived(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls()) as server, server.switch() as switch:
        assert switch.authorize("a", "10.0.0.2", leg_id="1")["accepted"]
        clocks.forward(102)
        wait_for(lambda: switch.authorize("a", "10.0.0.2", leg_id="2")["accepted"])
        assert switch.ask("start", call_id="a") == {"ok": True}
        assert switch.ask("stop", call_id="a") == {"ok": True, "freed": 1}


def test_what_lapsed_is_remembered_for_a_day(folder: Path, clocks: Clocks) -> None:
    with serving(folder, calls()) as server, server.switch() as switch:
        for call_id in ("a", "b"):
            assert switch.authorize(call_id)["accepted"]
        clocks.forward(102)
        switch.authorize("x", "10.0.0.2")
        clocks.forward(102)
        wait_for(lambda: lapsed(switch))  # by then the two above have lapsed too
        clocks.forward(DAY - 300)
        assert switch.ask("start", call_id="a") == {"ok": True}
        assert switch.authorize("until then", "10.0.0.2")["accepted"]
        clocks.forward(310)
        wait_for(lambda: lapsed(switch))  # by then the server has looked at what is due
        assert switch.ask("start", call_id="b") == {"ok": True, "unknown": True}


def test_of_too_many_that_lapsed_the_oldest_are_forgotten(folder: Path, clocks: Clocks) -> None:
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


def test_lapses_survive_the_death_of_the_server(folder: Path, clocks: Clocks) -> None:
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


def test_what_lapses_while_no_server_runs(folder: Path, clocks: Clocks) -> None:
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
    [(0.0, 100.0, -1e6), (60.0, 40.0, 1e6), (60.0, 40.0, -1e6), (-400 * DAY, 100.0, -1e6), (30 * DAY, -1.0, 1e6)],
    ids=["at once", "a minute later", "a minute later, as is usual", "clock back", "a month later"],
)
def test_leases_over_a_boot(folder: Path, clocks: Clocks, off: float, left: float, base: float) -> None:
    """The set may be on a disk, or its tmpfs be kept. ``off``: how long the machine was, by its wall clock."""
    clocks.set_boot("0f0f0f0f-0000-4000-8000-000000000001", 2_000_000.0)
    server = Server(folder, calls())
    with server.switch() as switch:
        switch.activate("a", source="10.0.0.2")
        switch.activate("b")
        switch.ask("stop", call_id="b")
    notes_the_time(server, clocks)
    server.kill()
    clocks.set_boot("0f0f0f0f-0000-4000-8000-000000000002", base)
    clocks.set_wall(off)
    server = Server(folder, calls())
    with server.switch() as switch:
        late = switch.ask("start", call_id="b", src_ip="10.0.0.1", dst_number="44")
        assert late.get("unknown", False) is (off < 50)
        switch.ask("stop", call_id="b")
    notes_the_time(server, clocks)
    server.kill()  # in this boot: what was kept in the one before must not be taken for this one's
    with serving(folder, calls()) as again, again.switch() as switch:
        if left < 0:
            wait_for(lambda: lapsed(switch))
            return
        stays(switch, clocks)
        stays(switch, clocks, left - 32)  # 12 s passed before; a slow machine has 20 s left
        clocks.forward(21)
        wait_for(lambda: lapsed(switch))
