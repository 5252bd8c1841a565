"""The two encodings of JSON-RPC: JSON, and MessagePack of the same objects (interfaces.md 3). No I/O.

Rule: an id is never decoded. It is echoed byte for byte. Bytes that are not well formed raise one of
:data:`UNDECODED`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, Union

import msgspec

from identengine.calls.backend import DONE, FREED_ONE, UNKNOWN, EncodedDecision, LegResult, unpacked
from identengine.errors import LONGEST_QUOTE
from identengine.identify import template
from identengine.identify.template import Form
from identengine.model.records import Digest
from identengine.wire.codes import OVERLOADED, PARSE_ERROR
from identengine.wire.jsonrpc.messages import MAX_ID, Credited, Failure, Field, Loose, Trouble, Unproven
from identengine.wire.jsonrpc.methods import (
    CALLS,
    INTEGER_ID_CALLS,
    METHODS,
    USUAL_CALLS,
    Call,
    param_types,
)

LONGEST_TOKEN = 1024
"""Largest encoded token, in bytes, that is found without decoding its message."""
_LONGEST_SHOWN = 512
"""Longest value that is decoded to be shown, in bytes. To decode a larger one costs time."""
UNDECODED = (msgspec.MsgspecError, ValueError, RecursionError)
"""Exceptions of decoding. ValueError is bad UTF-8, or an integer of thousands of digits."""

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
Bytes: TypeAlias = bytes | msgspec.Raw


class Decoder(Protocol[T_co]):
    """A decoder of one type."""

    def decode(self, raw: Bytes, /) -> T_co:
        """Return the decoded value. Raise one of :data:`UNDECODED` if ``raw`` is not a value of the type."""


class DecoderOf(Protocol):
    """A factory of decoders."""

    def __call__(self, kind: type[T], /) -> Decoder[T]:
        """Return a decoder of ``kind``. Making one is slow, so keep it."""


class NotParsable(bytes):
    """An error that answers bytes which are not a message. A stream cannot continue behind them."""


class Codec:
    """An encoding of JSON-RPC. JSON and MessagePack are its subclasses."""

    name: ClassVar[str]
    is_json: ClassVar[bool]
    form: ClassVar[Form]
    """The form in which the engine answers accepted calls."""
    null_id: ClassVar[bytes]
    """The id of an answer if the id of the request is unknown."""
    item_bytes: ClassVar[int]
    """Overhead of each answer in an array, in bytes."""
    array_bytes: ClassVar[int]
    """Overhead of an array, without that of its answers, in bytes at most."""
    number_begins: ClassVar[bytes]
    """A table of all first bytes of an id: 1 if the id is an integer. A short integer needs no other check."""

    def __init__(self, decoder: DecoderOf, encode: Callable[[object], bytes]) -> None:
        """Make the decoders and the encoder from those of msgspec."""
        self.encode = encode
        """Return an object in this encoding."""
        self._results = {id(each): encode(each) for each in (DONE, FREED_ONE, UNKNOWN)}
        """The encoded results of most messages of a call's life."""
        any_call: Any = Union[tuple(CALLS.values())]  # noqa: UP007 - its members are known at run time only
        self.call: Callable[[Bytes], Call] = decoder(any_call).decode
        """Return a message of the expected shape as the struct of its method."""
        usual_call: Any = Union[tuple(USUAL_CALLS.values())]  # noqa: UP007 - as above
        self.usual: Callable[[Bytes], Call] = decoder(usual_call).decode
        """Return a message as :attr:`call` does, if its parameters are of the usual shape."""
        integer_ids: Any = Union[tuple(INTEGER_ID_CALLS.values())]  # noqa: UP007 - as above
        self.integer_ids: Callable[[Bytes], Call] = decoder(integer_ids).decode
        """Return a message whose ids may be integers (:func:`with_text_ids`)."""
        self.loose = decoder(Loose).decode
        """Return the encoded members of any message."""
        self.credited = decoder(Credited).decode
        """Return the token of a message."""
        unproven: Any = Unproven | list[Unproven]
        self.unproven: Callable[[Bytes], Unproven | list[Unproven]] = decoder(unproven).decode
        """Return the members that the error needs which answers a message, or the messages of an array."""
        self.failure = decoder(Failure).decode
        """Return the error of an encoded answer, or None if the answer is a result."""
        self.text = decoder(str).decode
        self.items = decoder(list[msgspec.Raw]).decode
        """Return the encoded items of an array."""
        self.members = decoder(dict[str, msgspec.Raw]).decode
        """Return the encoded members of an object."""
        kinds: list[type[msgspec.Struct]] = [*(spec.params for spec in METHODS.values()), Digest]
        self.fields: dict[type[msgspec.Struct], dict[str, Decoder[object]]] = {
            kind: {name: decoder(wanted) for name, wanted in param_types(kind).items()} for kind in kinds
        }
        """The decoder of each field, by the type of the parameters."""

    def error(
        self, message_id: bytes, code: int, message: str, data: Field | msgspec.UnsetType = msgspec.UNSET
    ) -> bytes:
        """Return an answer that is an error."""
        return self.failed(message_id or self.null_id, self.encode(Trouble(code, message, data)))

    def overloaded(self, message_id: bytes, problem: str) -> bytes:
        """Return an error: the message is not decided now."""
        return self.error(message_id, OVERLOADED, problem)

    def not_parsable(self, fault: Exception) -> NotParsable:
        """Return the answer to bytes that are not a message. ``fault`` is one of :data:`UNDECODED`."""
        return NotParsable(self.error(b"", PARSE_ERROR, f"not parsable as {self.name}: {_reason(fault)}"))

    def is_well_formed(self, raw: bytes) -> bool:
        """Return True if all texts in a message are valid, also those that decoding skips."""
        return self.text_fault(raw) is None

    def printable(self, value: bytes) -> str:
        """Return a value, or the beginning of a long one, for a person. Any bytes have such a form."""
        if len(value) > _LONGEST_SHOWN:
            return self.outlined(value)
        return self.shown(value) or f"bytes that begin with 0x{value[0]:02x}"

    # ---- differs between the encodings

    def is_array(self, raw: bytes) -> bool:
        """Return True if a message that is well formed is an array of messages."""
        raise NotImplementedError

    def text_fault(self, raw: bytes) -> UnicodeDecodeError | None:
        """Return the first fault in a text that decoding skips, or None if there is no fault."""
        raise NotImplementedError

    def is_usable_id(self, message_id: bytes) -> bool:
        """Return True if an id is a whole string, a number or null, and short enough to be echoed."""
        raise NotImplementedError

    def repaired(self, raw: bytes) -> bytes:
        """Return a message that cannot be decoded in a repaired form, or as it is if no repair is known."""
        raise NotImplementedError

    def shown(self, value: bytes) -> str | None:
        """Return a value as JSON on one line, for an error message, or None if JSON has no form for the value."""
        raise NotImplementedError

    def outlined(self, value: bytes) -> str:
        """Return the beginning of a long value, for an error message. The cost does not depend on its length."""
        raise NotImplementedError

    def one_line(self, value: bytes) -> bytes | None:
        """Return a value without line breaks between its parts, or None if an answer cannot hold it.

        ``value`` is part of a message without a :meth:`text_fault`.
        """
        raise NotImplementedError

    def token_behind(self, raw: bytes, at: int) -> str | None:
        """Return the string that is the value of the name which ends at ``at``, or None if no string follows.

        The cost is bounded by :data:`LONGEST_TOKEN`, and the rest of the message may be anything.
        """
        raise NotImplementedError

    def answered(self, message_id: bytes, result: object) -> bytes:
        """Return an answer that is a result."""
        raise NotImplementedError

    def granted(self, message_id: bytes, grant: EncodedDecision) -> bytes:
        """Return an answer that accepts a call."""
        if grant.is_json is self.is_json:
            return self.spliced(message_id, grant.packed)
        return self.answered(message_id, unpacked(grant.packed))

    def done(self, message_id: bytes, result: LegResult) -> bytes:
        """Return the answer to a message of a call's life. The usual results are encoded once."""
        return self.spliced(message_id, self._results.get(id(result)) or self.encode(result))

    def spliced(self, message_id: bytes, result: bytes) -> bytes:
        """Return an answer whose result is encoded already."""
        raise NotImplementedError

    def failed(self, message_id: bytes, error: bytes) -> bytes:
        """Return an answer that is an encoded error."""
        raise NotImplementedError

    def array(self, answers: Sequence[bytes]) -> bytes:
        """Return several answers as one array."""
        raise NotImplementedError


