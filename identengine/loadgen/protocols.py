"""How each interface is spoken: a request to bytes, bytes to replies. No I/O.

Another interface is another :class:`Tongue` here, and a line in :data:`identengine.loadgen.target.SCHEMES`.
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


class HttpError(NamedTuple):
    """An answer of HTTP whose status is not 200."""

    code: str
    """``HTTP`` and the status."""
    message: str
    """The beginning of the body."""


class HttpReply(NamedTuple):
    """An answer of HTTP."""

    result: msgspec.Raw = msgspec.Raw()
    error: HttpError | None = None
    id: None = None


Reply: TypeAlias = ResponseMessage | HttpReply
"""An answer: the number of its request (None: that of the oldest one that waits), and a result or an error."""


class Reader(Protocol):
    """What one connection, or socket, sends."""

    def feed(self, data: bytes) -> Sequence[Reply]:
        """Return the answers that these bytes complete. Raises WireError where they are none."""


class Tongue(Protocol):
    """An interface and an encoding."""

    pipelined: bool
    """Whether several requests may be in flight on one connection."""

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        """Return a request as it is sent; its length hangs on the lengths of the texts alone."""

    def opening(self) -> bytes | None:
        """Return what a connection begins with; one reply to it is waited for."""

    def reader(self) -> Reader:
        """Return the reader of a new connection."""

    def decoder(self, method: str) -> Decoder:
        """Return what decodes the result of a method."""


class JsonRpc:
    """JSON-RPC, in a stream or in datagrams (interfaces.md 3)."""

    pipelined = True

    def __init__(self, encoding: Encoding, token: str | None, *, stream: bool) -> None:
        self._json = encoding == "json"
        self._token = token
        self._stream = stream

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        """Return one message; a datagram carries the token."""
        if self._token is not None and not self._stream:
            params = params | {"token": self._token}
        message = RequestMessage(method, number, params)
        if self._json:
            return msgspec.json.encode(message) + b"\n" * self._stream
        body = msgspec.msgpack.encode(message)
        return len(body).to_bytes(4) + body if self._stream else body

    def opening(self) -> bytes | None:
        """Return ``auth``, where there is a token."""
        if self._token is None or not self._stream:
            return None
        return self.render("auth", {"token": self._token}, "auth")

    def reader(self) -> Reader:
        """Return one for this encoding and framing."""
        if not self._stream:
            return _Datagrams(self._json)
        return _JsonLines() if self._json else _MessagePacks()

    def decoder(self, method: str) -> Decoder:
        """Return one for this encoding."""
        kind = METHODS[method].result
        return msgspec.json.Decoder(kind) if self._json else msgspec.msgpack.Decoder(kind)


class Http:
    """HTTP/1.1 with connections that stay open (interfaces.md 6). One request at a time on each."""

    pipelined = False

    def __init__(self, host: str, token: str | None) -> None:
        self._head = f"Host: {host}\r\nContent-Type: application/json\r\n"
        if token is not None:
            self._head += f"Authorization: Bearer {token}\r\n"

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        """Return a POST; HTTP has no numbers."""
        body = msgspec.json.encode(params)
        head = f"POST /v1/{method} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def opening(self) -> bytes | None:
        """Return nothing: each request has its token."""
        return None

    def reader(self) -> Reader:
        """Return one for a connection."""
        return _HttpAnswers()

    def decoder(self, method: str) -> Decoder:
        """Return one for JSON."""
        return msgspec.json.Decoder(METHODS[method].result)


class _Datagrams:
    """A datagram is a message."""

    def __init__(self, json: bool) -> None:
        self._decode = (msgspec.json if json else msgspec.msgpack).Decoder(ResponseMessage).decode

    def feed(self, data: bytes) -> list[ResponseMessage]:
        try:
            return [self._decode(data)]
        except _UNDECODED as error:
            raise WireError(f"an answer that is none: {error}") from None


class _JsonLines:
    """A line is a message: so the server ends each."""

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
            raise WireError(f"an answer that is none: {error}") from None


class _MessagePacks:
    """Each message behind its length."""

    _decode = msgspec.msgpack.Decoder(ResponseMessage).decode

    def __init__(self) -> None:
        self._framer = Prefixed(MAX_ANSWER)

    def feed(self, data: bytes) -> list[ResponseMessage]:
        try:
            replies = [self._decode(message) for message in self._framer.feed(data)]
        except _UNDECODED as error:
            raise WireError(f"an answer that is none: {error}") from None
        if self._framer.error is not None:
            raise WireError(self._framer.error)
        return replies


class _HttpAnswers:
    """Answers with a Content-Length, as this program's server gives them."""

    def __init__(self) -> None:
        self._begun = b""

    def feed(self, data: bytes) -> list[HttpReply]:
        self._begun += data
        replies = []
        while (end := self._begun.find(b"\r\n\r\n")) >= 0:
            status, length = _http_head(self._begun[:end])
            body = self._begun[end + 4 : end + 4 + length]
            if len(body) < length:
                break
            self._begun = self._begun[end + 4 + length :]
            if status == 200:
                replies.append(HttpReply(msgspec.Raw(body)))
            else:
                error = HttpError(f"HTTP {status}", body[:200].decode(errors="replace"))
                replies.append(HttpReply(error=error))
        if len(self._begun) > MAX_ANSWER:
            raise WireError(f"an answer of more than {MAX_ANSWER} bytes")
        return replies


def _http_head(head: bytes) -> tuple[int, int]:
    """Return status and length of the body."""
    first, *rest = head.split(b"\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in rest)}
    words = first.split()
    length = fields.get(b"content-length", b"")
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit() or not length.isdigit():
        raise WireError("an answer that is not HTTP/1.1 with a Content-Length")
    if int(length) > MAX_ANSWER:
        raise WireError(f"an answer of more than {MAX_ANSWER} bytes")
    return int(words[1]), int(length)
