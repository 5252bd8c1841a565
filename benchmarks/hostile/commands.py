"""Commands of RESP: those of a good client, and hostile streams of each kind."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.hostile.inputs import TOKEN
from benchmarks.hostile.subject import TIED
from benchmarks.switches import resp

BLOCK = 65_536
"""Size of what an attacker sends at once, in bytes."""
_MOST_ARGUMENTS = 4_096
"""Largest number of arguments that the engine reads in a command."""
IDENTIFY = resp("IDENT.IDENTIFY", "src_ip=10.0.0.1", "dst_number=44171")
AUTH = resp("AUTH", f"{TOKEN}-too")
"""The first command of an attacker that controls a switch."""


class Stream(NamedTuple):
    """A stream of a kind."""

    name: str
    block: bytes
    floods: bool = True
    """True if the server is flooded with it. The cost of the others is measured in this process alone."""


def anybody() -> list[Stream]:
    """Return streams that need no token."""
    return [
        Stream("blank lines", b"\n" * BLOCK, floods=False),
        Stream("wrong tokens", resp("AUTH", "a") * (BLOCK // 21)),
        Stream("an array that promises 4,096 arguments", b"*4096\r\n" + b"$0\r\n\r\n" * 600),
        Stream(
            "a bulk string that promises 1 GB", b"*2\r\n$4\r\nECHO\r\n$999999999\r\n" + bytes(4_000), floods=False
        ),
        Stream("arrays in arrays", b"*1\r\n" * (BLOCK // 4), floods=False),
    ]


def authenticated() -> list[Stream]:
    """Return streams of a switch that has shown its token."""
    unknown = b"a\n" * (BLOCK // 2)
    explain = resp("IDENT.EXPLAIN", f"src_ip={TIED}", "dst_number=44171")
    fields = [f"src_ip={number}" for number in range(_MOST_ARGUMENTS - 1)]
    return [
        Stream("blank lines", b"\n" * BLOCK, floods=False),
        Stream("commands that do not exist", unknown),
        Stream("4,096 arguments", resp("ECHO", *[""] * (_MOST_ARGUMENTS - 1)) * 2, floods=False),
        Stream("4,095 fields", resp("IDENT.AUTHJ", *fields)),
        Stream("60,000 quotes in a field", resp("IDENT.AUTHJ", "call_id=" + '"' * 60_000), floods=False),
        Stream("30,000 divided fields", resp("IDENT.AUTHJ", "a=b|" * 15_000), floods=False),
        Stream("COMMAND", resp("COMMAND") * (BLOCK // 17)),
        Stream("explain", explain * 16, floods=False),
    ]