_ID_BEGINS = frozenset(b'"-0123456789n')
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!%b)|[c-fC-F][0-9a-fA-F]{2}(?<!%b%b))" % (_LOW, _HIGH, _LOW)
)
"""The escape of a surrogate without its other half, if no escaped backslash is left."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""The beginning of the escape of a surrogate, or of an escaped backslash and such letters."""
_BACKSLASH, _HIDDEN = rb"\\", b"\0\0"
"""An escaped backslash, and two bytes that no JSON text holds."""
_TOKEN_VALUE = re.compile(rb'[ \t\r\n]*+:[ \t\r\n]*+("[^"\\]*+(?:\\.[^"\\]*+)*+")', re.DOTALL)
"""The rest of a member behind its name. The group is its value, a string."""
NO_TEXT = rb"\uFfFd"
"""The escape that replaces half of a surrogate pair. No program writes it like this, so it marks a repaired id."""


class _Json(Codec):
    name = "JSON"
    is_json = True
    form = staticmethod(template.json)
    number_begins = bytes(ord("0") <= first <= ord("9") for first in range(256))
    null_id = b"null"
    item_bytes = 1
    array_bytes = 2

    def is_array(self, raw: bytes) -> bool:
        return raw.lstrip(b" \t\r\n")[:1] == b"["

    def text_fault(self, raw: bytes) -> UnicodeDecodeError | None:
        try:
            raw.decode()
        except UnicodeDecodeError as fault:
            return fault
        return None

    def is_usable_id(self, message_id: bytes) -> bool:
        if message_id[0] not in _ID_BEGINS or len(message_id) > MAX_ID or NO_TEXT in message_id:
            return False
        return message_id.isascii() or self.is_well_formed(message_id)

    def repaired(self, raw: bytes) -> bytes:
        """Return the message with U+FFFD in place of each half of a surrogate pair.

        Half a pair is valid JSON but no text (RFC 8259, 8.2). Programs write it if a caller sent bytes that are
        not UTF-8. A caller must not cost the switch its connection, or the other messages of an array. The cost
        is linear, without a step in Python for an escape, since any peer at an address can send 30,000 of them.
        """
        if _SURROGATE.search(raw) is None or b"\0" in raw:
            return raw
        # A run of backslashes begins with an escape. So its pairs are escaped backslashes, and all others escape.
        hidden = raw.replace(_BACKSLASH, _HIDDEN)
        return _HALF.sub(_NO_TEXT_TEMPLATE, hidden).replace(_HIDDEN, _BACKSLASH)

    def token_behind(self, raw: bytes, at: int) -> str | None:
        found = _TOKEN_VALUE.match(raw, at, at + LONGEST_TOKEN)
        if found is None:
            return None
        try:
            return self.text(found[1])
        except UNDECODED:
            return None

    def shown(self, value: bytes) -> str | None:
        try:
            return self.one_line(value).decode(errors="replace")
        except UNDECODED:
            return None

    def outlined(self, value: bytes) -> str:
        return b" ".join(value[:LONGEST_QUOTE].split()).decode(errors="replace") + "…"

    def one_line(self, value: bytes) -> bytes:
        return msgspec.json.format(value, indent=-1)

    def answered(self, message_id: bytes, result: object) -> bytes:
        return b"".join((b'{"jsonrpc":"2.0","id":', message_id, b',"result":', self.encode(result), b"}"))

    def spliced(self, message_id: bytes, result: bytes) -> bytes:
        return b"".join((b'{"jsonrpc":"2.0","id":', message_id, b',"result":', result, b"}"))

    def failed(self, message_id: bytes, error: bytes) -> bytes:
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (message_id, error)

    def array(self, answers: Sequence[bytes]) -> bytes:
        return b"[%b]" % b",".join(answers)


