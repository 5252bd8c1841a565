"""Listening addresses: IPv6, and the wildcards for all addresses of the machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.books import ip_account, put_rows
from support.server import serving
from support.switch import TCP, UDP, Switch, request

from identengine.model.records import Client
from identengine.server.interpreter import is_plain_build


def has_v6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as made:
            made.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("every", "asked"),
    [
        ("0.0.0.0", ["127.0.0.1", "127.0.0.5", "127.1.2.3"]),
        pytest.param("[::]", ["::1"], marks=pytest.mark.skipif(not has_v6(), reason="no IPv6 here")),
    ],
)
def test_answers_come_from_the_address_that_was_asked(tmp_path: Path, every: str, asked: list[str]) -> None:
    put_rows(tmp_path / "store", [], [Client(id=1, name="one")])
    config = f'[listen]\nudp = ["{every}:0"]\ntcp = []\n'
    config += '[[switch]]\nname = "one"\naddresses = ["127.0.0.0/8", "::1"]\n'
    with serving(tmp_path, config) as server:
        for host in asked:
            with Switch.connect(
                server.ports["udp"], UDP, to=host
            ) as client:  # accepts answers from this address only
                for method in ("ping", "switch_down"):  # the answer to the second is deferred
                    client.send(request(method, method))
                    assert client.receive()["id"] == method
        warnings = [line for line in server.log.splitlines() if "WARNING" in line.upper()]
        assert len(warnings) == int(is_plain_build()), "the only allowed warning is about a slow build of Python"


@pytest.mark.skipif(not has_v6(), reason="no IPv6 here")
def test_ipv6(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    with serving(tmp_path, '[listen]\nudp = ["[::1]:0"]\ntcp = ["[::1]:0"]\n') as server:
        for wire in (UDP, TCP):
            with Switch.connect(server.ports[wire.transport], wire, to="::1") as switch:
                assert switch.authorize("c")["account_id"] == 1
