"""A second ``serve --take-over`` becomes the server without an outage, or leaves the first one as it was."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.processes import runs
from support.server import Server, serving
from support.switch import UDP, Switch, request
from support.waiting import PATIENCE, wait_for

from identengine.model.records import Client
from identengine.net.sockets import NamedSocket
from identengine.server.supervisor import handover
from identengine.server.supervisor.handover import HandoverError, OtherServer

GOOD = {"src_ip": "10.0.0.3", "dst_number": "44171"}
TAKE_OVER = ("--take-over",)
RATE = 500
"""Datagrams a second."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    accounts = [ip_account(1, "10.0.0.1", orig_capacity=1), ip_account(3, "10.0.0.3")]
    put_rows(tmp_path / "store", accounts, [Client(id=1, name="one")])
    return tmp_path


def answering(server: Server) -> int:
    pid = server.ask_udp(request("ping"))["result"]["pid"]
    assert isinstance(pid, int)
    return pid


def hold(server: Server) -> None:
    """Have the one call of account 1 authorized."""
    assert server.authorize(call_id="held", src_ip="10.0.0.1", dst_number="44")["accepted"]


def still_held(server: Server) -> bool:
    """Whether the one call of account 1 is held, and its slot with it."""
    answer = server.authorize(call_id="another", src_ip="10.0.0.1", dst_number="44")
    return bool(answer.get("reason") == "account_capacity")


class Datagrams:
    """Asks by UDP all the time, and notes when each answer came."""

    def __init__(self, port: int) -> None:
        self._switch = Switch.connect(port, UDP)
        # What is answered after a gap comes all at once; 33: SO_RCVBUFFORCE.
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
        """Stop, and return the longest time without an answer; every one of them must have come."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._switch.close()
        assert sorted(self.answered) == list(range(self.sent))
        return max(after - before for before, after in pairwise(sorted(self.answered.values())))


class Stream:
    """Asks by TCP all the time; where a connection ends it asks what was not answered on the next one."""

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
                    except AssertionError:  # the connection ended within an answer
                        self.cut += 1
                        break
                    self.answered.append(answer["id"])
                    number += 1

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()
        assert self.answered == list(range(len(self.answered)))
        assert not self.cut


def test_under_load_nothing_that_was_sent_goes_unanswered(folder: Path) -> None:
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
    assert all(tcp.sent_again <= 2 for tcp in tcps), "once, with the end of the old connection"
    assert new.ports == old.ports
    assert answering(new) not in (first, old.process.pid)
    # What the old one authorized is held by the new one, and freed there.
    assert still_held(new)
    assert new.ask_udp(request("stop", 1, call_id="held"))["result"]["freed"] == 1
    assert new.authorize(call_id="another", src_ip="10.0.0.1", dst_number="44")["accepted"]
    assert (folder / "calls" / "serve.lock").read_text().strip() == str(new.process.pid)
    assert new.stop() == 0
    assert "ALARM" not in new.log
    assert (folder / "calls" / "serve.lock").read_text() == ""


def test_one_after_the_other_with_standbys(folder: Path) -> None:
    config = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nstandby = true\n'
    server = Server(folder, config)
    hold(server)
    for _ in range(2):
        server.standby  # noqa: B018 - it is waited for
        new = Server(folder, config, options=TAKE_OVER)
        assert server.ended() == 0
        assert new.ports == server.ports
        server = new
    server.standby  # noqa: B018 - it is waited for
    assert still_held(server)
    assert server.stop() == 0
    assert "ALARM" not in server.log


def test_what_half_open_and_unread_connections_cost(folder: Path) -> None:
    old = Server(folder)
    with old.tcp() as half, old.tcp() as unread, old.tcp() as waiting:
        half.send(request("ping")[:10])
        unread.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # it never reads
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


def test_where_no_server_runs_it_starts(folder: Path) -> None:
    server = Server(folder, options=TAKE_OVER)
    assert "--take-over: no server runs on" in server.log
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("config", "away", "said"),
    [
        ("[identify]\nrank = 'x'\n", False, "[identify] rank: one of"),
        ('[listen]\nudp = ["192.0.2.1:4870"]\n', False, "cannot listen on udp 192.0.2.1:4870"),
        ("", True, "ALARM: the take-over failed: the book or its key cannot be loaded"),
    ],
    ids=["config", "address", "book"],
)
def test_a_new_one_that_cannot_leaves_the_old_one_as_it_was(
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


def test_an_old_one_that_hangs_is_named(folder: Path) -> None:
    with serving(folder) as old:
        old.signal(signal.SIGSTOP)
        new = Server(folder, ready=False, options=TAKE_OVER)
        assert new.ended() == 1
        old.signal(signal.SIGCONT)
        assert f"the server of process {old.process.pid} does not answer: it hangs or is stopped" in new.log
        assert answering(old)


# ---- what the other side may do, said by hand


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as running:
        hold(running)
        yield running


@pytest.fixture(autouse=True)
def no_signals_of_sockets() -> Iterator[None]:
    """Live through SIGIO, as a supervisor does that blocks it: a handover.Peer has it sent to this process."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@contextlib.contextmanager