class _MessagePack(Codec):
    name = "MessagePack"
    is_json = False
    form = staticmethod(template.packed)
    number_begins = bytes(first < 0x80 or 0xCC <= first < 0xD4 or first >= 0xE0 for first in range(256))
    null_id = b"\xc0"
    item_bytes = 0
    array_bytes = 5

    _read_id = msgspec.msgpack.Decoder(int | float | str | None).decode
    _read = msgspec.msgpack.Decoder().decode
    _HEAD = b"\x83\xa7jsonrpc\xa32.0\xa2id"
    """The beginning of an object with three members, up to the value of its second member."""

    def is_array(self, raw: bytes) -> bool:
        return b"\x90" <= raw[:1] <= b"\x9f" or raw[:1] in (b"\xdc", b"\xdd")

    def text_fault(self, raw: bytes) -> UnicodeDecodeError | None:
        return None

    def is_usable_id(self, message_id: bytes) -> bool:
        if len(message_id) > MAX_ID:
            return False
        try:
            self._read_id(message_id)
        except UNDECODED:
            return False
        return True

    def repaired(self, raw: bytes) -> bytes:
        return raw

    def shown(self, value: bytes) -> str | None:
        try:
            read = self._read(value)
            if isinstance(read, bytes):  # msgspec would encode them in base64, which the peer did not send
                return None
            return msgspec.json.encode(read).decode()
        except (*UNDECODED, TypeError):  # not MessagePack, or an extension, or a name that is no text
            return None

    def outlined(self, value: bytes) -> str:
        return f"{_KINDS[value[0]]} of {len(value)} bytes"

    def one_line(self, value: bytes) -> bytes | None:
        try:
            self._read(value)
        except UNDECODED:  # a text that is not UTF-8, in a value that no decoder has read yet
            return None
        return value

    def token_behind(self, raw: bytes, at: int) -> str | None:
        head = raw[at : at + 3]
        if head[:1] in _SHORT_TEXTS:
            begin, size = at + 1, head[0] & 0x1F
        elif head[:1] in (b"\xd9", b"\xda"):
            begin = at + head[0] - 0xD7
            size = int.from_bytes(raw[at + 1 : begin], "big")
        else:
            return None
        try:
            return raw[begin : begin + size].decode() if size <= LONGEST_TOKEN else None
        except UnicodeDecodeError:
            return None

    def answered(self, message_id: bytes, result: object) -> bytes:
        return b"".join((self._HEAD, message_id, b"\xa6result", self.encode(result)))

    def spliced(self, message_id: bytes, result: bytes) -> bytes:
        return b"".join((self._HEAD, message_id, b"\xa6result", result))

    def failed(self, message_id: bytes, error: bytes) -> bytes:
        return b"%b%b\xa5error%b" % (self._HEAD, message_id, error)

    def array(self, answers: Sequence[bytes]) -> bytes:
        count = len(answers)
        head = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
        return head + b"".join(answers)


