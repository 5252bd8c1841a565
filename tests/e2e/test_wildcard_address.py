"""UDP listeners on every address of a machine, served: answers come from the address that was asked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.books import put_rows
from support.server import serving
from support.switch import UDP, Switch, request

from identengine.model.records import Client


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
            with Switch.connect(server.ports["udp"], UDP, to=host) as client:  # it takes answers from nowhere else
                for method in ("ping", "switch_down"):  # the second takes its time
                    client.send(request(method, method))
                    assert client.receive()["id"] == method
        assert "WARNING" not in server.log.upper()