def asking(server: Server) -> Iterator[OtherServer]:
    """Ask a server to hand over; whoever asks is this process."""
    asked = handover.ask(server.folder / "calls")
    assert asked is not None
    peer, sockets = asked
    try:
        kinds = [one.kind for one in sockets]
        assert kinds[:2] == ["udp", "tcp"]
        assert "control" in kinds
        yield peer
    finally:
        close(sockets)
        peer.close()


def close(sockets: list[NamedSocket]) -> None:
    for one in sockets:
        one.bound.close()


def heard(peer: OtherServer) -> handover.Message:
    found = wait_for(peer.hear)
    for descriptor in found[1]:
        os.close(descriptor)
    message: handover.Message = found[0]
    return message


def test_one_at_a_time(server: Server) -> None:
    with asking(server):
        with pytest.raises(HandoverError, match=f"process {os.getpid()} is taking over already"):
            handover.ask(server.folder / "calls")
        second = Server(server.folder, ready=False, options=TAKE_OVER)
        assert second.ended() == 1
        assert f"process {os.getpid()} is taking over already" in second.log
    server.logged(f"ALARM: process {os.getpid()}, which was going to take over, ended; this server goes on")
    with asking(server):
        pass


def test_one_that_ends_when_all_was_given_to_it(server: Server) -> None:
    before = answering(server)
    with asking(server) as peer:
        peer.say(handover.Commit())
        assert isinstance(heard(peer), handover.Yours)
        wait_for(lambda: not runs(before))
    assert answering(server) != before
    wait_for(lambda: still_held(server))
    assert server.authorize(**GOOD)["accepted"]
    assert (server.folder / "calls" / "serve.lock").read_text().strip() == str(server.process.pid)
    assert server.log.count("ALARM") == 1
    second = Server(server.folder, ready=False)
    assert second.ended() == 1, "the lock is its own as before"


def test_one_that_does_not_want_any_more(server: Server) -> None:
    with asking(server) as peer:
        peer.say(handover.No("of a whim"))
        server.logged(f"ALARM: process {os.getpid()} does not take over: of a whim; this server goes on")


def test_another_version_of_the_hand_over(server: Server) -> None:
    with asking(server) as peer:
        peer.say(handover.TakeoverRequest(2))
        answer = heard(peer)
        assert isinstance(answer, handover.No)
        assert "version 2 of the hand-over" in answer.why
    with asking(server) as peer:
        os.write(peer.fileno(), b"\xff\xffgarbage")
        server.logged("it speaks another version of the hand-over; this server goes on")
    assert answering(server)


def test_a_server_that_ends_says_so(folder: Path) -> None:
    server = Server(folder)
    with asking(server) as peer:
        assert server.stop() == 0
        assert heard(peer) == handover.No("it was told to end")


