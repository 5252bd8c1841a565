"""Hostile messages by structure: a message of JSON-RPC with one defect, filled up to a size at one place.

A message is a choice of :class:`Genes`. A search changes one gene at a time. A seed gives the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Literal, NamedTuple

import msgspec

Encoding = Literal["json", "msgpack"]

TOKEN = "the-token-of-the-switch-in-this-benchmark"  # noqa: S105 - of a server on loopback
SERIAL = b"00000000"
"""A part of each call id and list id. The measurement replaces it, so that no message is a repetition."""
METHODS = (
    "authorize",
    "identify",
    "explain",
    "start",
    "update",
    "stop",
    "sync",
    "switch_up",
    "switch_down",
    "ping",
    "auth",
)
DEFECTS = (
    "none",
    "notification",
    "wrong type of a parameter",
    "wrong type in the digest",
    "member twice",
    "unknown method",
    "no method",
    "no jsonrpc",
    "an answer",
    "id too long",
    "params not an object",
    "cut off",
    "invalid UTF-8",
    "half of a surrogate pair",
    "wrong token",
    "token of a wrong type",
)
"""Kinds of error. The last two are of tokens."""
PLACES = (
    "unknown member",
    "unknown parameter",
    "name of a parameter",
    "id",
    "method",
    "jsonrpc",
    "call_id",
    "leg_id",
    "src_ip",
    "src_number",
    "dst_number",
    "name",
    "password",
    "digest",
    "gateway",
    "protocol",
    "account_id",
    "direction",
    "interval",
    "list_id",
    "calls",
    "token",
    "switch",
    "params",
)
"""Places that a filler can take."""
ARRAYS = (0, 2, 16, 1000)
"""Messages in an array. 0 is a message without an array."""

Filler = Callable[[int], bytes]


class Genes(NamedTuple):
    """The choices that make a message."""

    method: str
    defect: str
    place: str
    filler: str
    array: int


class Writer:
    """The bytes of one encoding."""

    def __init__(self, fillers: Mapping[str, Filler]) -> None:
        self.fillers = fillers

    def text(self, text: str) -> bytes:
        """Return a text."""
        raise NotImplementedError

    def members(self, members: list[tuple[bytes, bytes]]) -> bytes:
        """Return an object. The keys and values are encoded."""
        raise NotImplementedError

    def array(self, items: list[bytes]) -> bytes:
        """Return an array of encoded items."""
        raise NotImplementedError


class _Json(Writer):
    def text(self, text: str) -> bytes:
        return msgspec.json.encode(text)

    def members(self, members: list[tuple[bytes, bytes]]) -> bytes:
        return b"{%b}" % b",".join(b"%b:%b" % member for member in members)

    def array(self, items: list[bytes]) -> bytes:
        return b"[%b]" % b",".join(items)


class _MessagePack(Writer):
    def text(self, text: str) -> bytes:
        return msgspec.msgpack.encode(text)

    def members(self, members: list[tuple[bytes, bytes]]) -> bytes:
        return b"\xde" + len(members).to_bytes(2, "big") + b"".join(key + value for key, value in members)

    def array(self, items: list[bytes]) -> bytes:
        return b"\xdc" + len(items).to_bytes(2, "big") + b"".join(items)


def _repeat(first: bytes, unit: bytes, last: bytes) -> Filler:
    return lambda size: first + unit * max(1, (size - len(first) - len(last)) // len(unit)) + last


def _items(unit: bytes) -> Filler:
    return lambda size: b"[" + b",".join([unit] * max(1, size // (len(unit) + 1))) + b"]"


def _distinct_members(size: int) -> bytes:
    return b"{" + b",".join(b'"%04x":0' % number for number in range(max(1, size // 9))) + b"}"


def _levels(first: bytes, middle: bytes, last: bytes) -> Filler:
    def fill(size: int) -> bytes:
        count = max(1, size // (len(first) + len(last)))
        return first * count + middle + last * count

    return fill


JSON_FILLERS: dict[str, Filler] = {
    "letters": _repeat(b'"', b"a", b'"'),
    "digits in a text": _repeat(b'"', b"1", b'"'),
    "backslashes": _repeat(b'"', rb"\\", b'"'),
    "line ends": _repeat(b'"', rb"\n", b'"'),
    "escaped letters": _repeat(b'"', rb"\u0041", b'"'),
    "surrogate pairs": _repeat(b'"', rb"\ud83d\ude00", b'"'),
    "halves of surrogate pairs": _repeat(b'"', rb"\ud800", b'"'),
    "accents": _repeat(b'"', "é".encode(), b'"'),
    "emoji": _repeat(b'"', "😀".encode(), b'"'),
    "punctuation": _repeat(b'"', b"(-)", b'"'),
    "blanks in a text": _repeat(b'"', b" ", b'"'),
    "blanks": _repeat(b"", b" ", b"0"),
    "the word token": _repeat(b'"', b"token ", b'"'),
    "digits": _repeat(b"", b"1", b""),
    "4,000 digits": lambda size: b"1" * min(size, 4000),
    "decimals": _repeat(b"0.", b"1", b""),
    "an exponent": _repeat(b"1e", b"9", b""),
    "nulls": _items(b"null"),
    "numbers": _items(b"1"),
    "fractions": _items(b"0.1"),
    "empty texts": _items(b'""'),
    "empty arrays": _items(b"[]"),
    "empty objects": _items(b"{}"),
    "calls": _items(b'["c"]'),
    "the same member": lambda size: b"{" + b",".join([b'"a":0'] * max(1, size // 6)) + b"}",
    "distinct members": _distinct_members,
    "levels of arrays": _levels(b"[", b"", b"]"),
    "levels of objects": _levels(b'{"":', b"0", b"}"),
    "60 levels": lambda size: _levels(b"[", b"", b"]")(min(size, 60)),
}
_BIG = 2**32 - 1


def _packed_items(unit: bytes) -> Filler:
    def fill(size: int) -> bytes:
        count = max(1, (size - 5) // len(unit))
        return b"\xdd" + count.to_bytes(4, "big") + unit * count

    return fill


def _packed_members(size: int) -> bytes:
    count = max(1, (size - 5) // 6)
    return b"\xdf" + count.to_bytes(4, "big") + b"".join(b"\xa4%04x\xc0" % (n & 0xFFFF) for n in range(count))


def _packed_text(unit: bytes) -> Filler:
    def fill(size: int) -> bytes:
        body = unit * max(1, (size - 5) // len(unit))
        return b"\xdb" + len(body).to_bytes(4, "big") + body

    return fill


PACKED_FILLERS: dict[str, Filler] = {
    "letters": _packed_text(b"a"),
    "digits in a text": _packed_text(b"1"),
    "accents": _packed_text("é".encode()),
    "emoji": _packed_text("😀".encode()),
    "punctuation": _packed_text(b"(-)"),
    "blanks in a text": _packed_text(b" "),
    "the word token": _packed_text(b"token "),
    "bytes": lambda size: b"\xc6" + max(0, size - 5).to_bytes(4, "big") + bytes(max(0, size - 5)),
    "nulls": _packed_items(b"\xc0"),
    "numbers": _packed_items(b"\x01"),
    "fractions": _packed_items(b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"),
    "empty texts": _packed_items(b"\xa0"),
    "empty arrays": _packed_items(b"\x90"),
    "empty objects": _packed_items(b"\x80"),
    "calls": _packed_items(b"\x91\xa1c"),
    "distinct members": _packed_members,
    "levels of arrays": lambda size: b"\x91" * max(1, size - 1) + b"\xc0",
    "60 levels": lambda size: b"\x91" * min(size, 60) + b"\xc0",
    "an array that promises 4 billion items": lambda _: b"\xdd" + _BIG.to_bytes(4, "big"),
    "an object that promises 4 billion members": lambda _: b"\xdf" + _BIG.to_bytes(4, "big"),
    "a text that promises 4 GB": lambda _: b"\xdb" + _BIG.to_bytes(4, "big"),
}
WRITERS: dict[Encoding, Writer] = {"json": _Json(JSON_FILLERS), "msgpack": _MessagePack(PACKED_FILLERS)}


def random_genes(
    random: Random, encoding: Encoding, defect: str | None = None, method: str | None = None
) -> Genes:
    """Return a random choice, with a defect and a method if they are given."""
    return Genes(
        method or random.choice(METHODS),
        defect or random.choice(DEFECTS),
        random.choice(PLACES),
        random.choice(list(WRITERS[encoding].fillers)),
        random.choice(ARRAYS),
    )


def mutated(genes: Genes, random: Random, encoding: Encoding, fixed: frozenset[str]) -> Genes:
    """Return the same choice with one other gene, but not one of ``fixed``."""
    gene = random.choice([name for name in Genes._fields if name not in fixed])
    return genes._replace(**{gene: getattr(random_genes(random, encoding), gene)})


def build(genes: Genes, encoding: Encoding, size: int, token: str | None) -> bytes:
    """Return a message of at most ``size`` bytes, or a little more if the parts alone need more.

    ``token`` is the token that the message shows, or None.
    """
    writer = WRITERS[encoding]
    if not genes.array:
        return _one(genes, writer, size, token)
    each = max(size // genes.array - 2, 1)
    one = _one(genes, writer, each, token)
    return writer.array([one] * max(1, min(genes.array, (size - 4) // (len(one) + 1))))


def _one(genes: Genes, writer: Writer, size: int, token: str | None) -> bytes:
    empty = _skeleton(genes, writer, b"", token)
    value = writer.fillers[genes.filler](max(1, size - len(empty)))
    message = _skeleton(genes, writer, value, token)
    if genes.defect == "cut off":
        return message[:-1]
    return message


def _skeleton(genes: Genes, writer: Writer, value: bytes, token: str | None) -> bytes:
    """Return the message with ``value`` as its filler."""
    text, place, defect = writer.text, genes.place, genes.defect
    serial = SERIAL.decode()
    params = {
        "call_id": text(f"call-{serial}"),
        "src_ip": text("10.0.0.1"),
        "src_number": text("442070000000"),
        "dst_number": text("44171"),
    }
    if genes.method == "sync":
        params = {"list_id": text(f"list-{serial}")}
    elif genes.method in ("switch_up", "switch_down", "ping", "auth"):
        params = {}
    shown = "a-wrong-token" if defect == "wrong token" else token
    if shown is not None:
        params["token"] = text(shown)
    _spoil_params(params, defect, writer)
    message = {
        "jsonrpc": text("2.0"),
        "id": text("i" * 257) if defect == "id too long" else text("1"),
        "method": text("authorise" if defect == "unknown method" else genes.method),
    }
    for absent in _ABSENT.get(defect, ()):
        del message[absent]
    if place in message or place == "unknown member":
        message["unknown" if place == "unknown member" else place] = value
    elif place not in _APART and (place != "token" or shown is None):
        params[place] = value
    members = [(text(name), one) for name, one in params.items()]
    if place == "unknown parameter":
        members.append((text("unknown"), value))
    elif place == "name of a parameter":
        members.append((value, text("")))
    if defect == "member twice":
        members[:0] = [(text("dst_number"), text("1")), (text("dst_number"), writer.array([]))]
    elif defect == "half of a surrogate pair":
        members.append((text("gateway"), rb'"\ud800"' if isinstance(writer, _Json) else b"\xa3\xed\xa0\x80"))
    elif defect == "invalid UTF-8":
        members.append((text("gateway"), b'"\xff"' if isinstance(writer, _Json) else b"\xa1\xff"))
    encoded = writer.members(members)
    if defect == "params not an object":
        encoded = writer.array([encoded])
    top = [(text(name), one) for name, one in message.items()]
    top.append((text("result" if defect == "an answer" else "params"), value if place == "params" else encoded))
    return writer.members(top)


_APART = ("params", "name of a parameter", "unknown parameter")
"""Places that are no value of a known parameter."""
_ABSENT = {"notification": ("id",), "no method": ("method",), "no jsonrpc": ("jsonrpc",), "an answer": ("method",)}


def _spoil_params(params: dict[str, bytes], defect: str, writer: Writer) -> None:
    """Make a parameter wrong if the defect is one of parameters."""
    nothing = writer.array([])
    if defect == "wrong type of a parameter":
        params["dst_number"] = nothing
    elif defect == "wrong type in the digest":
        params["digest"] = writer.members([(writer.text("nonce"), nothing)])
    elif defect == "token of a wrong type":
        params["token"] = nothing
