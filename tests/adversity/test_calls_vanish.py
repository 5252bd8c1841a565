"""The folder of the set of calls vanishes under a running server, or its files are replaced (engine.md 5.8)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.disk import fill, mounted
from support.server import Server
from support.switch import request
from support.waiting import wait_for

from identengine.model.records import Client

COUNT = 200
CONFIG = '[calls]\npath = "calls"\nmax_legs = 1000\n'
LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nhttp = "{HOST}:0"\n'
SAVED = "the set of calls is on disk again"
COMPLETE = "the folder of the set of calls is complete again"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    server = Server(folder, CONFIG + LISTEN)
    hold(server)
    try:
        yield server
    finally:
        assert server.stop() == 0, server.log


def hold(server: Server) -> None:
    with server.switch() as switch:
        asked = (
            request("authorize", n, call_id=f"call {n}", src_ip="10.0.0.1", dst_number="44") for n in range(COUNT)
        )
        assert all(answer["accepted"] for answer in switch.burst(asked))
        switch.burst(request("start", n, call_id=f"call {n}") for n in range(0, COUNT, 2))


def held(server: Server) -> int:
    """Free all calls. Return the number of those that were held."""
    with server.switch() as switch:
        stops = (request("stop", n, call_id=f"call {n}") for n in range(COUNT))
        return sum(answer["freed"] for answer in switch.burst(stops))


def command(server: Server, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "identengine", *words, "--config", str(server.config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def readiness(server: Server) -> tuple[bool, list[str]]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{server.ports['http']}/readyz", timeout=10) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    return found["ready"], list(found["reasons"])


def replace_decider(server: Server) -> None:
    before = server.decider
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: server.decider != before)


def rewrite(file: Path) -> None:
    """Put another file with the same content in the place of ``file``."""
    copy = file.with_name("copy")
    shutil.copy(file, copy)
    copy.replace(file)


def remount(folder: Path) -> None:
    """Leave an empty folder in the place of ``folder``."""
    folder.rename(folder.with_name("earlier"))
    folder.mkdir(mode=0o700)


def truncate(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(8192)


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


LOSSES: dict[str, Callable[[Path], object]] = {
    "the folder is removed": shutil.rmtree,
    "the folder is replaced": remount,
    "the mirror is removed": lambda folder: (folder / "calls.mdb").unlink(),
    "the mirror is replaced": lambda folder: rewrite(folder / "calls.mdb"),
    "the mirror is truncated": lambda folder: truncate(folder / "calls.mdb"),
    "the lock is removed": lambda folder: (folder / "lock").unlink(),
    "all files are removed": empty,
}


@pytest.mark.parametrize("loss", [*LOSSES])
def test_the_calls_are_written_anew(server: Server, loss: str) -> None:
    path = server.folder / "calls"
    LOSSES[loss](path)
    server.logged("ALARM: the files of the set of calls are lost")
    server.logged(SAVED)
    if not (path / "control").exists() or "folder" in loss:
        server.logged("ALARM: the folder of the set of calls has lost")
        server.logged(COMPLETE)
    assert (path / "counters").exists() or wait_for((path / "counters").exists)
    assert f"{COUNT}" in command(server, "stats")
    assert command(server, "calls", "--json").count('"call_id"') == COUNT
    wait_for(lambda: readiness(server) == (True, []))
    replace_decider(server)
    assert held(server) == COUNT
    assert "ALARM: calls are lost" not in server.log
    assert command(server, "calls", "--json").count('"call_id"') == 0


@pytest.mark.parametrize("name", ["serve.lock", "serve.sock", "control", "ask", "counters"])
def test_each_other_file_is_made_anew(server: Server, name: str) -> None:
    path = server.folder / "calls" / name
    before = path.stat().st_ino
    other = path.with_name("other")  # so that the inode is not used again
    os.link(path, other)
    path.unlink()
    wait_for(path.exists)
    assert path.stat().st_ino != before
    if name != "counters":
        server.logged(COMPLETE)
    assert command(server, "calls", "--json").count('"call_id"') == COUNT
    wait_for(lambda: readiness(server) == (True, []))
    second = Server(server.folder, CONFIG, ready=False)
    assert second.ended() == 1, "no second server gets the folder"
    assert held(server) == COUNT


def test_the_new_sockets_survive_the_decider_and_a_take_over(server: Server) -> None:
    shutil.rmtree(server.folder / "calls")
    server.logged(SAVED)
    server.logged(COMPLETE)
    replace_decider(server)
    assert command(server, "calls", "--json").count('"call_id"') == COUNT
    new = Server(server.folder, CONFIG + LISTEN, ready=False, options=["--take-over"])
    try:
        assert server.ended() == 0, server.log
        wait_for(lambda: command(new, "calls", "--json").count('"call_id"') == COUNT)
    finally:
        assert new.stop() == 0, new.log


def test_a_replacement_that_finds_no_set_reports_that(server: Server) -> None:
    decider = server.decider
    os.kill(decider, signal.SIGSTOP)  # it cannot write the calls again
    shutil.rmtree(server.folder / "calls")
    os.kill(decider, signal.SIGKILL)
    server.logged("ALARM: calls are lost: an earlier decider kept calls in")
    assert held(server) == 0


def test_a_mirror_that_is_truncated_under_a_write_loses_no_call_in_silence(server: Server) -> None:
    """A write to the file is SIGBUS then, which kills the decider. Its replacement reports the damage."""
    decider = server.decider
    os.kill(decider, signal.SIGSTOP)  # it cannot look after the file
    with server.udp() as udp:
        udp.send(request("authorize", 1, call_id="more", src_ip="10.0.0.1", dst_number="44"))
        with (server.folder / "calls" / "calls.mdb").open("r+b") as file:
            file.truncate(8192)
        os.kill(decider, signal.SIGCONT)
        wait_for(lambda: SAVED in server.log or "was killed by SIGBUS" in server.log)
    if "was killed by SIGBUS" in server.log:
        wait_for(
            lambda: re.search(
                "cannot be used: (it is truncated|a process that reads or writes it crashes)", server.log
            )
        )
    else:
        server.logged(SAVED)
    assert held(server) in (0, COUNT)


def test_a_folder_that_cannot_be_made_anew_is_reported(folder: Path, server: Server) -> None:
    path = folder / "calls"
    shutil.rmtree(path)
    path.write_text("a file")
    server.logged("ALARM: only the memory of the decider holds the calls: the set of calls cannot be kept in")
    server.logged("ALARM: the supervisor cannot use the folder of the set of calls")
    assert readiness(server)[1] == ["the folder of the set of calls has no control socket"]
    assert server.authorize(call_id="more", src_ip="10.0.0.1", dst_number="44")["accepted"]
    path.unlink()
    server.logged(SAVED)
    server.logged(COMPLETE)
    replace_decider(server)
    assert held(server) == COUNT


def test_another_server_in_the_folder_is_reported(folder: Path, server: Server) -> None:
    path = folder / "calls"
    os.kill(server.decider, signal.SIGSTOP)
    server.signal(signal.SIGSTOP)
    shutil.rmtree(path)
    (folder / "other").mkdir()
    put_rows(folder / "other" / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    other = Server(folder / "other", f'[calls]\npath = "{path}"\nmax_legs = 1000\n')
    os.kill(server.decider, signal.SIGCONT)
    server.signal(signal.SIGCONT)
    server.logged("another process uses the set of calls in")
    server.logged(f"the server of process {other.process.pid} uses the set of calls in")
    assert other.stop() == 0
    server.logged(SAVED)
    server.logged(COMPLETE)
    replace_decider(server)
    assert held(server) == COUNT


def test_a_full_disk_is_reported_and_the_calls_go_on(folder: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 16) as disk:
        server = Server(folder, f'[calls]\npath = "{disk}/calls"\nmax_legs = 1000\n')
        hold(server)
        (disk / "calls" / "calls.mdb").rename(disk / "moved")
        fill(disk)
        server.logged("ALARM: only the memory of the decider holds the calls: the set of calls needs")
        assert server.authorize(call_id="more", src_ip="10.0.0.1", dst_number="44")["accepted"]
        for file in disk.iterdir():
            if file.is_file():
                file.unlink()
        server.logged(SAVED)
        replace_decider(server)
        assert held(server) == COUNT
        assert server.stop() == 0, server.log
