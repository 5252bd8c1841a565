"""Helpers for tests of lists: accounts, switches and held calls."""

from __future__ import annotations

from typing import Any

from support.books import ip_account
from support.switch import Switch, request

A, B = "127.0.0.1", "127.0.0.2"


SWITCHES = """
[[switch]]
name = "a"
addresses = ["127.0.0.1"]
[[switch]]
name = "b"
addresses = ["127.0.0.2"]
"""


ACCOUNTS = [ip_account(1, "10.0.0.1"), ip_account(2, "10.0.0.2", orig_capacity=1), ip_account(3, "10.0.0.3")]


def calls(**settings: int) -> str:
    """Return the section ``[calls]``, without grace time by default."""
    known = {"max_legs": 1000, "grace": 0} | settings
    return '[calls]\npath = "calls"\n' + "".join(f"{name} = {value}\n" for name, value in known.items())


def part(switch: Switch, list_id: str, number: int, parts: int, *call_ids: str) -> dict[str, Any]:
    listed = [[call_id] for call_id in call_ids]
    return switch.ask("sync", list_id=list_id, part=number, parts=parts, calls=listed)


def hold(switch: Switch, ids: list[str], source: str = "10.0.0.1") -> None:
    """Hold many active calls: a ``start`` with the fields of ``authorize`` counts each."""
    told = (request("start", n, call_id=call_id, src_ip=source, dst_number="44") for n, call_id in enumerate(ids))
    assert all(answer.get("unknown", False) is False for answer in switch.burst(told))
