"""RESP2 (interfaces.md 4): requests as commands of a Redis client, and their replies. No I/O."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from identengine.client.exchange import MAX_ANSWER
from identengine.errors import WireError, quoted
from identengine.loadgen.mix import Decoder
from identengine.loadgen.protocols import BareError, BareReply, PlainReader
from identengine.model.records import Decision
from identengine.wire.jsonrpc.messages import Pong
from identengine.wire.jsonrpc.methods import METHODS, Result

_COMMANDS = {name: f"IDENT.{name.upper()}" for name in METHODS} | {"authorize": "IDENT.AUTH", "ping": "PING"}
_PLACES = (
    "accepted",
    "reason",
    "account_id",
    "client_id",
    "src_number",
    "dst_number",
    "rate_table",
    "routing_plan",
    "tag",
    "sip_code",
    "tech_prefix",
    "version",
)
"""The fields of a decision in the array of ``IDENT.AUTH``, in order (interfaces.md 4).

They are not those of the server's module, so that a wrong order there is found.
"""
_END = b"\r\n"

_Value: TypeAlias = "bytes | int | list[_Value] | None"


class Resp:
    """RESP over a stream. Requests are pipelined, and answers keep their order."""

    most: int | None = None
    numbered = False
    ordered = True
    retransmits = False

    def __init__(self, token: str | None) -> None:
        self._token = token

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        """Return a command. A parameter is an argument ``field=value``, one that is not a text as JSON."""
        given = ((name, value) for name, value in params.items() if value is not None)
        return _command(_COMMANDS[method], *(f"{name}={_text(value)}" for name, value in given))

    def opening(self) -> bytes | None:
        """Return ``AUTH`` if there is a token."""
        return None if self._token is None else _command("AUTH", self._token)

    def reader(self) -> _Replies:
        """Return a reader of replies."""
        return _Replies()

    def decoder(self, method: str) -> Decoder:
        """Return a decoder of replies to the method's command."""
        return _Results(method)

    def carried(self, method: str) -> frozenset[str] | None:
        """Return the fields in the array of a decision. JSON in a bulk string carries all fields."""
        if method == "ping":
            return frozenset()
        return frozenset(_PLACES) if METHODS[method].result is Decision else None


class _Replies(PlainReader):
    """A reader of replies. The result of an answer is its whole reply."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes) -> list[BareReply]:
        data = self._begun + data
        replies, at = [], 0
        try:
            while end := _end(data, at):
                replies.append(_reply(data[at:end]))
                at = end
        except ValueError as error:
            raise WireError(f"expected an answer, got other bytes: {error}") from None
        self._begun = data[at:]
        if len(self._begun) > MAX_ANSWER:
            raise WireError(f"an answer of more than {MAX_ANSWER} bytes")
        return replies


class _Results:
    """A decoder of replies that are not errors."""

    def __init__(self, method: str) -> None:
        self._kind = METHODS[method].result

    def decode(self, raw: bytes, /) -> Result:
        if raw[:1] == b"$":
            return msgspec.json.decode(raw[raw.index(_END) + 2 : -2], type=self._kind)
        (value,) = _values(raw, 0, 1)[0]
        if self._kind is Pong and value == b"PONG":
            return Pong("", None, 0.0, 0)
        if not isinstance(value, list) or len(value) != len(_PLACES):
            raise ValueError(f"expected an array of {len(_PLACES)} values")
        texts = (one.decode() if isinstance(one, bytes) else one for one in value)
        fields: dict[str, object] = dict(zip(_PLACES, texts, strict=True))
        if fields["accepted"] not in (0, 1):
            raise ValueError("expected 1 or 0 in the first place")
        return msgspec.convert(fields | {"accepted": fields["accepted"] == 1}, self._kind)


def _command(*words: str) -> bytes:
    """Return a command as an array of bulk strings."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _reply(raw: bytes) -> BareReply:
    if raw[:1] != b"-":
        return BareReply(raw)
    code, _, message = raw[1:-2].decode(errors="replace").partition(" ")
    return BareReply(error=BareError(code, message))


def _end(data: bytes, at: int) -> int:
    """Return the end of the reply that begins at ``at``, or 0 if it is incomplete. Raise ValueError."""
    left = 1
    while left:
        line = data.find(_END, at)
        if line < 0:
            return 0
        kind, number, at = data[at : at + 1], data[at + 1 : line], line + 2
        if kind == b"$":
            size = _size(number)
            if size >= 0:
                at += size + 2
                if at > len(data):
                    return 0
                if data[at - 2 : at] != _END:
                    raise ValueError("a bulk string has no end")
        elif kind == b"*":
            left += max(0, _size(number))
        elif kind not in (b"+", b"-", b":"):
            raise ValueError(f"no reply begins with {quoted(kind.decode('latin-1'))}")
        left -= 1
    return at


def _size(number: bytes) -> int:
    """Return the length of a bulk string or array. Raise ValueError if it is not one."""
    size = int(number)
    if not -1 <= size <= MAX_ANSWER:
        raise ValueError(f"a length of {size}")
    return size


def _values(raw: bytes, at: int, count: int) -> tuple[list[_Value], int]:
    """Return ``count`` values of a whole reply, and their end. Raise ValueError if one is no integer."""
    values: list[_Value] = []
    for _ in range(count):
        end = raw.index(_END, at)
        kind, text, at = raw[at : at + 1], raw[at + 1 : end], end + 2
        if kind in (b"+", b"-"):
            values.append(text)
        elif kind == b":":
            values.append(int(text))
        elif int(text) < 0:
            values.append(None)
        elif kind == b"$":
            values.append(raw[at : at + int(text)])
            at += int(text) + 2
        else:
            inner, at = _values(raw, at, int(text))
            values.append(inner)
    return values, at
