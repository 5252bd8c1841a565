"""The server of the conformance suite, and functions that read its answers."""

from __future__ import annotations

import ssl
from typing import Any

import msgspec
from conformance.book import address_of
from support.server import Server
from support.switch import WIRES, Switch, Wire


class Served(msgspec.Struct):
    """A server, and the connections of its switches."""

    server: Server
    tls: ssl.SSLContext

    def open(self, wire: Wire) -> Switch:
        """Return the switch of this wire."""
        return self.server.switch(wire, self.tls, address_of(WIRES.index(wire)))


def outcome(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the result or the error of an answer, without fields that change with time."""
    assert set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    assert answer["jsonrpc"] == "2.0"
    found: dict[str, Any] = answer.get("result") or answer["error"]
    return {name: value for name, value in found.items() if name != "uptime"}


def all_of(switch: Switch, count: int) -> list[Any]:
    """Return the answers to an array, which may come in several parts."""
    found: list[Any] = []
    while len(found) < count:
        part = switch.receive()
        assert isinstance(part, list)
        assert part
        found += part
    return found
