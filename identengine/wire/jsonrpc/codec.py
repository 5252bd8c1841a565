"""The two encodings of JSON-RPC: JSON, and MessagePack of the same objects (interfaces.md 3). No I/O.

Ids are never read: they are echoed as the very bytes that came. What is not well formed raises one of
:data:`UNDECODED`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, Union, get_type_hints

import msgspec

from identengine.calls.backend import EncodedDecision, LegResult, unpacked
from identengine.model.records import Decision, Digest
from identengine.wire.jsonrpc.messages import MAX_ID, PARSE_ERROR, Credited, Field, Loose, Trouble
from identengine.wire.jsonrpc.methods import CALLS, METHODS, Call

UNDECODED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding raises: ValueError is bad UTF-8, or an integer of thousands of digits."""

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
Bytes: TypeAlias = bytes | msgspec.Raw


class Decoder(Protocol[T_co]):
    """What decodes one type."""

    def decode(self, raw: Bytes, /) -> T_co:
        """Return what stands there; raises one of :data:`UNDECODED`."""


class DecoderOf(Protocol):
    """What makes the decoder of a type."""

    def __call__(self, kind: type[T], /) -> Decoder[T]:
        """Return a decoder, to be kept."""


class Codec:
    """What both encodings have in common."""

    name: ClassVar[str]
    null_id: ClassVar[bytes]
    """The id of an answer to who knows what."""
    item_bytes: ClassVar[int]
    """What an answer in an array takes beside itself, in bytes."""
    array_bytes: ClassVar[int]
    """What an array takes beside its items, at most."""
    number_begins: ClassVar[bytes]
    """Of each first byte of an id, 1 where it is a whole number. Most are; of short ones no more need be known."""

    def __init__(self, decoder: DecoderOf, encode: Callable[[object], bytes]) -> None:
        """Take what msgspec has for the encoding."""
        self.encode = encode
        """Return an object encoded."""
        any_call: Any = Union[tuple(CALLS.values())]  # noqa: UP007 - its members are known at run time only
        self.call: Callable[[Bytes], Call] = decoder(any_call).decode
        """Return a message of the expected shape."""
        self.loose = decoder(Loose).decode
        """Return a message in its parts."""
        self.credited = decoder(Credited).decode
        """Return the token that comes with a message."""
        self.text = decoder(str).decode
        self.items = decoder(list[msgspec.Raw]).decode
        """Return what is in an array."""
        self.members = decoder(dict[str, msgspec.Raw]).decode
        """Return what is in an object."""
        kinds: list[type[msgspec.Struct]] = [*(spec.params for spec in METHODS.values()), Digest]
        self.fields: dict[type[msgspec.Struct], dict[str, Decoder[object]]] = {
            kind: {name: decoder(wanted) for name, wanted in get_type_hints(kind).items()} for kind in kinds
        }
        """What decodes each field of a kind of parameters."""
        self.not_parsable = self.error(b"", PARSE_ERROR, f"not parsable as {self.name}")
        """The answer to what is no message at all."""

    def error(
        self, message_id: bytes, code: int, message: str, data: Field | msgspec.UnsetType = msgspec.UNSET
    ) -> bytes:
        """Return an answer that is an error."""
        return self.failed(message_id or self.null_id, self.encode(Trouble(code, message, data)))

    # ---- what differs

    def is_array(self, raw: bytes) -> bool:
        """Whether a message is an array of messages, if it is well formed."""
        raise NotImplementedError

    def is_well_formed(self, raw: bytes) -> bool:
        """Whether what decoding passes over is text as it must be."""
        raise NotImplementedError

    def is_usable_id(self, message_id: bytes) -> bool:
        """Whether an id is a string, a number or null, and short enough to be echoed."""
        raise NotImplementedError

    def may_hold_token(self, raw: Bytes) -> bool:
        """Return False if no parameter of a message can have the name ``token``, without decoding the message."""
        raise NotImplementedError

    def repaired(self, raw: bytes) -> bytes:
        """Return a message that cannot be decoded as it is to be read all the same, if there is a way."""
        raise NotImplementedError

    def shown(self, value: bytes) -> str:
        """Return a value as JSON on one line, for people."""
        raise NotImplementedError

    def one_line(self, value: bytes) -> bytes:
        """Return a value without line breaks between its parts."""
        raise NotImplementedError

    def answered(self, message_id: bytes, result: object) -> bytes:
        """Return an answer that is a result."""
        raise NotImplementedError

    def granted(self, message_id: bytes, grant: EncodedDecision) -> bytes:
        """Return an answer that says that a call may pass."""
        return self.answered(message_id, unpacked(grant.packed))

    def fast_answer(self, message_id: bytes, answer: object) -> bytes | None:
        """Return an answer if it is a plain result, as most are, or None if it needs more (:mod:`.answers`)."""
        kind = type(answer)
        if kind is EncodedDecision:
            return self.granted(message_id, answer)  # type: ignore[arg-type]  # as the line before says
        return self.answered(message_id, answer) if kind is LegResult or kind is Decision else None

    def failed(self, message_id: bytes, error: bytes) -> bytes:
        """Return an answer that is an encoded error."""
        raise NotImplementedError

    def array(self, answers: Sequence[bytes]) -> bytes:
        """Return several answers as one array."""
        raise NotImplementedError