_HANGS = """
import signal, sys, time
from pathlib import Path
from identengine.server.supervisor import handover
signal.signal(signal.SIGIO, signal.SIG_IGN)
peer, sockets = handover.ask(Path(sys.argv[1]))
peer.say(handover.Commit())
time.sleep(60)
"""


def test_one_that_hangs_when_all_was_given_to_it_is_killed(server: Server) -> None:
    with subprocess.Popen([sys.executable, "-c", _HANGS, str(server.folder / "calls")]) as hangs:
        with server.udp() as udp:
            server.logged(f"handing over to process {hangs.pid}")
            udp.socket.settimeout(PATIENCE)
            udp.send(request("ping"))  # waits in the kernel meanwhile
            assert udp.receive()["id"] == 1
        assert hangs.wait(PATIENCE) == -signal.SIGKILL
    assert f"ALARM: process {hangs.pid} gave no sign of life while it took over, and was killed" in server.log
    wait_for(lambda: still_held(server))


# ---- deaths


@pytest.mark.parametrize("moment", ["is going to take over", "handing over to process"])
@pytest.mark.parametrize("side", ["old", "new"])
def test_whoever_is_killed_one_of_them_serves(folder: Path, side: str, moment: str) -> None:
    # Addresses of their own, since a new one that was given nothing yet binds what the config names.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        addresses = []
        for one in (udp, tcp):
            one.bind((HOST, 0))
            addresses.append(f'["{HOST}:{one.getsockname()[1]}"]')
    config = "[listen]\nudp = {}\ntcp = {}\n".format(*addresses)
    old = Server(folder, config)
    hold(old)
    new = Server(folder, config, ready=False, options=TAKE_OVER)
    victim, other = (old, new) if side == "old" else (new, old)
    while moment not in old.log:
        assert new.process.poll() is None, old.log
    victim.process.kill()
    assert victim.ended() == -signal.SIGKILL
    new.ports = old.ports

    def serves() -> Any:
        with contextlib.suppress(OSError, KeyError), old.udp() as udp:
            udp.socket.settimeout(1)
            udp.send(request("authorize", call_id="another", src_ip="10.0.0.1", dst_number="44"))
            return udp.receive()["result"].get("reason") == "account_capacity"

    wait_for(serves)
    # Had the new one all by then, its death is that of a server alone: what was held is there for the next one.
    if other.process.poll() is None:
        other.signal(signal.SIGTERM)
        assert other.ended() == 0, old.log


# ---- SIGUSR2


def successor(server: Server) -> int:
    """Tell a server to start the next program; return its process."""
    before = len(server.log)
    server.signal(signal.SIGUSR2)
    found = wait_for(lambda: re.search(r"SIGUSR2: process (\d+) is to take over", server.log[before:]))
    return int(found[1])


def test_sigusr2_starts_the_next_program(server: Server) -> None:
    pid = successor(server)
    try:
        assert server.process.wait(PATIENCE) == 0
        assert f"process {pid} has taken over; this server ends" in server.log
        assert still_held(server)
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert command[1:-1] == [
            b"-m", b"identengine", b"serve", b"--config", str(server.config).encode(), b"--take-over"
        ]  # fmt: skip
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not runs(pid))
    assert "ALARM" not in server.log


def test_sigusr2_with_a_wrong_config_leaves_it_as_it_was(server: Server) -> None:
    before = answering(server)
    server.write_config("[identify]\nrank = 'x'\n")
    pid = successor(server)
    server.logged(f"ALARM: the new program, process {pid}, ended before it asked")
    assert not runs(pid)
    assert answering(server) == before
    assert still_held(server)
    server.write_config("")
    successor_again = successor(server)
    assert server.process.wait(PATIENCE) == 0
    os.kill(successor_again, signal.SIGTERM)
    wait_for(lambda: not runs(successor_again))
