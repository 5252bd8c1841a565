"""Helpers for tests of upgrades: a server answers, and still holds its call."""

from __future__ import annotations

from support.server import Server
from support.switch import request

from identengine.net.sockets import NamedSocket

GOOD = {"src_ip": "10.0.0.3", "dst_number": "44171"}


TAKE_OVER = ("--take-over",)


def answering(server: Server) -> int:
    pid = server.ask_udp(request("ping"))["result"]["pid"]
    assert isinstance(pid, int)
    return pid


def hold(server: Server) -> None:
    """Authorize the one call of account 1."""
    assert server.authorize(call_id="held", src_ip="10.0.0.1", dst_number="44")["accepted"]


def still_held(server: Server) -> bool:
    """Return True if the one call of account 1 is held, with its slot."""
    answer = server.authorize(call_id="another", src_ip="10.0.0.1", dst_number="44")
    return bool(answer.get("reason") == "account_capacity")


def close(sockets: list[NamedSocket]) -> None:
    for one in sockets:
        one.bound.close()
