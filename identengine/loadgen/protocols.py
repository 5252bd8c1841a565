"""The interfaces of a server: a request to bytes, bytes to replies. No I/O.

A new interface is another :class:`Interface` here and a line in :data:`identengine.loadgen.target.SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from identengine.client.exchange import MAX_ANSWER, Encoding
from identengine.errors import WireError
from identengine.loadgen.mix import Decoder
from identengine.wire.framing.prefixed import Prefixed
from identengine.wire.jsonrpc.messages import RequestMessage, ResponseMessage
from identengine.wire.jsonrpc.methods import METHODS

_UNDECODED = (msgspec.MsgspecError, ValueError, RecursionError)


class BareError(NamedTuple):
    """An error of a protocol other than JSON-RPC."""

    code: str
    """The word ``HTTP`` and the status, or the first word of an error of RESP."""
    message: str
    """The beginning of the body, or the rest of the error."""


class BareReply(NamedTuple):
    """An answer of a protocol other than JSON-RPC."""

    result: bytes = b""
    error: BareError | None = None
    id: int | None = None


Reply: TypeAlias = ResponseMessage | BareReply
"""An answer: a result or an error, and the id of its request. Without an id it answers the oldest request."""


class Reader(Protocol):
    """The conversation of one connection or socket: what a request becomes on its way, and what bytes mean."""

    def seal(self, number: int, message: bytes) -> bytes:
        """Return a request as it is sent. ``message`` is an encoded request, filled by its pattern."""

    def again(self, number: int) -> bytes:
        """Return the bytes of a request that is retransmitted."""

    def forget(self, number: int) -> None:
        """Await no answer to a request that is lost."""

    def feed(self, data: bytes) -> Sequence[Reply]:
        """Return the answers that these bytes complete. Raise WireError if they are not answers."""


class PlainReader:
    """The base of readers whose requests are sent as they are encoded."""

    def seal(self, number: int, message: bytes) -> bytes:
        """Return the request unchanged."""
        return message

    def again(self, number: int) -> bytes:
        """Raise AssertionError, since these interfaces do not retransmit."""
        raise AssertionError(f"request {number} is not retransmitted")

    def forget(self, number: int) -> None:
        """Do nothing, since these readers remember no request."""


class Interface(Protocol):
    """An interface of the server in one encoding."""

    most: int | None
    """Largest number of requests in flight on one connection, or None without a limit."""
    numbered: bool
    """True if an answer names its request. Otherwise answers arrive in the order of the requests."""
    ordered: bool
    """True if the server decides the requests of one connection in their order."""
    retransmits: bool
    """True if clients of the protocol send a request again that gets no answer."""

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        """Return an encoded request. Its length depends only on the lengths of its texts."""

    def opening(self) -> bytes | None:
        """Return the first bytes of a connection, which get one reply, or None if there are none."""

    def reader(self) -> Reader:
        """Return a reader for a new connection."""

    def decoder(self, method: str) -> Decoder:
        """Return the decoder of a method's results."""

    def carried(self, method: str) -> frozenset[str] | None:
        """Return the fields of the result that answers to a method carry, or None if they carry all."""


class FullResults:
    """The base of interfaces whose answers carry every field of a result, and whose servers keep the order."""

    ordered = True
    retransmits = False

    def carried(self, method: str) -> frozenset[str] | None:
        """Return None."""
        return None


class JsonRpc(FullResults):
    """JSON-RPC over a stream or datagrams (interfaces.md 3)."""

    most: int | None = None
    numbered = True

    def __init__(self, encoding: Encoding, token: str | None, *, stream: bool) -> None:
        self._json = encoding == "json"
        self._token = token
        self._stream = stream

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        """Return one message. A datagram carries the token."""
        if self._token is not None and not self._stream:
            params = params | {"token": self._token}
        message = RequestMessage(method, number, params)
        if self._json:
            return msgspec.json.encode(message) + b"\n" * self._stream
        body = msgspec.msgpack.encode(message)
        return len(body).to_bytes(4) + body if self._stream else body

    def opening(self) -> bytes | None:
        """Return an ``auth`` message if the stream has a token."""
        if self._token is None or not self._stream:
            return None
        return self.render("auth", {"token": self._token}, "auth")

    def reader(self) -> Reader:
        """Return a reader of this encoding and framing."""
        if not self._stream:
            return _Datagrams(self._json)
        return _JsonLines() if self._json else _MessagePacks()

    def decoder(self, method: str) -> Decoder:
        """Return a decoder of this encoding."""
        kind = METHODS[method].result
        return msgspec.json.Decoder(kind) if self._json else msgspec.msgpack.Decoder(kind)


