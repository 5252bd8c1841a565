"""The RADIUS client of docs/switches/sippy against servers that are not identengine."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from hmac import digest
from pathlib import Path

import pytest
from support import HOST
from support.programs import program
from support.radclient import PACKAGES
from support.sippy import RECIPE, SECRET, client_config

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
