"""Random commands of RESP: mostly right, with wrong parts in any place."""

from __future__ import annotations

import json
from typing import Any

from conformance.book import PASSWORD
from fuzz.messages import RIGHT
from fuzz.rounds import Case

from identengine.model.records import CallList, CallRequest, Digest

NAMES = (
    *("IDENT.AUTH", "IDENT.AUTHJ", "IDENT.IDENTIFY", "IDENT.EXPLAIN", "IDENT.START", "IDENT.UPDATE", "IDENT.STOP"),
    *("IDENT.SYNC", "IDENT.SWITCH_UP", "IDENT.SWITCH_DOWN", "ident.auth"),
)
"""Commands that ask the engine."""
OTHERS = (
    "PING",
    "ECHO",
    "AUTH",
    "HELLO",
    "SELECT",
    "CLIENT",
    "COMMAND",
    "INFO",
    "GET",
    "",
    "*1",
    "IDENT.",
    "PING\r\n",
)
_WORDS = (
    "0",
    "2",
    "3",
    "SETNAME",
    "GETNAME",
    "ID",
    "SETINFO",
    "AUTH",
    "default",
    "COUNT",
    "LIST",
    "INFO",
    "x" * 300,
)
FIELDS = tuple(dict.fromkeys((*CallRequest.__struct_fields__, *CallList.__struct_fields__)))
GOOD = (b"IDENT.IDENTIFY", b"src_ip=10.0.0.18", b"dst_number=44171")
"""A command whose reply is known: account 18, which is as good as account 19."""


def command(case: Case) -> list[bytes]:
    """Return the arguments of a command that may be right or wrong."""
    if case.often(0.15):
        words = [case.choice(OTHERS), *(case.choice(_WORDS) for _ in range(case.choice((0, 1, 1, 2, 4))))]
        return [word.encode() for word in words]
    name, arguments = case.choice(NAMES).encode(), [_field(case) for _ in range(case.choice((1, 3, 4, 5, 8)))]
    if case.often(0.15):
        return [name, b"|".join(arguments)]
    if case.often(0.05):
        arguments.append(case.randbytes(case.choice((0, 1, 5, 300))))
    return [name, *arguments]


def _field(case: Case) -> bytes:
    name = case.choice(("src_ip", "dst_number", "call_id", *FIELDS))
    if case.often(0.05):
        name = case.choice(("digest." + case.choice(Digest.__struct_fields__), "x", "", '"', "calls"))
    return name.encode() + b"=" + _value(case, name)


def _value(case: Case, name: str) -> bytes:
    if case.often(0.1):
        return case.randbytes(case.choice((0, 1, 2, 10)))
    if case.often(0.1):
        return case.choice(
            (b"", b" ", b"=", b"a=b", b"|", b'"', b"\\", b"\0", b'","', b"\r\n$1\r\n", "é".encode())
        )
    chosen: Any = case.choice(RIGHT.get(name, ("x", "0a4f113b")))
    if name == "digest":
        return json.dumps({one: case.choice(("acme", PASSWORD, 1)) for one in ("username", "response")}).encode()
    if name == "calls":
        return case.choice(
            (b"call-1", b'["call-1","leg-1"]', b'[["call-1"],["call-2",null,null]]', b"[1]", b"[" * 99)
        )
    return str(chosen).encode()


def array(arguments: list[bytes] | tuple[bytes, ...]) -> bytes:
    """Return a command as a client sends it."""
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in arguments)


def inline(arguments: list[bytes]) -> bytes:
    """Return a command as a person types it."""
    return b" ".join(b'"' + b"".join(b"\\x%02x" % byte for byte in one) + b'"' for one in arguments) + b"\r\n"
