"""The RADIUS client of docs/switches/sippy against servers that are not identengine."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from hmac import digest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import HOST
from support.programs import program
from support.radclient import PACKAGES
from support.sippy import RECIPE, SECRET, client_config
from support.waiting import wait_for

REQUEST = """\
AUTH
User-Name="192.0.2.30"
Password="cisco"
Calling-Station-Id="442079460100"
Called-Station-Id="33142685300"
Cisco-AVPair="call-id=1@192.0.2.30"
h323-remote-address="h323-remote-address=192.0.2.30"
Cisco-AVPair="h323-session-protocol=sipv2"

"""
ACCEPT = 2


@contextmanager
def answering(*, signed: bool, secret: bytes = SECRET.encode()) -> Iterator[int]:
    """Accept every Access-Request at a port during the block. Yield the port."""

    def serve() -> None:
        while request := server.recvfrom(4096):
            packet, peer = request
            if not packet:
                return
            attributes = b"\x50\x12" + bytes(16) if signed else b""
            head = bytes((ACCEPT, packet[1])) + (20 + len(attributes)).to_bytes(2, "big")
            if signed:
                attributes = b"\x50\x12" + digest(secret, head + packet[4:20] + attributes, "md5")
            server.sendto(head + md5(head + packet[4:20] + attributes + secret).digest() + attributes, peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HOST, 0))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", server.getsockname())
            thread.join()


@pytest.mark.parametrize(
    ("signed", "secret", "code"),
    [(True, SECRET, "0"), (False, SECRET, "2"), (True, "another", "2")],
    ids=["signed", "unsigned", "wrong secret"],
)
def test_only_a_signed_reply_of_the_engine_counts(tmp_path: Path, signed: bool, secret: str, code: str) -> None:
    program("radclient", PACKAGES)
    with answering(signed=signed, secret=secret.encode()) as port:
        config = client_config(tmp_path, [f"{HOST}:{port}:{port}"], ["198.51.100.7"], tries=1)
        done = subprocess.run(
            [sys.executable, RECIPE / "radiusclient.py", "-f", config, "-s"],
            input=REQUEST,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stdout.splitlines()[-2:] == [code, ""]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The client as a module. Its packets are not sent."""
    spec = importlib.util.spec_from_file_location("radiusclient", RECIPE / "radiusclient.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "radiusclient", module)
    spec.loader.exec_module(module)
    return module


def engine_of(client: ModuleType) -> tuple[Any, list[str]]:
    """Return an engine, and the packets that it has received."""
    sent: list[str] = []

    class Engine(client.Engine):  # type: ignore[name-defined, misc]
        def ask(self, _: str, packet: str) -> object:
            sent.append(packet)
            return object()

    return Engine(HOST, client.Config([HOST], "", "", 1, 1, 1)), sent


def test_an_engine_that_is_away_holds_up_no_call(client: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WAITING_PACKETS", 3)
    engine, sent = engine_of(client)
    for number in range(5):
        engine.record(str(number), 60)
    engine.start()
    wait_for(lambda: len(sent) == 3)
    assert sent == ["2", "3", "4"], "the oldest are dropped"


def test_an_old_report_is_not_sent(client: ModuleType) -> None:
    """A Start that arrives long after the Stop of its call would hold a slot."""
    assert client.REPORT_SECONDS < 60
    engine, sent = engine_of(client)
    engine.record("Start", -1)
    engine.record("Stop", 60)
    engine.start()
    engine.drain(client.time.monotonic() + 20)
    assert sent == ["Stop"]


def test_each_restart_has_a_session_of_its_own(client: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine takes an Accounting-On with the session of an earlier one for its repeat."""
    sent: list[str] = []

    def ask(_: object, __: str, packet: str) -> object:
        sent.append(packet)
        return object()

    monkeypatch.setattr(client.Engine, "ask", ask)
    announcing = client.Client(client.Config([HOST, HOST], "", "", 1, 1, 1))
    assert [announcing.announce("Accounting-On") for _ in range(2)] == [0, 0]
    assert sent[0] == sent[1] != sent[2] == sent[3]
    assert all("Acct-Session-Id = '" in packet for packet in sent)