class Http(FullResults):
    """HTTP/1.1 over persistent connections, one request at a time on each (interfaces.md 6)."""

    most: int | None = 1
    numbered = False

    def __init__(self, host: str, token: str | None) -> None:
        self._head = f"Host: {host}\r\nContent-Type: application/json\r\n"
        if token is not None:
            self._head += f"Authorization: Bearer {token}\r\n"

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        """Return a POST. Messages of HTTP carry no number."""
        body = msgspec.json.encode(params)
        head = f"POST /v1/{method} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def opening(self) -> bytes | None:
        """Return None, since each request carries the token."""
        return None

    def reader(self) -> Reader:
        """Return a reader of responses."""
        return _HttpAnswers()

    def decoder(self, method: str) -> Decoder:
        """Return a decoder of JSON."""
        return msgspec.json.Decoder(METHODS[method].result)


class _Datagrams(PlainReader):
    """A reader for which each datagram is a message."""

    def __init__(self, json: bool) -> None:
        self._decode = (msgspec.json if json else msgspec.msgpack).Decoder(ResponseMessage).decode

    def feed(self, data: bytes) -> list[ResponseMessage]:
        try:
            return [self._decode(data)]
        except _UNDECODED as error:
            raise WireError(f"expected an answer, got other bytes: {error}") from None


class _JsonLines(PlainReader):
    """A reader for which each line is a message, as this server sends them."""

    _decode = msgspec.json.Decoder(ResponseMessage).decode_lines

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes) -> list[ResponseMessage]:
        end = data.rfind(b"\n") + 1
        whole, self._begun = (self._begun + data[:end], data[end:]) if end else (b"", self._begun + data)
        if len(self._begun) > MAX_ANSWER:
            raise WireError(f"an answer of more than {MAX_ANSWER} bytes")
        try:
            return self._decode(whole)
        except _UNDECODED as error:
            raise WireError(f"expected an answer, got other bytes: {error}") from None


class _MessagePacks(PlainReader):
    """A reader of messages with a length prefix."""

    _decode = msgspec.msgpack.Decoder(ResponseMessage).decode

    def __init__(self) -> None:
        self._framer = Prefixed(MAX_ANSWER)

    def feed(self, data: bytes) -> list[ResponseMessage]:
        try:
            replies = [self._decode(message) for message in self._framer.feed(data)]
        except _UNDECODED as error:
            raise WireError(f"expected an answer, got other bytes: {error}") from None
        if self._framer.error is not None:
            raise WireError(self._framer.error)
        return replies


class _HttpAnswers(PlainReader):
    """A reader of responses with a Content-Length, as this server sends them."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes) -> list[BareReply]:
        self._begun += data
        replies = []
        while (end := self._begun.find(b"\r\n\r\n")) >= 0:
            status, length = _http_head(self._begun[:end])
            body = self._begun[end + 4 : end + 4 + length]
            if len(body) < length:
                break
            self._begun = self._begun[end + 4 + length :]
            if status == 200:
                replies.append(BareReply(body))
            else:
                error = BareError(f"HTTP {status}", body[:200].decode(errors="replace"))
                replies.append(BareReply(error=error))
        if len(self._begun) > MAX_ANSWER:
            raise WireError(f"an answer of more than {MAX_ANSWER} bytes")
        return replies


def _http_head(head: bytes) -> tuple[int, int]:
    """Return the status and the length of the body. Raise WireError if the head has no such fields."""
    first, *rest = head.split(b"\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in rest)}
    words = first.split()
    length = fields.get(b"content-length", b"")
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit() or not length.isdigit():
        raise WireError("expected an HTTP/1.1 response with a Content-Length")
    if int(length) > MAX_ANSWER:
        raise WireError(f"an answer of more than {MAX_ANSWER} bytes")
    return int(words[1]), int(length)
