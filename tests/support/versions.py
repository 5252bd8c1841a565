"""Helpers for tests of versions of the book: accounts that name their version, and a server that follows them."""

from __future__ import annotations

from identengine.model.records import Account, Client
from support.books import ip_account
from support.processes import reaped
from support.server import Server
from support.waiting import wait_for

CLIENT = Client(id=1, name="one")
GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


def accounts_of(version: int, count: int) -> list[Account]:
    """Return accounts whose tag names the version, so that an answer shows the version of its decision."""
    return [
        ip_account(n, f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", orig_tag=f"v{version}")
        for n in range(1, count + 1)
    ]


def still_serves(server: Server, version: int = 1) -> None:
    assert server.version() == version
    assert server.authorize(**GOOD)["account_id"] == 1


def looks_again(server: Server, times: int = 2) -> None:
    """Wait until a server with an alarm has read its store this many times more.

    The first read may have begun before. The effect of a read is complete when the next one has ended.
    """
    for _ in range(times):
        before = reaped(server.decider)
        wait_for(lambda before=before: reaped(server.decider) > before)  # type: ignore[misc]
