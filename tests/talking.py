"""A switch that talks of its calls to a server, and clocks that a test can set."""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from serving import HOST, Server, request

BURST = 500
"""Messages that are sent before their answers are read."""

_CLOCKS = struct.Struct("=dd36s")
_SITE = """\
# Written by tests/talking.py: the clocks of this process stand where a test says.
import builtins, io, mmap, struct, time

with builtins.open({path!r}, "rb") as _file:
    _map = mmap.mmap(_file.fileno(), 0, access=mmap.ACCESS_READ)
_clocks = struct.Struct("=dd36s")
_gettime, _time, _open = time.clock_gettime, time.time, io.open


def _clock_gettime(which):
    now = _gettime(which)
    shifted = {{time.CLOCK_BOOTTIME: 0, time.CLOCK_REALTIME: 1}}.get(which)
    return now if shifted is None else now + _clocks.unpack(_map[:])[shifted]


def _opened(file, *args, **more):
    if str(file) == "/proc/sys/kernel/random/boot_id":
        boot = _clocks.unpack(_map[:])[2].decode()
        if boot.strip(chr(0)):
            return io.StringIO(boot)
    return _open(file, *args, **more)


time.clock_gettime = _clock_gettime
time.time = lambda: _time() + _clocks.unpack(_map[:])[1]
builtins.open = io.open = _opened
"""


class Talker:
    """A connection of a switch, from an address of its own; answers are the ``result`` of each."""

    def __init__(self, server: Server, address: str = HOST) -> None:
        self._socket = socket.create_connection((HOST, server.ports["tcp"]), 20, (address, 0))
        self._lines = self._socket.makefile("rb")

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self._socket.sendall(request(method, 0, **params))
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for an answer."""
        answer = json.loads(self._lines.readline())
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def send(self, message: bytes) -> None:
        """Send a message and do not wait."""
        self._socket.sendall(message)

    def burst(self, messages: Iterable[bytes]) -> list[dict[str, Any]]:
        """Send many messages with ids of their own; return the results by ascending id."""
        source = iter(messages)
        answers: list[dict[str, Any]] = []
        while some := list(islice(source, BURST)):
            self._socket.sendall(b"".join(some))
            answers += [json.loads(self._lines.readline()) for _ in some]
        answers.sort(key=lambda answer: answer["id"])
        assert all("result" in answer for answer in answers), answers[0]
        return [answer["result"] for answer in answers]

    def authorize(self, call_id: str, source: str = "10.0.0.1", **params: object) -> dict[str, Any]:
        """Ask for a call from an address."""
        return self.ask("authorize", call_id=call_id, src_ip=source, dst_number="44171", **params)

    def active(self, *call_ids: str, source: str = "10.0.0.1") -> None:
        """Have calls authorized, and start them."""
        for call_id in call_ids:
            assert self.authorize(call_id, source)["accepted"]
            assert self.ask("start", call_id=call_id) == {"ok": True}

    def tell(self, list_id: str, *call_ids: str, **params: object) -> dict[str, Any]:
        """Say which calls there are, in one message."""
        return self.ask("sync", list_id=list_id, calls=[[call_id] for call_id in call_ids], **params)

    def held(self, *call_ids: str) -> list[str]:
        """Return which of these calls hold a slot; they are stopped by that."""
        return [call_id for call_id in call_ids if self.ask("stop", call_id=call_id).get("freed")]

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()


@contextmanager
def talker(server: Server, address: str = HOST) -> Iterator[Talker]:
    """Talk to a server from an address."""
    opened = Talker(server, address)
    try:
        yield opened
    finally:
        opened.close()


class Clocks:
    """The clocks of all servers that are started from now on, and the machine's boot id as they see it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        site = folder / "site"
        site.mkdir()
        path = folder / "clocks"
        path.write_bytes(bytes(_CLOCKS.size))
        (site / "sitecustomize.py").write_text(_SITE.format(path=str(path)))
        before = os.environ.get("PYTHONPATH")
        monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep + before if before else ''}")
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._boot_id = b""
        self._boot = self._wall = 0.0

    def _set(self) -> None:
        self._map[:] = _CLOCKS.pack(self._boot, self._wall, self._boot_id)

    def forward(self, seconds: float) -> None:
        """Let so much time pass: by every clock."""
        self._boot += seconds
        self._wall += seconds
        self._set()

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock alone so much before its time."""
        self._wall += seconds
        self._set()

    def set_boot(self, boot_id: str, base: float) -> None:
        """Boot anew: the clock that begins with a boot begins at another place."""
        self._boot_id = boot_id.encode()
        self._boot += base
        self._set()


@pytest.fixture
def clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks for the servers of a test."""
    return Clocks(tmp_path, monkeypatch)
