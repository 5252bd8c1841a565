"""Take-overs between programs of other formats: the calls are converted, or nothing changes (engine.md 8.1)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.upgrade.servers import TAKE_OVER, answering
from support.books import ip_account, put_rows
from support.server import Server
from support.switch import request

from identengine.calls.journalfile import FORMAT
from identengine.model.records import Client
from identengine.server.supervisor import handover
from identengine.server.supervisor.handover import HandoverError

COUNT = 300

PROGRAM = """\
import struct

import identengine.calls.clock as clock
import identengine.calls.journal as journal
import identengine.calls.journalfile as journalfile
import identengine.calls.journalformats as journalformats
import identengine.server.supervisor.handover as handover
import identengine.server.supervisor.lock as lock
import identengine.server.supervisor.outgoing as outgoing
from identengine.__main__ import main
from identengine.calls.backend import unpacked

FORMAT, PROTOCOL = {mirror}, {protocol}
for module in (journal, journalfile, handover, outgoing):
    module.FORMAT = FORMAT
for module in (handover, outgoing):
    module.PROTOCOL = PROTOCOL
if not {checks}:
    outgoing._refusal = lambda asked: None
lock.OUR_FORMATS = lock.Formats(PROTOCOL, FORMAT)
encode, close = journal.encode, journalfile.CallsFile.close


def encode_old(value):
    if isinstance(value, clock.Beat) and FORMAT < 3:
        return encode([value.format, value.boot, value.now, value.wall])
    return encode(value)


def close_old(self):
    self.close_file()
    if FORMAT < 4:  # before the lock is released, since the new decider waits for it
        with journalfile.environment(self.path, self.path.stat().st_size) as env:
            write_old(env, [leg for row in journalformats.read(env).rows for leg in row.living()])
    close(self)


def write_old(env, legs):
    names = (b"small", b"large", b"rows", b"dead")
    small, large, *current = (env.open_db(name, integerkey=True) for name in names)
    with env.begin(write=True) as txn:
        for db in current:
            txn.drop(db)
        for position, leg in enumerate(legs):
            slot = ~position if leg.state == 1 else position
            counters = [leg.cells[0].number, *leg.counters]
            answer = leg.answer if leg.state == 1 else None  # the program of that format kept no numbers
            if FORMAT == 1:
                counters, answer = [counters[0], counters[1:]], None if answer is None else unpacked(answer)
            else:
                counters = [[number, 1] for number in counters]
            row = encode([slot, leg.call, leg.leg, leg.switch, leg.state, counters, leg.since, leg.due, leg.lease,
                          leg.missed, leg.content, answer])
            txn.put(struct.pack("=I", position), row, db=large if slot < 0 else small)


journal.encode, journalfile.CallsFile.close = encode_old, close_old
main()
"""
"""A program that differs from this one in its formats alone. It writes its format when it closes the mirror."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    accounts = [ip_account(1, "10.0.0.1", orig_capacity=COUNT), ip_account(3, "10.0.0.3")]
    put_rows(tmp_path / "store", accounts, [Client(id=1, name="one")])
    return tmp_path


def running(folder: Path, mirror: int, protocol: int = 1, checks: int = 1) -> Server:
    """Start a server of another program, with 300 calls, half of them active."""
    server = Server(folder, program=PROGRAM.format(mirror=mirror, protocol=protocol, checks=checks))
    with server.switch() as switch:
        known = {"src_ip": "10.0.0.1", "dst_number": "44"}
        asked = (request("authorize", n, call_id=f"call {n}", **known) for n in range(COUNT))
        assert all(answer["accepted"] for answer in switch.burst(asked))
        switch.burst(request("start", n, call_id=f"call {n}") for n in range(0, COUNT, 2))
    return server


def held(server: Server) -> int:
    with server.switch() as switch:
        assert switch.authorize("more").get("reason") == "account_capacity"
        stops = (request("stop", n, call_id=f"call {n}") for n in range(COUNT))
        return sum(answer["freed"] for answer in switch.burst(stops))


def checked(server: Server) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "identengine", "serve", "--check", "--config", str(server.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("mirror", range(1, FORMAT + 1))
def test_a_take_over_from_each_earlier_format_keeps_all_calls(folder: Path, mirror: int) -> None:
    old = running(folder, mirror)
    assert checked(old).returncode == 0
    new = Server(folder, options=TAKE_OVER)
    assert old.ended() == 0, old.log
    assert held(new) == COUNT
    assert new.stop() == 0
    assert "ALARM" not in new.log


@pytest.mark.parametrize(
    ("mirror", "protocol", "checks"), [(FORMAT + 1, 1, 1), (FORMAT + 1, 1, 0), (FORMAT, 2, 1)]
)
def test_a_take_over_from_another_format_changes_nothing(
    folder: Path, mirror: int, protocol: int, checks: int
) -> None:
    """Both servers refuse: the old one, unless its program does not look at the formats, and the new one."""
    old = running(folder, mirror, protocol, checks)
    decider = answering(old)
    done = checked(old)
    assert done.returncode == 1
    what = f"it is of format {mirror}; this program reads" if protocol == 1 else "hand-over protocol, got 2"
    assert what in done.stderr
    assert f"is in use by the server of process {old.process.pid}" in done.stderr
    new = Server(folder, ready=False, options=TAKE_OVER)
    assert new.ended() == 1
    assert f"the server of process {old.process.pid}" in new.log
    assert "Use a program that fits, or stop the old server first" in new.log
    assert (f"is of format {mirror}" if protocol == 1 else "hand-over protocol, got 1") in new.log
    assert answering(old) == decider, "it never stopped deciding"
    assert held(old) == COUNT
    assert old.stop() == 0


def test_a_new_program_that_cannot_read_the_calls_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "READABLE", (1, 2))
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with pytest.raises(HandoverError, match=f"the set of calls is of format {FORMAT}; the new program reads"):
            handover.ask(server.folder / "calls")
    finally:
        signal.signal(signal.SIGIO, before)
    server.logged(f"keeps serving: process {os.getpid()} does not fit")
    assert answering(server)
