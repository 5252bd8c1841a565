"""Helpers for tests of operator commands: a server with many calls, and raw access to its control socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from identengine.model.records import Client
from identengine.stats.file import read
from support.books import ip_account, put_rows
from support.server import Server
from support.switch import request
from support.waiting import wait_for

CALLS = '[calls]\npath = "calls"\nmax_legs = 20000\n'
CLIENTS = [
    Client(id=1, name="reseller", capacity=10000),
    Client(id=2, name="shop", parent_id=1),
    Client(id=3, name="other"),
]
ACCOUNTS = [
    ip_account(17, "10.0.0.17", client_id=2, name="trunk", orig_capacity=8000),
    ip_account(18, "10.0.0.18", client_id=3, orig_capacity=4, term_enabled=True, term_capacity=10),
]


def book(folder: Path) -> Path:
    """Make a store with these accounts."""
    put_rows(folder / "store", ACCOUNTS, CLIENTS)
    return folder


def burst(server: Server, messages: Iterable[bytes]) -> list[Any]:
    """Send messages over one connection. Return the results in the order of the messages."""
    with server.tcp() as switch:
        return switch.burst(messages)


def call(call_id: str, source: str = "10.0.0.17", **more: object) -> bytes:
    return request("authorize", 1, call_id=call_id, src_ip=source, dst_number="44", **more)


def hold(server: Server, count: int, source: str = "10.0.0.17", name: str = "c") -> None:
    """Reserve the calls ``c0``, ``c1`` and so on."""
    assert all(result["accepted"] for result in burst(server, [call(f"{name}{n}", source) for n in range(count)]))


def command(server: Server, *words: object, **how: Any) -> subprocess.Popen[bytes]:
    """Start an operator's command against a server."""
    return subprocess.Popen(
        [sys.executable, "-m", "identengine", *map(str, words), "--config", str(server.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **how,
    )


def connect(server: Server) -> socket.socket:
    """Connect to the control socket, however long its path is. Wait while its queue is full, as commands do."""
    opened = socket.socket(socket.AF_UNIX)
    opened.settimeout(10)
    folder = os.open(server.folder / "calls", os.O_PATH)

    def connected() -> bool:
        with contextlib.suppress(BlockingIOError):
            opened.connect(f"/proc/self/fd/{folder}/control")
            return True
        return False

    try:
        wait_for(connected)
    except BaseException:
        opened.close()
        raise
    finally:
        os.close(folder)
    return opened


def asked(server: Server, **message: object) -> Any:
    """Return the answer to one request over a new connection."""
    with connect(server) as opened, opened.makefile("rb") as answers:
        opened.sendall(json.dumps(message).encode() + b"\n")
        return json.loads(answers.readline())


def held(server: Server) -> int:
    """Return the number of held legs."""
    found: int = asked(server, ask="status")["held"]
    return found


def counted(server: Server, name: str) -> int:
    """Return one of the counters."""
    return read(server.folder / "calls").values[name]
