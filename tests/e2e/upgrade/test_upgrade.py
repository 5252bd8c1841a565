"""``serve --take-over`` replaces the running server without an outage, or leaves it as it was."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from e2e.upgrade.servers import GOOD, TAKE_OVER, answering, hold, still_held
from support import HOST
from support.server import Server, serving
from support.switch import UDP, Switch, request
from support.waiting import wait_for

RATE = 500
"""Datagrams a second."""


class Datagrams:
    """Sends requests over UDP continuously and notes the time of each answer."""

    def __init__(self, port: int) -> None:
        self._switch = Switch.connect(port, UDP)
        # After a gap, all answers arrive at once. 33 is SO_RCVBUFFORCE.
        with contextlib.suppress(PermissionError):
            self._switch.socket.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)
        self.sent = 0
        self.answered: dict[int, float] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            self._switch.send(request("identify", self.sent, **GOOD))
            self.sent += 1
            time.sleep(max(0.0, began + self.sent / RATE - time.monotonic()))

    def _receive(self) -> None:
        with contextlib.suppress(TimeoutError):
            while not self._stop.is_set() or len(self.answered) < self.sent:
                self.answered[self._switch.receive()["id"]] = time.monotonic()

    def finish(self) -> float:
        """Stop, and return the longest time without an answer. Every answer must have arrived."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._switch.close()
        assert sorted(self.answered) == list(range(self.sent))
        return max(after - before for before, after in pairwise(sorted(self.answered.values())))


