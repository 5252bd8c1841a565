"""Messages of a real server to a service manager, over a real socket in NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.books import ip_account, put_rows
from support.processes import runs
from support.server import Server
from support.waiting import PATIENCE, wait_for

from identengine.model.records import Client
from identengine.server.supervisor.systemd import Notifier


class Manager:
    """The service manager: it receives messages."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(PATIENCE)
        self.environment = {"NOTIFY_SOCKET": address}
        self.heard: list[str] = []

    def wait_for(self, wanted: Callable[[str], object]) -> str:
        """Return the next message that matches."""
        while not wanted(message := self._socket.recv(4096).decode()):
            self.heard.append(message)
        self.heard.append(message)
        return message

    def wait_for_line(self, line: str) -> str:
        return self.wait_for(lambda message: line in message.splitlines())

    def wait_for_both(self, one: str, other: str) -> None:
        """Wait for two messages that contain these texts, in any order."""
        first = self.wait_for(lambda message: one in message or other in message)
        if one not in first:
            self.wait_for(lambda message: one in message)
        if other not in first:
            self.wait_for(lambda message: other in message)

    def drained(self) -> list[str]:
        """Return all messages that have arrived."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append(self._socket.recv(4096).decode())
        self._socket.settimeout(PATIENCE)
        return self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    return tmp_path


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, folder: Path) -> Iterator[Manager]:
    name = folder / "notify" if request.param == "path" else f"@identengine-test-{os.getpid()}-{folder.name}"
    opened = Manager(str(name))
    yield opened
    opened.close()


def test_a_whole_run(folder: Path, manager: Manager) -> None:
    server = Server(folder, env=manager.environment)
    manager.wait_for_both("READY=1", f"STATUS=the decider (pid {server.decider}) decides")
    server.write_config("[reasons.unknown_source]\nsip_code = 604\n")
    server.signal(signal.SIGHUP)
    reloading = manager.wait_for_line("RELOADING=1")
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading)
    manager.wait_for_line("READY=1")
    server.logged("SIGHUP: changed: [reasons]")  # a thread writes it, possibly a moment later
    server.write_config("[identify]\nrank = 'x'\n")
    server.signal(signal.SIGHUP)
    manager.wait_for_both("the config of the last SIGHUP is invalid", "READY=1")
    old = server.decider
    os.kill(old, signal.SIGKILL)
    manager.wait_for(lambda message: "decides" in message and f"(pid {old})" not in message)
    assert server.stop() == 0
    said = manager.drained()
    assert said.count("STOPPING=1") == 1
    assert said.count("READY=1") == 3
    assert not any("WATCHDOG" in message for message in said)


def test_a_reload_during_the_end(folder: Path) -> None:
    """A server that is stopping reads no config, so it must not report the start of a reload."""
    manager = Manager(str(folder / "notify"))
    server = Server(folder, env=manager.environment)
    with server.tcp() as switch:
        switch.send(b'{"half a')  # the drain waits for the other half
        server.signal(signal.SIGTERM)
        manager.wait_for_line("STOPPING=1")
        server.signal(signal.SIGHUP)
        assert server.ended() == 0
    assert not any("RELOADING=1" in message for message in manager.drained())
    assert "SIGHUP" not in server.log
    manager.close()


def test_signs_of_life_while_the_decider_is_healthy(folder: Path) -> None:
    manager = Manager(str(folder / "notify"))
    server = Server(folder, env=manager.environment | {"WATCHDOG_USEC": "1000000"})
    manager.wait_for_line("WATCHDOG=1")
    manager.wait_for_line("WATCHDOG=1")
    # The supervisor sends no sign of life when its decider has been silent for too long.
    server.signal(signal.SIGSTOP)
    manager.drained()
    server.signal(signal.SIGCONT)
    manager.wait_for_line("WATCHDOG=1")
    assert server.stop() == 0
    manager.close()


def test_a_take_over_hands_the_main_process_over(folder: Path) -> None:
    manager = Manager(str(folder / "notify"))
    server = Server(folder, env=manager.environment | {"WATCHDOG_USEC": "2000000"})
    manager.wait_for_line("READY=1")
    server.signal(signal.SIGUSR2)
    main = manager.wait_for(lambda message: message.startswith("MAINPID="))
    pid = int(main.removeprefix("MAINPID="))
    assert pid != server.process.pid
    try:
        assert server.process.wait(PATIENCE) == 0
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"NOTIFY_SOCKET=" + str(folder / "notify").encode() in environment
        manager.wait_for_line("READY=1")
        manager.wait_for_line("WATCHDOG=1")
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not runs(pid))
    manager.wait_for_line("STOPPING=1")
    assert manager.heard.count("STOPPING=1") == 1, "the old server did not stop the service"
    assert server.ended() == 0
    manager.close()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_applies_to_one_process(
    tmp_path: Path, environment: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "WATCHDOG_PID" in environment and environment["WATCHDOG_PID"] != "1":
        monkeypatch.setitem(environment, "WATCHDOG_PID", str(os.getpid()))
    assert Notifier(environment | {"NOTIFY_SOCKET": str(tmp_path / "notify")}).watchdog == seconds
    assert Notifier(environment).watchdog is None


def test_a_message_that_cannot_be_sent_is_sent_later(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notifier.ready()
    notifier.status("one")
    manager = Manager(str(tmp_path / "notify"))
    notifier.beat(healthy=True)
    assert manager.drained() == ["READY=1", "STATUS=one"]
    manager.close()
    for strange in ("", "relative", "@", "/" + "x" * 200):
        Notifier({"NOTIFY_SOCKET": strange}).ready()
