"""Random values, and their many spellings in JSON and MessagePack.

A value has one of the types of JSON. :class:`Members` is an object that can have a member twice. :class:`Broken`
stands for bytes that are not well formed.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from fuzz.rounds import Case

INTEGERS = (
    0,
    1,
    -1,
    7,
    5060,
    65535,
    65536,
    100_000,
    604_800,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    2**64 + 1,
    -(2**63),
    -(2**63) - 1,
    10**30,
    -(10**30),
    10**307,
    10**400,
    10**4298,
)
FLOATS = (0.0, -0.0, 1.0, 5060.0, 1.5, -1e-300, 1e15, 1e17, 2.0**64, 1.7e308)
TEXTS = (
    "",
    " ",
    "\t\r\n",
    "0",
    "00",
    "1",
    "+1",
    "-1",
    "1.0",
    "1e3",
    "0x10",
    "1_000",
    "٣",
    "①",
    "²",
    "５０６０",  # noqa: RUF001 - wide digits
    "18446744073709551615",
    "18446744073709551616",
    "9" * 20,
    "9" * 21,
    "9" * 5000,
    "\0",
    "a\0b",
    "\x7f\x1b[31m",
    "\ud800",
    "\udfff",
    "a\ud83d",
    "\udc00\ud800",
    "😀",
    "\u2028\u2029",
    "\ufeff",
    "\ufffd",
    "é" * 200,
    "x" * 255,
    "x" * 256,
    "x" * 257,
    "ж" * 128,
    "x" * 3000,
    "\\" * 40,
    '"' * 40,
    "origination",
    "termination",
    "Termination ",
    "TERMINATION",
    "10.0.0.5",
    "10.0.0.5:5060",
    "010.0.0.5",
    "10.0.0.256",
    "10.0.0",
    "10.0.0.5/32",
    "::ffff:10.0.0.5",
    "[::1]",
    "fe80::1%eth0",
    "::",
    ":::",
    "1:2:3:4:5:6:7:8:9",
    "+44 (171) 555-01.23",
    "++44",
    "44#*",
    "sip:44@example",
    "ſ",  # noqa: RUF001 - a letter that folds to another one
    "İ",
    "ß" * 100,
)


class Members(list[tuple[Any, Any]]):
    """An object whose members can have equal names. In MessagePack a name can have any type."""


class Broken:
    """Bytes that are not a value, by encoding."""

    def __init__(self, in_json: bytes, in_messagepack: bytes) -> None:
        self.in_json, self.in_messagepack = in_json, in_messagepack

    def __repr__(self) -> str:
        return f"Broken({self.in_json!r}, {self.in_messagepack!r})"


BROKEN = (
    Broken(b"", b"\xc1"),
    Broken(b"NaN", b"\xd9\x05ab"),
    Broken(b"Infinity", b"\xa3\xff\xfe\xfd"),
    Broken(b"01", b"\xdb\xff\xff\xff\xff"),
    Broken(b"1.", b"\xdd\xff\xff\xff\xff"),
    Broken(b".5", b"\xdf\xff\xff\xff\xff"),
    Broken(b"1e", b"\xc6\xff\xff\xff\xff"),
    Broken(b"+1", b"\xa2\xc0\xaf"),
    Broken(b"--1", b"\xa3\xed\xa0\x80"),
    Broken(b"tru", b"\xa4\xf4\x90\x80\x80"),
    Broken(b"'a'", b"\xd6\xff\x00"),
    Broken(b'"a', b"\xc9\x00\x00\x00\xff\x01"),
    Broken(b'"\\x"', b"\xd8\x01"),
    Broken(b'"\\u12"', b"\x93\x01"),
    Broken(b'"\xff"', b"\x82\xa1a"),
    Broken(b'"\xed\xa0\x80"', b"\xcb\x00"),
    Broken(b'"\n"', b"\xcf\x00"),
    Broken(b'"\x00"', b"\xc7\x0c\xff\x00"),
    Broken(b"[1,]", b"\xd7\xff\x00\x00"),
    Broken(b'{"a":1,}', b"\xc1\xc1"),
    Broken(b"{a:1}", b"\xd4"),
    Broken(b'{"a"}', b"\xc4"),
    Broken(b"[" * 5000, b"\x91" * 5000),
    Broken(b"[" * 5000 + b"]" * 5000, b"\x91" * 5000 + b"\xc0"),
    Broken(b'{"a":' * 3000 + b"1" + b"}" * 3000, b"\x81\xa1a" * 3000 + b"\xc0"),
    Broken(b"9" * 5000, b"\xd9"),
    Broken(b"1e400", b"\xca\x00"),
    Broken(b"/*x*/1", b"\xdc\x00"),
)
"""Bytes that are no JSON of at most 64 levels, and no MessagePack. msgspec reads some of them as a value."""


def value(case: Case, depth: int = 0) -> Any:
    """Return a random value of any type of JSON."""
    match case.randrange(12 if depth < 3 else 8):
        case 0:
            return case.choice((None, True, False))
        case 1 | 2:
            return case.choice(INTEGERS)
        case 3:
            return case.choice(FLOATS)
        case 4 | 5 | 6:
            return case.choice(TEXTS)
        case 7:
            return "".join(chr(case.randrange(1, 0x3000)) for _ in range(case.randrange(20)))
        case 8 | 9:
            return [value(case, depth + 1) for _ in range(case.choice((0, 1, 1, 2, 3)))]
        case 10:
            return nested(case.choice((10, 55, 60, 70, 200)), case.often(0.5))
        case _:
            return {case.choice(TEXTS): value(case, depth + 1) for _ in range(case.choice((0, 1, 1, 2)))}


def nested(levels: int, arrays: bool) -> Any:
    """Return a value with this number of levels of brackets."""
    held: Any = 1
    for _ in range(levels):
        held = [held] if arrays else {"params": held}
    return held


def members(value: Any) -> list[tuple[Any, Any]]:
    """Return the members of an object in their order."""
    return list(value) if isinstance(value, Members) else list(value.items())


def to_json(case: Case, value: Any) -> bytes:
    """Return a value in JSON, with random space, and random escapes in its texts."""
    if isinstance(value, Broken):
        return value.in_json
    if isinstance(value, str):
        return _json_text(case, value)
    comma = b"," if case.often(0.7) else _space(case) + b"," + _space(case)
    if isinstance(value, list) and not isinstance(value, Members):
        return b"[" + comma.join([to_json(case, item) for item in value]) + b"]"
    if isinstance(value, dict | Members):
        colon = b":" if case.often(0.7) else _space(case) + b":" + _space(case)
        return (
            b"{"
            + comma.join([_json_name(case, name) + colon + to_json(case, of) for name, of in members(value)])
            + b"}"
        )
    return json.dumps(value).encode()


def _json_name(case: Case, name: Any) -> bytes:
    return _json_text(case, name if isinstance(name, str) else json.dumps(name))


def _space(case: Case) -> bytes:
    return case.choice((b"", b"", b"", b"", b" ", b"\t", b"\r\n", b"  \n "))


def _json_text(case: Case, text: str) -> bytes:
    escaped = json.dumps(text)
    if case.often(0.5) and not any("\ud800" <= c <= "\udfff" for c in text):
        return json.dumps(text, ensure_ascii=False).encode()
    if case.often(0.05):
        return ('"' + "".join(f"\\u{ord(c):04X}" if ord(c) < 0x10000 else c for c in text) + '"').encode(
            errors="surrogatepass"
        )
    return escaped.encode()


def to_messagepack(case: Case, value: Any) -> bytes:
    """Return a value in MessagePack, in one of the forms that it allows, not always the shortest."""
    match value:
        case Broken():
            return value.in_messagepack
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _messagepack_integer(case, value)
        case float():
            return (
                b"\xca" + struct.pack(">f", value)
                if case.often(0.1) and abs(value) < 1e38
                else (b"\xcb" + struct.pack(">d", value))
            )
        case str():
            return _messagepack_text(case, value.encode(errors="surrogatepass"))
        case dict() | Members():
            pairs = b"".join(to_messagepack(case, name) + to_messagepack(case, of) for name, of in members(value))
            return _header(case, len(value), 0x80, 16, None, 0xDE, 0xDF) + pairs
        case list():
            return _header(case, len(value), 0x90, 16, None, 0xDC, 0xDD) + b"".join(
                to_messagepack(case, item) for item in value
            )
    raise TypeError(value)


def _messagepack_integer(case: Case, value: int) -> bytes:
    forms = [
        (0xCC, "B"),
        (0xCD, "H"),
        (0xCE, "I"),
        (0xCF, "Q"),
        (0xD0, "b"),
        (0xD1, "h"),
        (0xD2, "i"),
        (0xD3, "q"),
    ]
    fitting = []
    if -32 <= value < 128:
        fitting = [struct.pack("b", value)] * 6
    for first, form in forms:
        try:
            fitting.append(bytes((first,)) + struct.pack(f">{form}", value))
        except struct.error:
            continue
    return (
        case.choice(fitting)
        if fitting
        else b"\xcb" + struct.pack(">d", float(value) if abs(value) < 1e308 else 1e308)
    )


def _messagepack_text(case: Case, encoded: bytes) -> bytes:
    if case.often(0.03):  # bytes instead of a text
        return _header(case, len(encoded), None, 0, 0xC4, 0xC5, 0xC6) + encoded
    if case.often(0.02) and len(encoded) < 256:  # an extension
        return b"\xc7" + bytes((len(encoded), case.randrange(256))) + encoded
    return _header(case, len(encoded), 0xA0, 32, 0xD9, 0xDA, 0xDB) + encoded


def _header(case: Case, count: int, fixed: int | None, below: int, one: int | None, two: int, four: int) -> bytes:
    forms = [bytes((four,)) + count.to_bytes(4, "big")]
    if count < 1 << 16:
        forms.append(bytes((two,)) + count.to_bytes(2, "big"))
    if one is not None and count < 256:
        forms.append(bytes((one, count)))
    if fixed is not None and count < below:
        forms += [bytes((fixed | count,))] * 9
    return case.choice(forms)