class Stream:
    """Sends requests over TCP continuously, and repeats unanswered ones on the next connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.answered: list[int] = []
        self.sent_again = self.cut = 0
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        number = 0
        while not self._stop.is_set():
            with Switch.connect(self._port) as tcp:
                while not self._stop.is_set():
                    try:
                        tcp.send(request("identify", number, **GOOD) + b"\n")
                        answer = tcp.receive()
                    except (ConnectionError, EOFError):
                        self.sent_again += 1
                        break
                    except AssertionError:  # the connection was closed within an answer
                        self.cut += 1
                        break
                    self.answered.append(answer["id"])
                    number += 1

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()
        assert self.answered == list(range(len(self.answered)))
        assert not self.cut


def test_under_load_every_request_is_answered(folder: Path) -> None:
    old = Server(folder)
    hold(old)
    udp, tcps = Datagrams(old.ports["udp"]), [Stream(old.ports["tcp"]) for _ in range(3)]
    try:
        first = answering(old)
        new = Server(folder, options=TAKE_OVER)
        assert old.ended() == 0
        with_new = len(udp.answered)
        wait_for(lambda: len(udp.answered) > with_new + 50)
        for tcp in tcps:
            asked = len(tcp.answered)
            wait_for(partial(lambda tcp, asked: len(tcp.answered) > asked + 5, tcp, asked))
    finally:
        gap = udp.finish()
        for tcp in tcps:
            tcp.finish()
    print(f"longest time without an answer at {RATE} requests/s over the take-over: {gap * 1000:.0f} ms")
    assert gap < 5, "an outage"
    assert all(tcp.sent_again <= 2 for tcp in tcps), "once, when the old connection was closed"
    assert new.ports == old.ports
    assert answering(new) not in (first, old.process.pid)
    # The new server holds the call that the old one authorized, and frees it.
    assert still_held(new)
    assert new.ask_udp(request("stop", 1, call_id="held"))["result"]["freed"] == 1
    assert new.authorize(call_id="another", src_ip="10.0.0.1", dst_number="44")["accepted"]
    assert (folder / "calls" / "serve.lock").read_text().split()[0] == str(new.process.pid)
    assert new.stop() == 0
    assert "ALARM" not in new.log
    assert (folder / "calls" / "serve.lock").read_text() == ""


def test_one_after_the_other_with_standbys(folder: Path) -> None:
    config = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nstandby = true\n'
    server = Server(folder, config)
    hold(server)
    for _ in range(2):
        server.standby  # noqa: B018 - the property waits for it
        new = Server(folder, config, options=TAKE_OVER)
        assert server.ended() == 0
        assert new.ports == server.ports
        server = new
    server.standby  # noqa: B018 - the property waits for it
    assert still_held(server)
    assert server.stop() == 0
    assert "ALARM" not in server.log


def test_half_open_and_unread_connections(folder: Path) -> None:
    old = Server(folder)
    with old.tcp() as half, old.tcp() as unread, old.tcp() as waiting:
        half.send(request("ping")[:10])
        unread.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # this peer never reads
                unread.send(request("identify", 1, **GOOD) * 50)
        waiting.send(request("ping", "w"))
        new = Server(folder, options=TAKE_OVER)
        assert b'"id":"w"' in waiting.receive_raw()
        assert waiting.is_closed(), "answered, then closed"
        assert b"-32700" in half.receive_raw()
        assert old.ended() == 0
    assert answering(new)
    assert new.stop() == 0
    assert "ALARM" not in new.log


def test_other_addresses(folder: Path) -> None:
    old = Server(folder)
    config = f'[listen]\nudp = ["{HOST}:{old.ports["udp"]}"]\ntcp = ["127.0.0.2:0"]\n'
    new = Server(folder, config, options=TAKE_OVER)
    assert old.ended() == 0
    assert new.ports["udp"] == old.ports["udp"]
    assert answering(new)
    socket.create_connection(("127.0.0.2", new.ports["tcp"])).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, old.ports["tcp"]))
    assert new.stop() == 0


def test_without_a_running_server_it_starts(folder: Path) -> None:
    server = Server(folder, options=TAKE_OVER)
    assert "--take-over: no server runs on" in server.log
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("config", "away", "said"),
    [
        ("[identify]\nrank = 'x'\n", False, '[identify] rank: expected "mask_first"'),
        ('[listen]\nudp = ["192.0.2.1:4870"]\n', False, "cannot listen on udp 192.0.2.1:4870"),
        ("", True, "ALARM: the take-over failed: the book or its key cannot be loaded"),
    ],
    ids=["config", "address", "book"],
)
def test_a_new_server_that_fails_leaves_the_old_one_as_it_was(
    folder: Path, config: str, away: bool, said: str
) -> None:
    with serving(folder) as old:
        hold(old)
        before = answering(old)
        if away:
            old.store.rename(folder / "away")
        new = Server(folder, config, ready=False, options=TAKE_OVER)
        assert new.ended() == 1
        assert said in new.log
        assert answering(old) == before
        assert still_held(old)
        old.write_config("")


def test_an_old_server_that_hangs_is_named(folder: Path) -> None:
    with serving(folder) as old:
        old.signal(signal.SIGSTOP)
        new = Server(folder, ready=False, options=TAKE_OVER)
        assert new.ended() == 1
        old.signal(signal.SIGCONT)
        assert f"the server of process {old.process.pid} does not answer: it hangs or is stopped" in new.log
        assert answering(old)


def test_a_config_that_changes_during_a_take_over_reaches_the_new_server(folder: Path) -> None:
    """The new server has read the file earlier. A switch that was removed since then must not return."""
    old = Server(folder)
    new = Server(folder, ready=False, options=TAKE_OVER)
    try:
        standby = new.standby
        os.kill(standby, signal.SIGSTOP)  # the new server loads its book meanwhile
        old.logged(f"process {new.process.pid} is about to take over")
        old.write_config("[reasons.unknown_source]\nsip_code = 604\n")
        old.signal(signal.SIGHUP)
        old.logged("SIGHUP: changed: [reasons]")
        os.kill(standby, signal.SIGCONT)
        assert old.ended() == 0
        assert old.authorize(src_ip="10.9.9.9", dst_number="44171")["sip_code"] == 604
    finally:
        new.stop()
        old.stop()
