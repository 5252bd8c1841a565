"""The record of decisions that a real server writes, over each interface, and its faults (engine.md 8.8)."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from e2e.upgrade.servers import TAKE_OVER
from redis import Redis
from support import HOST, pyradclient
from support.books import ip_account, put_rows
from support.cli import run
from support.disk import fill, mounted
from support.radclient import SECRET
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for

from identengine.errors import RecordError
from identengine.model.records import Client, IdentBy, SrcPolicy
from identengine.record.conditions import RecordFilter
from identengine.record.entry import CredentialUse, LimitUse, Recorded
from identengine.record.reader import RecordReader
from identengine.record.segments import segments
from identengine.stats import file as counters
from identengine.store.vault import Vault, default_key_file

PASSWORD = "Zeppelin-pass-71"
CONFIG = f"""
[listen]
radius_auth = ["{HOST}:0"]
radius_acct = ["{HOST}:0"]
[[switch]]
name = "sbc1"
addresses = ["{HOST}"]
[[switch]]
name = "gw"
addresses = ["127.0.0.2"]
secret = "{SECRET}"
"""
ALL = f'{CONFIG}[record]\ndecisions = "all"\n'
UNKNOWN = {"src_ip": "10.9.9.9", "dst_number": "44171"}
GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clients = [
        Client(id=1, name="one", capacity=5, parent_id=2),
        Client(id=2, name="reseller", orig_capacity=1),
        Client(id=3, name="other", orig_cps=1),
    ]
    accounts = [
        ip_account(1, "10.0.0.1"),
        ip_account(2, "10.0.0.2", client_id=3),
        ip_account(3, "10.0.0.3", src_policy=SrcPolicy.REJECT),
        ip_account(4, "10.0.0.4", orig_capacity=0),
    ]
    vault = Vault.from_file(default_key_file(tmp_path / "store"), create=True)
    name = {"ident_by": IdentBy.NAME, "ident": ("alice",), "src_policy": SrcPolicy.REJECT}
    accounts.append(ip_account(5, "", password=vault.encrypt(PASSWORD), **name))
    put_rows(tmp_path / "store", accounts, clients)
    return tmp_path


def entries(folder: Path, **wanted: Any) -> list[Recorded]:
    """Return the entries in the order of writing."""
    try:
        return [*RecordReader(folder / "store.record").newest(RecordFilter(**wanted))][::-1]
    except RecordError:
        return []


def recorded(folder: Path, count: int, **wanted: Any) -> list[Recorded]:
    """Wait for a number of entries. Return them."""
    wait_for(lambda: len(entries(folder, **wanted)) >= count)
    found = entries(folder, **wanted)
    assert len(found) == count, found
    return found


def ids(found: list[Recorded]) -> list[str | None]:
    return [one.request.call_id for one in found]


def counted(folder: Path, name: str) -> int:
    return counters.read(folder / "calls").values[name]


def reload(server: Server, config: str) -> None:
    before = server.log.count("SIGHUP: changed")
    server.write_config(config)
    server.signal(signal.SIGHUP)
    wait_for(lambda: server.log.count("SIGHUP: changed") > before)


# ---- what an entry has


def test_a_reject_is_recorded_with_its_request(folder: Path) -> None:
    with serving(folder, CONFIG) as server:
        fields = {"leg_id": "l1", "src_port": 5060, "protocol": "SIP", "gateway": "gw", "name": "bob"}
        answer = server.authorize(call_id="c1", src_number="+49 30", **UNKNOWN, **fields)
        (entry,) = recorded(folder, 1)
        assert (entry.switch, entry.interface, entry.masked) == ("sbc1", "udp", False)
        asked = {"call_id": "c1", "src_number": "+49 30"} | UNKNOWN | fields
        assert {k: v for k, v in msgspec.to_builtins(entry.request).items() if v is not None} == asked
        assert msgspec.to_builtins(entry.decision) == answer
        assert abs(entry.at - time.time()) < 60
        assert server.authorize(call_id="c2", **GOOD)["accepted"]
        for method in ("identify", "explain"):
            server.ask_udp(request(method, call_id="c3", **UNKNOWN))
        server.ask_udp(request("start", call_id="c3"))
        server.authorize(call_id="c4", **UNKNOWN)
        assert ids(recorded(folder, 2)) == ["c1", "c4"]
        wait_for(lambda: counted(folder, "decisions_recorded") == 2)
    record = folder / "store.record"
    assert record.stat().st_mode & 0o777 == 0o700
    assert all(one.path.stat().st_mode & 0o777 == 0o600 for one in segments(record))


def test_all_decisions_of_each_interface(folder: Path) -> None:
    with serving(folder, ALL) as server:
        with server.tcp() as tcp:
            tcp.send(
                *(request("authorize", n, call_id=f"t{n}", src_ip=f"10.0.0.{n}", dst_number="4") for n in (2, 9))
            )
            assert [answer["result"]["accepted"] for answer in tcp.answers(2)] == [True, False]
            tcp.send(request("authorize", call_id="general", src_ip="10.0.0.2", dst_number="(4) 4", leg_id=" l "))
            assert tcp.answers(1)[0]["result"]["reason"] == "cps_exceeded"
        with Redis(HOST, server.ports["tcp"], protocol=2) as redis:
            for command, call in (("IDENT.AUTH", "r1"), ("IDENT.AUTHJ", "r2")):
                redis.execute_command(command, f"call_id={call}", "src_ip=10.0.0.9", "dst_number=44")
            redis.execute_command("IDENT.AUTH", "call_id=r3", "src_ip=10.0.0.1", "dst_number=44")
        with pyradclient.client(
            server.ports["radius_auth"], server.ports["radius_acct"], SECRET, "127.0.0.2"
        ) as radius:
            for address, call in (("10.0.0.9", "q1"), ("10.0.0.1", "q2")):
                radius.SendPacket(
                    radius.CreateAuthPacket(
                        h323_remote_address=address,
                        Called_Station_Id="44",
                        Acct_Session_Id=call,
                        h323_conf_id=call,
                    )
                )
        found = recorded(folder, 8)
        assert {(one.request.call_id, one.interface, one.decision.accepted) for one in found} == {
            ("t2", "tcp", True),
            ("t9", "tcp", False),
            ("general", "tcp", False),
            ("r1", "resp", False),
            ("r2", "resp", False),
            ("r3", "resp", True),
            ("q1", "radius", False),
            ("q2", "radius", False),
        }
        by_call = {one.request.call_id: one for one in found}
        accepted = by_call["r3"].decision
        assert (accepted.account_id, accepted.dst_number, accepted.version) == (1, "44", 1)
        assert by_call["q2"].decision.reason == "reseller_capacity"
        assert [one.decision.account_id for one in RecordReader(folder / "store.record").of_call("t2")] == [2]


def test_limits_are_those_of_the_moment(folder: Path) -> None:
    with serving(folder, CONFIG) as server, server.tcp() as tcp:
        tcp.send(
            request("authorize", 1, call_id="a", **GOOD),
            request("authorize", 2, call_id="b", **GOOD),
            request("stop", 3, call_id="a"),
            request("authorize", 4, call_id="c", src_ip="10.0.0.4", dst_number="4"),
            request("authorize", 5, call_id="d", src_ip="10.0.0.2", dst_number="4"),
            request("authorize", 6, call_id="e", src_ip="10.0.0.2", dst_number="(4)"),
        )
        tcp.answers(6)
        reseller, account, cps = recorded(folder, 3)
    assert reseller.decision.reason == "reseller_capacity"
    assert reseller.limits == (
        LimitUse("account", 1, "orig_capacity", 1, None, False),
        LimitUse("client", 1, "capacity", 1, 5, False),
        LimitUse("reseller", 2, "orig_capacity", 1, 1, True),
        LimitUse("global", None, "global_capacity", 1, None, False),
    ), "also if the batch frees the slot later"
    assert account.limits[0] == LimitUse("account", 4, "orig_capacity", 0, 0, True)
    assert account.limits[2] == LimitUse("reseller", 2, "orig_capacity", 0, 1, False)
    (pace,) = [one for one in cps.limits if one.column == "orig_cps"]
    assert (pace.level, pace.id, pace.limit, pace.full) == ("client", 3, 1, True)
    assert pace.use == pytest.approx(1, abs=0.5)


def test_a_credential_is_not_recorded(folder: Path) -> None:
    digest = {
        "username": "alice",
        "realm": "r-secret",
        "nonce": "n-secret",
        "uri": "u-secret",
        "response": "f" * 32,
    }
    with serving(folder, ALL) as server:
        server.authorize(call_id="1", name="alice", password=PASSWORD, dst_number="4")
        server.authorize(call_id="2", name="alice", password="guess-secret", dst_number="4")
        server.authorize(call_id="3", digest=digest, dst_number="4")
        server.authorize(call_id="4", password="pw-secret", **UNKNOWN)
        server.authorize(call_id="5", password="pw-secret", src_ip="10.0.0.3", dst_number="4")
        server.authorize(call_id="6", name="alice", dst_number="4")
        found = recorded(folder, 6)
    assert [(one.credential, one.decision.reason) for one in found] == [
        (CredentialUse(("password",), True, 5), "src_not_allowed"),
        (CredentialUse(("password",), False), "bad_password"),
        (CredentialUse(("digest",), False), "bad_password"),
        (CredentialUse(("password",), None), "unknown_source"),
        (CredentialUse(("password",), None), "src_not_allowed"),
        (None, "auth_required"),
    ]
    assert found[2].request.name == "alice"
    raw = b"".join(one.path.read_bytes() for one in segments(folder / "store.record"))
    assert b"secret" not in raw
    assert PASSWORD.encode() not in raw
    assert b"f" * 32 not in raw


def test_numbers_are_masked(folder: Path) -> None:
    with serving(folder, ALL + "mask_numbers = true\n") as server:
        numbers = {"src_number": "<sip:+49301234567@h>", "dst_number": "+44 171 98765"}
        server.authorize(call_id="1", **UNKNOWN | numbers)
        server.authorize(call_id="2", **GOOD | numbers)
        server.authorize(call_id="3", src_ip="10.0.0.1", src_number="12", dst_number="4%2F9")
        rejected, accepted, odd = recorded(folder, 3)
    for one in (rejected, accepted):
        assert (one.request.src_number, one.request.dst_number) == ("4930123****", "441719****")
        assert one.masked
    assert (accepted.decision.src_number, accepted.decision.dst_number) == ("4930123****", "441719****")
    assert (odd.request.src_number, odd.request.dst_number) == ("**", "*%*F*")
    assert len(entries(folder, number="4930 1234567")) == 2
    raw = b"".join(one.path.read_bytes() for one in segments(folder / "store.record"))
    assert b"4567" not in raw
    assert b"8765" not in raw


def test_texts_are_bounded(folder: Path) -> None:
    long = "x" * 10_000
    with serving(folder, CONFIG) as server, server.tcp() as tcp:
        tcp.send(request("authorize", 1, call_id=long, src_ip=long, dst_number="4", gateway="\u00fc" * 900))
        tcp.answers(1)
        (entry,) = recorded(folder, 1)
    assert (entry.decision.field, len(entry.decision.value or "")) == ("src_ip", 256)
    assert (len(entry.request.call_id or ""), entry.request.gateway) == (256, "\u00fc" * 256)
    assert RecordReader(folder / "store.record").of_call(long) == [entry]


# ---- the config


def test_a_signal_changes_what_is_recorded(folder: Path) -> None:
    with serving(folder, CONFIG + '[record]\ndecisions = "none"\n') as server:
        server.authorize(call_id="1", **UNKNOWN)
        reload(server, ALL)
        server.authorize(call_id="2", **UNKNOWN)
        server.authorize(call_id="3", **GOOD)
        assert ids(recorded(folder, 2)) == ["2", "3"]
        reload(server, ALL + 'path = "elsewhere"\nmask_numbers = true\n')
        server.authorize(call_id="4", **UNKNOWN)
        wait_for(lambda: (folder / "elsewhere").is_dir() and segments(folder / "elsewhere"))
        wait_for(lambda: ids([*RecordReader(folder / "elsewhere").newest()]) == ["4"])
        reload(server, CONFIG + '[record]\ndecisions = "none"\n')
        server.authorize(call_id="5", **UNKNOWN)
        reload(server, CONFIG)
        server.authorize(call_id="6", **GOOD | {"src_ip": "10.0.0.2"})
        server.authorize(call_id="7", **UNKNOWN)
        assert ids(recorded(folder, 3)) == ["2", "3", "7"]
    assert "Traceback" not in server.log


# ---- processes


def test_decisions_survive_a_kill_and_the_next_decider_goes_on(folder: Path) -> None:
    with serving(folder, CONFIG) as server:
        for number in range(50):
            server.authorize(call_id=f"a{number}", **UNKNOWN)
        recorded(folder, 50)
        before = server.decider
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: server.decider != before)
        for number in range(50):
            server.authorize(call_id=f"b{number}", **UNKNOWN)
        found = recorded(folder, 100)
    assert ids(found) == [f"a{n}" for n in range(50)] + [f"b{n}" for n in range(50)]
    assert len(segments(folder / "store.record")) == 2


def test_no_decision_is_lost_at_a_hand_over(folder: Path) -> None:
    config = CONFIG.replace("[listen]\n", f'[listen]\nudp = ["{HOST}:0"]\n')
    old = Server(folder, config)
    try:
        asked = 0
        for asked in range(1, 101):
            old.authorize(call_id=f"a{asked}", **UNKNOWN)
        new = Server(folder, config, options=TAKE_OVER)
        try:
            assert old.ended() == 0
            new.ports = old.ports | new.ports
            for number in range(100):
                new.authorize(call_id=f"b{number}", **UNKNOWN)
            assert len(set(ids(recorded(folder, asked + 100)))) == asked + 100
            assert counted(folder, "decisions_unrecorded") == 0
        finally:
            new.stop()
    finally:
        old.stop()


def test_a_stop_writes_the_last_decisions(folder: Path) -> None:
    with serving(folder, CONFIG) as server:
        server.authorize(call_id="1", **UNKNOWN)
    assert ids(entries(folder)) == ["1"]


# ---- faults


def alarmed(server: Server, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Check the alarm, the counter and the recovery of a record that cannot be written meanwhile."""
    begin()
    numbers = itertools.count()

    def lost() -> bool:
        server.authorize(call_id=f"lost {next(numbers)}", name="n" * 200, **UNKNOWN)
        return counted(server.folder, "decisions_unrecorded") > 0

    wait_for(lost)
    server.logged("ALARM: decisions cannot be written to their record: ")
    shown = run("stats", "--config", server.config).out
    assert "decisions cannot be written to their record" in shown
    assert server.authorize(call_id="kept", **GOOD)["accepted"]
    end()
    server.logged("decisions are recorded again; since the start of this process ")
    server.authorize(call_id="again", **UNKNOWN)
    wait_for(lambda: any(one.request.call_id == "again" for one in entries(server.folder)))
    assert "decisions cannot be written" not in run("stats", "--config", server.config).out


def test_a_full_disk_is_counted(folder: Path) -> None:
    with mounted(folder / "store.record", 1) as disk, serving(folder, CONFIG) as server:
        alarmed(server, lambda: fill(disk), (disk / "ballast").unlink)
        assert server.stop() == 0


def test_a_folder_that_cannot_be_used_at_the_start(folder: Path) -> None:
    (folder / "store.record").write_text("a file")
    with serving(folder, CONFIG) as server:
        alarmed(
            server, lambda: server.logged("ALARM: decisions cannot be written"), (folder / "store.record").unlink
        )


def test_a_folder_that_is_replaced(folder: Path) -> None:
    with serving(folder, CONFIG) as server:
        server.authorize(call_id="1", **UNKNOWN)
        recorded(folder, 1)
        record = folder / "store.record"

        def replace() -> None:
            record.rename(folder / "moved")
            record.write_text("a file")

        alarmed(server, replace, record.unlink)
        assert record.is_dir()