_ID_BEGINS = frozenset(b'"-0123456789n')
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""Each escape in a text; the group is half of a surrogate pair that stands alone."""
NO_TEXT = rb"\ufffd"
"""What is put for a half pair."""


class _Json(Codec):
    name = "JSON in UTF-8"
    number_begins = bytes(ord("0") <= first <= ord("9") for first in range(256))
    null_id = b"null"
    item_bytes = 1
    array_bytes = 2

    def is_array(self, raw: bytes) -> bool:
        return raw.lstrip(b" \t\r\n")[:1] == b"["

    def is_well_formed(self, raw: bytes) -> bool:
        try:
            raw.decode()
        except UnicodeDecodeError:
            return False
        return True

    def is_usable_id(self, message_id: bytes) -> bool:
        if message_id[0] not in _ID_BEGINS or len(message_id) > MAX_ID:
            return False
        return message_id.isascii() or self.is_well_formed(message_id)

    def may_hold_token(self, raw: Bytes) -> bool:
        text = bytes(raw)
        return b"token" in text or b"\\u" in text  # an escape can hide a letter of the name

    def repaired(self, raw: bytes) -> bytes:
        """Return it with U+FFFD for what is half of a surrogate pair.

        That is JSON in form, though no text (RFC 8259, 8.2): programs write it for bytes of a caller's that were
        no UTF-8. The caller must not cost the switch its connection, nor the messages beside this one.
        """
        return _ESCAPES.sub(lambda escape: NO_TEXT if escape[1] else escape[0], raw)

    def shown(self, value: bytes) -> str:
        return self.one_line(value).decode()

    def one_line(self, value: bytes) -> bytes:
        return msgspec.json.format(value, indent=-1)

    def answered(self, message_id: bytes, result: object) -> bytes:
        return b"".join((b'{"jsonrpc":"2.0","id":', message_id, b',"result":', self.encode(result), b"}"))

    def failed(self, message_id: bytes, error: bytes) -> bytes:
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (message_id, error)

    def array(self, answers: Sequence[bytes]) -> bytes:
        return b"[%b]" % b",".join(answers)


class _MessagePack(Codec):
    name = "MessagePack"
    number_begins = bytes(first < 0x80 or 0xCC <= first < 0xD4 or first >= 0xE0 for first in range(256))
    null_id = b"\xc0"
    item_bytes = 0
    array_bytes = 5

    _read_id = msgspec.msgpack.Decoder(int | float | str | None).decode
    _read = msgspec.msgpack.Decoder().decode
    _HEAD = b"\x83\xa7jsonrpc\xa32.0\xa2id"
    """Of an object with three members, up to the value of the second."""

    def is_array(self, raw: bytes) -> bool:
        return b"\x90" <= raw[:1] <= b"\x9f" or raw[:1] in (b"\xdc", b"\xdd")

    def is_well_formed(self, raw: bytes) -> bool:
        return True

    def is_usable_id(self, message_id: bytes) -> bool:
        if len(message_id) > MAX_ID:
            return False
        try:
            self._read_id(message_id)
        except UNDECODED:
            return False
        return True

    def may_hold_token(self, raw: Bytes) -> bool:
        return b"token" in bytes(raw)

    def repaired(self, raw: bytes) -> bytes:
        return raw

    def shown(self, value: bytes) -> str:
        """Return it; what JSON has no form for is shown by its kind."""
        try:
            return msgspec.json.encode(self._read(value)).decode()
        except (*UNDECODED, TypeError):
            return "what JSON has no form for"

    def one_line(self, value: bytes) -> bytes:
        return value

    def answered(self, message_id: bytes, result: object) -> bytes:
        return b"".join((self._HEAD, message_id, b"\xa6result", self.encode(result)))

    def granted(self, message_id: bytes, grant: EncodedDecision) -> bytes:
        return b"".join((self._HEAD, message_id, b"\xa6result", grant.packed))

    def failed(self, message_id: bytes, error: bytes) -> bytes:
        return b"%b%b\xa5error%b" % (self._HEAD, message_id, error)

    def array(self, answers: Sequence[bytes]) -> bytes:
        count = len(answers)
        head = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
        return head + b"".join(answers)


JSON: Codec = _Json(msgspec.json.Decoder, msgspec.json.Encoder().encode)
MESSAGEPACK: Codec = _MessagePack(msgspec.msgpack.Decoder, msgspec.msgpack.Encoder().encode)
