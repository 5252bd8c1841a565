"""A supervisor whose children die repeatedly, and storms of signals."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.processes import children
from support.server import Server, serving
from support.switch import request
from support.waiting import PATIENCE, wait_for

from identengine.model.records import Client

GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    return tmp_path


def gone(server: Server, pid: int) -> bool:
    return pid not in children(server.process.pid)


def accepts(server: Server) -> bool:
    """Return True if a call is accepted. A replacement answers ``not_ready`` if it has no book after a second."""
    return bool(server.authorize(**GOOD)["accepted"])


def kill_child(server: Server) -> float:
    """Kill a child as soon as it exists. Return the time when it was found, on the monotonic clock."""
    (child, *_) = wait_for(lambda: children(server.process.pid))
    found = time.monotonic()
    os.kill(child, signal.SIGKILL)
    wait_for(partial(gone, server, child))
    return found


def test_deaths_soon_after_the_start_are_followed_by_growing_pauses(folder: Path) -> None:
    with serving(folder) as server:
        starts = [kill_child(server) for _ in range(4)]
        wait_for(lambda: children(server.process.pid))
        starts.append(time.monotonic())
        pauses = [after - before for before, after in itertools.pairwise(starts)]
        # Each death is later than the time before it, so a slow machine only makes these times longer.
        assert pauses[1] >= 0.5
        assert pauses[2] >= 1
        assert pauses[3] >= 2
        found = re.findall(
            r"replaces it (at once|in [\d.]+ s, since \d+ died within 10 s of their start)", server.log
        )
        assert found == [
            "at once",
            "in 0.5 s, since 2 died within 10 s of their start",
            "in 1 s, since 3 died within 10 s of their start",
            "in 2 s, since 4 died within 10 s of their start",
        ]
        wait_for(lambda: accepts(server))


def test_many_deaths_make_few_processes(folder: Path) -> None:
    seen: set[int] = set()
    with serving(folder) as server:

        def killed_as_it_starts(count: int) -> bool:
            for child in children(server.process.pid):
                seen.add(child)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            return len(seen) >= count

        wait_for(lambda: killed_as_it_starts(1))
        began = time.monotonic()
        wait_for(lambda: killed_as_it_starts(4))
        assert time.monotonic() - began >= 1.4, "the third and fourth start came after pauses of 0.5 s and 1 s"
        assert len(seen) == 4
        assert server.log.count("ALARM") <= 4
        wait_for(lambda: accepts(server))


def test_sigterm_in_a_pause_ends_it(folder: Path) -> None:
    server = Server(folder)
    for _ in range(5):
        kill_child(server)
    server.logged("in 4 s, since 5 died")
    # After the pause it would start a decider, which drains and exits with 0.
    assert server.stop() == 128 + signal.SIGKILL


@pytest.mark.parametrize("standby", [False, True])
def test_sigterm_while_a_replacement_starts(folder: Path, standby: bool) -> None:
    listen = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nstandby = {str(standby).lower()}\n'
    for delay in (0.0, 0.002, 0.01, 0.05):
        server = Server(folder, listen)
        if standby:
            server.standby  # noqa: B018 - the property waits for it
        with server.udp() as udp:
            os.kill(server.decider, signal.SIGKILL)
            time.sleep(delay)
            udp.send(request("ping"))
            server.signal(signal.SIGTERM)
            status = server.ended()
            # If the signal arrives before the death is noticed, no replacement starts.
            assert status in (0, 128 + signal.SIGKILL), server.log
            if status == 0:
                assert udp.receive_raw()
        assert "Traceback" not in server.log


def test_storms_of_signals(folder: Path) -> None:
    rng = random.Random(1)
    with serving(folder) as server:
        decider = server.decider
        for _ in range(300):
            os.kill(rng.choice((server.process.pid, decider)), signal.SIGHUP)
        assert server.decider == decider
        assert server.authorize(**GOOD)["accepted"]
        for _ in range(50):
            for pid in (server.process.pid, decider):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, rng.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))
        assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.log


def test_a_decider_stopped_while_it_drains_is_killed(folder: Path) -> None:
    server = Server(folder)
    os.kill(server.decider, signal.SIGSTOP)
    began = time.monotonic()
    assert server.stop() == 128 + signal.SIGKILL
    assert time.monotonic() - began > 4
    server.logged("and is killed")


def test_a_first_decider_that_cannot_start_ends_it(folder: Path) -> None:
    (folder / "calls").mkdir()
    (folder / "calls" / "lock").mkdir()
    server = Server(folder, ready=False)
    assert server.ended() == 1
    assert server.log.count("the set of calls cannot be kept in") == 1
    assert "ALARM" not in server.log


def test_a_replacement_that_cannot_start_is_tried_again(folder: Path) -> None:
    with serving(folder) as server:
        lock = folder / "calls" / "lock"
        lock.unlink()
        lock.mkdir()
        os.kill(server.decider, signal.SIGKILL)
        server.logged("exited with status 1; another replaces it in 0.5 s")
        lock.rmdir()
        assert wait_for(lambda: children(server.process.pid))
        wait_for(lambda: server.authorize(**GOOD)["accepted"])


def test_a_log_without_a_reader_delays_nothing(folder: Path) -> None:
    quiet = Server(folder)  # for its config only
    assert quiet.stop() == 0
    command = [sys.executable, "-m", "identengine", "serve", "--config", str(folder / "identengine.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while process.stdout.readline().strip() != "READY":
            pass
        os.set_blocking(process.stderr.fileno(), False)
        blocked = os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(blocked, b"x" * 4096)
        os.close(blocked)
        (decider,) = children(process.pid)
        os.kill(decider, signal.SIGKILL)
        wait_for(lambda: children(process.pid) not in ([], [decider]))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


@pytest.fixture
def callers(folder: Path) -> Iterator[tuple[Server, list[bytes]]]:
    """Send one request after another without a pause, and note the answers."""
    stop = threading.Event()
    answers: list[bytes] = []
    with serving(folder, f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nstandby = true\n') as server:

        def ask() -> None:
            with server.udp() as udp:
                udp.socket.settimeout(0.5)
                while not stop.is_set():
                    udp.send(request("identify", 1, **GOOD))
                    with contextlib.suppress(TimeoutError):
                        answers.append(udp.receive_raw())

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            yield server, answers
        finally:
            stop.set()
            asker.join()


def is_right(answer: bytes) -> bool:
    return b'"account_id":1' in answer


def test_deaths_of_any_process_under_load(callers: tuple[Server, list[bytes]]) -> None:
    server, answers = callers
    rng = random.Random(2)
    for _ in range(4):
        victims = [server.decider, server.standby]
        for pid in rng.sample(victims, rng.randint(1, len(victims))):
            os.kill(pid, signal.SIGKILL)
            wait_for(partial(gone, server, pid))
        wait_for(lambda: server.authorize(**GOOD)["accepted"])
    count = len(answers) + 1  # one message may have been in transit
    wait_for(lambda: len(answers) >= count + 20)
    assert all(map(is_right, answers[count:]))
    # On a slow machine a replacement may have no book after a second, and answers not_ready until then.
    wrong = [answer for answer in answers if not is_right(answer) and b'"reason":"not_ready"' not in answer]
    assert wrong == []
