"""The conversation of one connection or socket: requests to bytes, bytes to typed results. No I/O, no clock.

An :class:`Exchange` gives out ids and knows which of them wait for what; answers may come in any order. What comes
in is not trusted: an answer to nothing is counted and dropped, what is too large or no message ends the stream,
and nothing that a peer sends makes it hold more than about :data:`MAX_ANSWER` bytes.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from identengine.client.errors import AskError
from identengine.client.params import Bare, Params
from identengine.errors import WireError
from identengine.wire.framing import Framer
from identengine.wire.framing.jsonstream import JsonStream
from identengine.wire.framing.prefixed import Prefixed
from identengine.wire.jsonrpc.messages import Field, RequestMessage, ResponseMessage, Trouble
from identengine.wire.jsonrpc.methods import METHODS, Result

MAX_ANSWER = 1 << 20
"""Bytes of the largest answer that is taken; that of ``explain`` at a crowded address has some 100 KiB."""

Encoding: TypeAlias = Literal["json", "msgpack"]
# The last two are bad UTF-8 or an integer of thousands of digits, and too deep nesting.
_UNDECODED = (msgspec.MsgspecError, ValueError, RecursionError)


class Answer(NamedTuple):
    """The answer to one request."""

    id: int
    result: Result | AskError | WireError


class _Decoder(Protocol):
    def decode(self, raw: bytes | msgspec.Raw, /) -> Result: ...


class Exchange:
    """Ids, encoding and results of one stream of bytes or of one socket for datagrams.

    ``token``: one that goes with every message, as it has to over UDP.
    """

    def __init__(self, encoding: Encoding = "json", token: str | None = None) -> None:
        self.error: str | None = None
        """Why the stream cannot be read on: where a next answer would begin is not known."""
        self.said: AskError | None = None
        """The last error that belongs to no request: what a server says before it hangs up."""
        self.strays = 0
        """Answers to nothing that was asked, or that came too late, and unusable datagrams."""
        self._codec = _CODECS[encoding]
        self._token = token
        self._framer: Framer = JsonStream(MAX_ANSWER) if encoding == "json" else Prefixed(MAX_ANSWER)
        self._waiting: dict[int, str] = {}
        self._last = 0

    def ask(self, method: str, params: Params) -> tuple[int, bytes]:
        """Return the id of a new request and its bytes: as they go into a stream, or a datagram."""
        if self._token is not None:
            params = msgspec.structs.replace(params, token=self._token)
        self._last += 1
        self._waiting[self._last] = method
        return self._last, self._codec.encode(RequestMessage(method, self._last, params))

    def authenticate(self, token: str) -> tuple[int, bytes]:
        """Return the request that a connection begins with, where the switch has a token."""
        return self.ask("auth", Bare(token=token))

    def framed(self, message: bytes) -> bytes:
        """Return a request as it goes into a stream."""
        return self._framer.frame(message)

    def forget(self, message_id: int) -> None:
        """Wait no more for an answer; one that comes nevertheless is a stray."""
        self._waiting.pop(message_id, None)

    def receive(self, data: bytes) -> list[Answer]:
        """Take bytes of a stream; return the answers that they completed. Then look at :attr:`error`."""
        answers: list[Answer] = []
        for message in self._framer.feed(data) if self.error is None else ():
            try:
                answer = self._answer(message)
            except WireError as error:
                self.error = str(error)
                return answers
            if answer is not None:
                answers.append(answer)
        if self._framer.error is not None:
            self.error = f"the server sends {self._framer.error}"
        return answers

    def receive_datagram(self, data: bytes) -> list[Answer]:
        """Take a datagram; return the answer in it, or nothing."""
        try:
            answer = self._answer(data)
        except WireError:
            self.strays += 1
            return []
        return [] if answer is None else [answer]

    def _answer(self, message: bytes) -> Answer | None:
        try:
            reply = self._codec.reply(message)
            found = None if reply.error is None else self._error(reply.error)
        except _UNDECODED as error:
            raise WireError(f"the server sends what is no answer: {error}") from None
        if not isinstance(reply.id, int) or (method := self._waiting.pop(reply.id, None)) is None:
            if reply.id is None and found is not None:
                self.said = found
            self.strays += 1
            return None
        if found is not None:
            return Answer(reply.id, found)
        if not reply.result:
            return Answer(reply.id, WireError(f"{method} is answered with neither result nor error"))
        try:
            return Answer(reply.id, self._codec.results[method].decode(reply.result))
        except _UNDECODED as error:
            return Answer(reply.id, WireError(f"the answer to {method} is not understood: {error}"))

    def _error(self, trouble: Trouble) -> AskError:
        details = trouble.data or Field()
        value = None if details.value is msgspec.UNSET else self._codec.value(details.value)
        return AskError(trouble.code, trouble.message, details.field, value)


class _Json:
    """JSON, as it is in messages."""

    encode = msgspec.json.Encoder().encode
    reply = msgspec.json.Decoder(ResponseMessage).decode
    value = msgspec.json.Decoder().decode
    results: ClassVar[dict[str, _Decoder]] = {
        name: msgspec.json.Decoder(spec.result) for name, spec in METHODS.items()
    }


class _MessagePack:
    """MessagePack, the same objects."""

    encode = msgspec.msgpack.Encoder().encode
    reply = msgspec.msgpack.Decoder(ResponseMessage).decode
    value = msgspec.msgpack.Decoder().decode
    results: ClassVar[dict[str, _Decoder]] = {
        name: msgspec.msgpack.Decoder(spec.result) for name, spec in METHODS.items()
    }


_CODECS: dict[Encoding, type[_Json] | type[_MessagePack]] = {"json": _Json, "msgpack": _MessagePack}