_NO_TEXT_TEMPLATE = NO_TEXT.replace(b"\\", rb"\\")
"""The replacement as :mod:`re` reads it. Without a group it costs no step in Python."""
_SHORT_TEXTS = frozenset(bytes((first,)) for first in range(0xA0, 0xC0))
"""First bytes of strings in MessagePack of less than 32 bytes."""
_ARRAYS, _OBJECTS = (*range(0x90, 0xA0), 0xDC, 0xDD), (*range(0x80, 0x90), 0xDE, 0xDF)
_KINDS = [
    "an array" if first in _ARRAYS else "an object" if first in _OBJECTS else "a value" for first in range(256)
]
"""The kinds of values in MessagePack by their first bytes, as an error names them."""

JSON: Codec = _Json(msgspec.json.Decoder, msgspec.json.Encoder().encode)
MESSAGEPACK: Codec = _MessagePack(msgspec.msgpack.Decoder, msgspec.msgpack.Encoder().encode)


def _reason(fault: Exception) -> str:
    """Return the reason why decoding failed, if the exception shows it."""
    if isinstance(fault, RecursionError):
        return "it is nested too deeply"
    if isinstance(fault, UnicodeDecodeError):
        return f"invalid UTF-8 (byte {fault.start})"
    text = str(fault)  # of msgspec: "JSON is malformed: invalid character (byte 6)"
    return "it ends too early" if "truncated" in text else text.partition("malformed: ")[2] or text
