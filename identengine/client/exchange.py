"""The conversation of one connection or socket: requests to bytes, bytes to typed results. No I/O, no clock.

An :class:`Exchange` numbers the requests and remembers the method of each one, so answers may arrive in any order.
It does not trust the server. An answer to an unknown request is counted and dropped. Bytes that are not a message,
or a message that is too large, end the stream. The exchange never buffers more than about :data:`MAX_ANSWER`
bytes.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from identengine.client.errors import AskError, EncodingError
from identengine.client.params import Bare, Params
from identengine.errors import WireError
from identengine.wire.framing import Framer
from identengine.wire.framing.jsonstream import JsonStream
from identengine.wire.framing.prefixed import Prefixed
from identengine.wire.jsonrpc.messages import Field, RequestMessage, ResponseMessage, Trouble
from identengine.wire.jsonrpc.methods import METHODS, Result

MAX_ANSWER = 1 << 20
"""Size of the largest accepted answer, in bytes. The largest is that of ``explain``, about 100 KiB."""

Encoding: TypeAlias = Literal["json", "msgpack"]
# ValueError: invalid UTF-8, or an integer of thousands of digits. RecursionError: nesting that is too deep.
_UNDECODED = (msgspec.MsgspecError, ValueError, RecursionError)
# ValueError: half of a surrogate pair. OverflowError: an integer over 64 bits in MessagePack.
_UNENCODABLE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, TypeError)


class Answer(NamedTuple):
    """The answer to one request."""

    id: int
    result: Result | AskError | WireError


class _Decoder(Protocol):
    def decode(self, raw: bytes | msgspec.Raw, /) -> Result: ...


class Exchange:
    """Ids, encoding and results of one byte stream or one datagram socket.

    ``token`` is added to every message, as UDP requires.
    """

    def __init__(self, encoding: Encoding = "json", token: str | None = None) -> None:
        self.error: str | None = None
        """Reason why the stream cannot be decoded any further: the start of the next answer is unknown."""
        self.said: AskError | None = None
        """The last error that answers no request. A server sends one before it closes the connection."""
        self.strays = 0
        """Number of unusable datagrams and of answers to unknown or expired requests."""
        self._codec = _CODECS[encoding]
        self._token = token
        self._framer: Framer = JsonStream(MAX_ANSWER) if encoding == "json" else Prefixed(MAX_ANSWER)
        self._waiting: dict[int, str] = {}
        self._last = 0

    def ask(self, method: str, params: Params) -> tuple[int, bytes]:
        """Return the id of a new request and its bytes, unframed. Raise EncodingError if they cannot be made."""
        if self._token is not None:
            params = msgspec.structs.replace(params, token=self._token)
        message_id = self._last + 1
        try:
            message = self._codec.encode(RequestMessage(method, message_id, params))
        except _UNENCODABLE as error:
            raise EncodingError(f"{method}: the request cannot be encoded: {error}") from error
        self._last = message_id
        self._waiting[message_id] = method
        return message_id, message

    def authenticate(self, token: str) -> tuple[int, bytes]:
        """Return the ``auth`` request that a connection of a switch with a token begins with."""
        return self.ask("auth", Bare(token=token))

    def framed(self, message: bytes) -> bytes:
        """Return a request framed for a stream."""
        return self._framer.frame(message)

    def forget(self, message_id: int) -> None:
        """Stop waiting for an answer. If it arrives later, it is a stray."""
        self._waiting.pop(message_id, None)

    def receive(self, data: bytes) -> list[Answer]:
        """Return the answers that these bytes of a stream complete. Check :attr:`error` afterwards."""
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
            self.error = f"the server sent {self._framer.error}"
        return answers

    def receive_datagram(self, data: bytes) -> list[Answer]:
        """Return the answer in a datagram, or an empty list if there is none."""
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
            raise WireError(f"the server sent a message that is not an answer: {error}") from None
        if not isinstance(reply.id, int) or (method := self._waiting.pop(reply.id, None)) is None:
            if reply.id is None and found is not None:
                self.said = found
            self.strays += 1
            return None
        if found is not None:
            return Answer(reply.id, found)
        if not reply.result:
            return Answer(reply.id, WireError(f"the answer to {method} has neither result nor error"))
        try:
            return Answer(reply.id, self._codec.results[method].decode(reply.result))
        except _UNDECODED as error:
            return Answer(reply.id, WireError(f"the answer to {method} cannot be decoded: {error}"))

    def _error(self, trouble: Trouble) -> AskError:
        details = trouble.data or Field()
        value = None if details.value is msgspec.UNSET else self._codec.value(details.value)
        return AskError(trouble.code, trouble.message, details.field, value)


class _Json:
    """The encoders and decoders of JSON."""

    encode = msgspec.json.Encoder().encode
    reply = msgspec.json.Decoder(ResponseMessage).decode
    value = msgspec.json.Decoder().decode
    results: ClassVar[dict[str, _Decoder]] = {
        name: msgspec.json.Decoder(spec.result) for name, spec in METHODS.items()
    }


class _MessagePack:
    """The same for MessagePack."""

    encode = msgspec.msgpack.Encoder().encode
    reply = msgspec.msgpack.Decoder(ResponseMessage).decode
    value = msgspec.msgpack.Decoder().decode
    results: ClassVar[dict[str, _Decoder]] = {
        name: msgspec.msgpack.Decoder(spec.result) for name, spec in METHODS.items()
    }


_CODECS: dict[Encoding, type[_Json] | type[_MessagePack]] = {"json": _Json, "msgpack": _MessagePack}
