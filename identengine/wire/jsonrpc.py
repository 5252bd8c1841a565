"""JSON-RPC 2.0 (interfaces.md 3): messages in, decisions asked for in one batch, answers out. No I/O.

One :class:`Responder` serves all transports. What came in one read is decoded message by message, handed to the
engine as *one* batch, and answered in order. A message of the expected shape costs one typed decoding; all others
go to :func:`_complaint`, which finds out what is wrong with them and how bad that is. Ids are never read: they are
echoed as the very text that came.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, NamedTuple, TypeAlias, get_type_hints

import msgspec

from identengine.calls.messages import Done, Later
from identengine.engine import Answer, Ask, Engine, Method
from identengine.explain import Explanation
from identengine.lifecycle import Asker, Wrong
from identengine.model import CallList, CallRequest, Decision, Digest, Request
from identengine.options import IdentifyOptions
from identengine.reasons import Reason, ReasonTable

DATAGRAM = 1400
"""Largest answer over UDP, in bytes: it fits one packet on every usual path."""
MAX_ID = 256
"""Longest id, in bytes: what is echoed has to fit into a datagram beside the answer."""
MAX_BATCH = 1000
"""Most messages in one array. As many real requests do not fit into a message; as many empty ones do."""
MAX_EXPLAINS = 16
"""Most explanations given at once: each may cost as much as a hundred decisions, which wait meanwhile."""

PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, BAD_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
NOT_READY, OVERLOADED = -32001, -32002

try:
    PROGRAM = f"identengine {version('identengine')}"
except PackageNotFoundError:  # run from a checkout that was never installed
    PROGRAM = "identengine"


class Peer(msgspec.Struct, frozen=True):
    """Who asks: a switch of the config."""

    name: str
    options: IdentifyOptions
    asker: Asker = Asker("", "")
    """Its name and the scope of its call ids."""


class Pong(msgspec.Struct, frozen=True):
    """The result of ``ping``."""

    program: str
    version: int | None
    """Of the book; None where none is loaded yet."""
    uptime: float
    """Seconds since the deciding process began to serve."""
    pid: int


class _Call(msgspec.Struct, tag_field="method", gc=False):
    """What all methods have in common; an absent id (a notification) is the empty Raw."""

    jsonrpc: Literal["2.0"]
    id: msgspec.Raw = msgspec.Raw()


class _Authorize(_Call, tag="authorize", gc=False):
    params: Request | None = None


class _Identify(_Call, tag="identify", gc=False):
    params: Request | None = None


class _Explain(_Call, tag="explain", gc=False):
    params: Request | None = None


class _Start(_Call, tag="start", gc=False):
    params: CallRequest | None = None


class _Update(_Call, tag="update", gc=False):
    params: CallRequest | None = None


class _Stop(_Call, tag="stop", gc=False):
    params: CallRequest | None = None


class _Sync(_Call, tag="sync", gc=False):
    params: CallList | None = None


class _NoParams(msgspec.Struct, gc=False):
    """Parameters of a method that takes none: whatever there is is ignored."""


class _Ping(_Call, tag="ping", gc=False):
    params: _NoParams | None = None


class _SwitchUp(_Call, tag="switch_up", gc=False):
    params: _NoParams | None = None


class _SwitchDown(_Call, tag="switch_down", gc=False):
    params: _NoParams | None = None


class _Loose(msgspec.Struct, gc=False):
    """A message of which only the parts are known; an absent one is the empty Raw."""

    jsonrpc: msgspec.Raw = msgspec.Raw()
    method: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Trouble(msgspec.Struct, frozen=True):
    """The ``error`` member of an answer."""

    code: int
    message: str
    data: _Field | msgspec.UnsetType = msgspec.UNSET


class _Field(msgspec.Struct, frozen=True):
    """Which parameter is wrong; its value unless that is long or secret."""

    field: str
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Asked(NamedTuple):
    """A message that the engine decides: its id (empty: no answer is wanted) and its place in the batch."""

    id: bytes
    place: int


_Calls = _Authorize | _Identify | _Explain | _Start | _Update | _Stop | _Sync | _SwitchUp | _SwitchDown | _Ping
_Item: TypeAlias = _Asked | bytes | None
"""A message, or one of a batch: to be decided, answered already, or not to be answered."""
_Message: TypeAlias = _Item | list[_Item]

_decode = msgspec.json.Decoder(_Calls).decode
_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_text = msgspec.json.Decoder(str).decode
_split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_split_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_Fields: TypeAlias = dict[str, msgspec.json.Decoder[object]]


def _fields(kind: type) -> _Fields:
    return {name: msgspec.json.Decoder(wanted) for name, wanted in get_type_hints(kind).items()}


_DECIDING, _TELLING, _NOTHING = _fields(Request), _fields(CallRequest), _fields(_NoParams)
_METHODS: dict[str, tuple[Method | None, _Fields, Request | CallList]] = {
    "authorize": ("authorize", _DECIDING, Request()),
    "identify": ("identify", _DECIDING, Request()),
    "explain": ("explain", _DECIDING, Request()),
    "start": ("start", _TELLING, CallRequest()),
    "update": ("update", _TELLING, CallRequest()),
    "stop": ("stop", _TELLING, CallRequest()),
    "sync": ("sync", _fields(CallList), CallList()),
    "switch_up": ("switch_up", _NOTHING, Request()),
    "switch_down": ("switch_down", _NOTHING, Request()),
    "ping": (None, _NOTHING, Request()),
}
"""What the engine calls each method (None: it is not the engine's), its parameters, and what none of them are."""
_DIGEST_FIELDS = _fields(Digest)
_INTEGER = "an integer or a string of digits"
_WANTED = dict.fromkeys(("account_id", "src_port", "interval", "part", "parts"), _INTEGER) | {
    "digest": "an object",
    "calls": "an array of arrays [call_id, leg_id, direction]",
    "confirm_empty": "true or false",
}
_SECRET = frozenset({"password"})
# The last three are a ValueError (bad UTF-8, an integer of thousands of digits) and too deep nesting.
_UNDECODED = (msgspec.MsgspecError, ValueError, RecursionError)
_ID_BEGINS = frozenset(b'"-0123456789n')
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""Each escape in a text; the group is half of a surrogate pair that stands alone."""
_NO_TEXT = rb"\ufffd"


def _error(message_id: bytes, code: int, message: str, data: _Field | msgspec.UnsetType = msgspec.UNSET) -> bytes:
    body = _encode(_Trouble(code, message, data))
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (message_id or b"null", body)


def _result(message_id: bytes, result: Answer | Pong) -> bytes:
    if isinstance(result, Explanation) and (code := _NO_EXPLANATION.get(result.decision.reason or "")):
        return _error(message_id, code, f"there is no answer: {result.decision.reason}")
    if isinstance(result, Wrong):
        value = (
            msgspec.UNSET
            if result.value is None or len(result.value) > 100
            else msgspec.Raw(_encode(result.value))
        )
        return _error(
            message_id, BAD_PARAMS, f"{result.field}: {result.expected} is wanted", _Field(result.field, value)
        )
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (message_id, _encode(result))


_NO_EXPLANATION: dict[str, int] = {
    Reason.NOT_READY: NOT_READY,
    Reason.INTERNAL_ERROR: INTERNAL,
    Reason.OVERLOAD: OVERLOADED,
}
"""These three are answers of ``authorize`` and ``identify`` only (interfaces.md 3)."""
_NOT_PARSABLE = _error(b"", PARSE_ERROR, "not parsable as JSON in UTF-8")


def _nobody(*_: object) -> None:
    """Take an answer that nobody waits for."""


class Owed:
    """How many answers, that take their time, are still owed to a peer or at a socket."""

    def __init__(self) -> None:
        self.count = 0


class Responder:
    """Answers messages with what the engine decides.

    ``uptime`` gives the seconds since the process began to serve, ``clock`` the time of the set of calls;
    ``on_reject`` is told of each rejected ``authorize``, for the log.
    """

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        on_reject: Callable[[Peer, Request, Decision], None],
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._engine = engine
        self._uptime = uptime
        self._clock = clock
        self._on_reject = on_reject

    def datagrams(
        self,
        received: Sequence[tuple[bytes, Peer]],
        late: Callable[[int, list[bytes]], None] = _nobody,
        owed: Owed | None = None,
    ) -> list[list[bytes]]:
        """Return for each datagram the datagrams that answer it, none larger than :data:`DATAGRAM` bytes.

        ``late`` is given those of an answer that takes its time, and the place of the datagram in ``received``;
        till then it is among those ``owed``.
        """
        owed = owed or Owed()
        batch = _Batch()
        messages = [self._read(raw, peer, batch) for raw, peer in received]
        decided = self._decide(batch)
        if batch.slow:
            for place, message in enumerate(messages):
                give = partial(_give_datagrams, late, place, message, self._engine.reasons)
                if _postponed(message, decided, owed, give):
                    messages[place] = None
        return [_datagrams(message, decided, self._engine.reasons) for message in messages]

    def stream(
        self,
        messages: Sequence[bytes],
        peer: Peer,
        broken: str | None = None,
        late: Callable[[bytes], None] = _nobody,
        owed: Owed | None = None,
    ) -> tuple[bytes, bool]:
        """Return the answers to messages of one connection, a line each, and whether it must be closed.

        ``broken`` says what is wrong with the stream after these messages, if anything is; so is a message that
        cannot be parsed. Nothing behind it counts, since where a next message begins is not known. ``late`` is
        given an answer that takes its time; till then it is among those ``owed``.
        """
        owed = owed or Owed()
        batch = _Batch()
        read: list[_Message] = []
        for raw in messages:
            message = self._read(raw, peer, batch)
            read.append(message)
            if message is _NOT_PARSABLE:
                broken = ""
                break
        decided = self._decide(batch)
        if batch.slow:
            for place, message in enumerate(read):
                if _postponed(message, decided, owed, partial(_give_line, late, message)):
                    read[place] = None
        answers = [answer for message in read if (answer := _whole(message, decided))]
        if broken:
            answers.append(_error(b"", PARSE_ERROR, f"not parsable: {broken}"))
        if answers:
            answers.append(b"")
        return b"\n".join(answers), broken is not None

    def _decide(self, batch: _Batch) -> list[Answer]:
        if not batch.asks:
            return []
        decided = self._engine.decide(batch.asks, self._clock())
        for ask, peer, decision in zip(batch.asks, batch.peers, decided, strict=True):
            if isinstance(decision, Decision):
                if not decision.accepted and ask.method == "authorize" and isinstance(ask.request, Request):
                    self._on_reject(peer, ask.request, decision)
            elif isinstance(decision, Later):
                batch.slow = True
        return decided

    def _read(self, raw: bytes, peer: Peer, batch: _Batch) -> _Message:
        """Read one message; what is to be decided goes to the end of the batch."""
        if raw.lstrip(b" \t\r\n")[:1] != b"[":
            return self._read_call(raw, peer, batch)
        try:
            raw.decode()
            items = _split_array(raw)
        except _UNDECODED:
            mended = _without_half_pairs(raw)
            return _NOT_PARSABLE if mended == raw else self._read(mended, peer, batch)
        if not items:
            return _error(b"", INVALID_REQUEST, "an empty batch")
        if len(items) > MAX_BATCH:
            return _error(b"", INVALID_REQUEST, f"more than {MAX_BATCH} messages in a batch")
        return [self._read_call(item, peer, batch) for item in items]

    def _read_call(self, raw: bytes | msgspec.Raw, peer: Peer, batch: _Batch) -> _Item:
        try:
            call = _decode(raw)
        except _UNDECODED:
            mended = _without_half_pairs(bytes(raw))
            if mended == raw:
                return _complaint(mended)
            if _id_of(mended).count(_NO_TEXT) > bytes(raw).count(_NO_TEXT):
                return _error(b"", INVALID_REQUEST, "an id that is a string is text")
            return self._read_call(mended, peer, batch)
        message_id = bytes(call.id)
        if message_id and not _usable_id(message_id):
            return _complaint(bytes(raw))
        if isinstance(call, _Ping):
            return _result(message_id, self._pong()) if message_id else None
        if isinstance(call, _Explain):
            batch.explains += 1
            if batch.explains > MAX_EXPLAINS:
                what = f"more than {MAX_EXPLAINS} explanations at once; ask again"
                return _error(message_id, OVERLOADED, what) if message_id else None
        batch.peers.append(peer)
        method, _, nothing = _METHODS[call.__struct_config__.tag]
        assert method is not None  # noqa: S101 - the one that has none was answered above
        params = nothing if call.params is None or isinstance(call.params, _NoParams) else call.params
        batch.asks.append(Ask(method, params, peer.options, peer.asker))
        return _Asked(message_id, len(batch.asks) - 1)

    def _pong(self) -> Pong:
        book = self._engine.book
        return Pong(PROGRAM, book.version if book else None, round(self._uptime(), 3), os.getpid())


class _Batch:
    """What the engine is to decide at once, and for whom."""

    def __init__(self) -> None:
        self.asks: list[Ask] = []
        self.peers: list[Peer] = []
        self.explains = 0
        self.slow = False
        """Whether an answer takes its time."""


def _without_half_pairs(raw: bytes) -> bytes:
    """Return a message with U+FFFD for what is half of a surrogate pair.

    That is JSON in form, though no text (RFC 8259, 8.2): programs write it for bytes of a caller's that were no
    UTF-8. The caller must not cost the switch its connection, nor the messages beside this one.
    """
    return _ESCAPES.sub(lambda escape: _NO_TEXT if escape[1] else escape[0], raw)


def _id_of(raw: bytes) -> bytes:
    """Return the id of a message as it stands there; empty where there is none."""
    try:
        return bytes(_decode_loose(raw).id)
    except _UNDECODED:
        return b""


def _usable_id(message_id: bytes) -> bool:
    """Whether an id is a string, a number or null, and short enough to be echoed."""
    if message_id[0] not in _ID_BEGINS or len(message_id) > MAX_ID:
        return False
    if not message_id.isascii():
        try:
            message_id.decode()
        except UnicodeDecodeError:
            return False
    return True


# What did not decode ---------------------------------------------------------------------------------------


def _complaint(raw: bytes) -> bytes | None:
    """Return the error that answers a message which is not as it should be; None where none is due.

    A notification with a wrong method or params gets none (JSON-RPC 2.0, 4.1), nor does an answer of somebody
    else's, or two servers could send each other errors for ever.
    """
    try:
        raw.decode()
        loose = _decode_loose(raw)
    except msgspec.ValidationError:
        return _error(b"", INVALID_REQUEST, "a request is an object")
    except _UNDECODED:
        return _NOT_PARSABLE
    message_id = bytes(loose.id)
    method = _string(bytes(loose.method))
    if not loose.method and (loose.result or loose.error):
        return None
    if message_id and not _usable_id(message_id):
        what = f"an id is a string, a number or null, of at most {MAX_ID} bytes"
        return _error(b"", INVALID_REQUEST, what)
    if _string(bytes(loose.jsonrpc)) != "2.0":
        return _error(message_id, INVALID_REQUEST, 'jsonrpc must be "2.0"')
    if method is None:
        return _error(message_id, INVALID_REQUEST, "method must be a string")
    if not message_id:
        return None
    if method not in _METHODS:
        return _error(message_id, NO_SUCH_METHOD, f"no such method: {_short(method)}")
    try:
        params = _split_object(loose.params or b"{}")
    except msgspec.ValidationError:
        return _error(message_id, BAD_PARAMS, "params go by name, in an object")
    except _UNDECODED:
        return _NOT_PARSABLE
    return _bad_param(message_id, params, _METHODS[method][1], "")


def _bad_param(message_id: bytes, params: dict[str, msgspec.Raw], fields: _Fields, above: str) -> bytes:
    """Return the error that names the first parameter of a wrong type."""
    for name, value in params.items():
        if name not in fields:
            continue
        try:
            fields[name].decode(value)
        except msgspec.ValidationError:
            if name == "digest" and bytes(value)[:1] == b"{":
                return _bad_param(message_id, _split_object(value), _DIGEST_FIELDS, "digest.")
            where = above + name
            message = f"{where}: {_WANTED.get(name, 'a string')} is wanted"
            shown = msgspec.json.format(bytes(value), indent=-1)  # on one line, as every answer is
            if where in _SECRET or len(shown) > 100:
                return _error(message_id, BAD_PARAMS, message, _Field(where))
            return _error(
                message_id, BAD_PARAMS, f"{message}, not {shown.decode()}", _Field(where, msgspec.Raw(shown))
            )
        except _UNDECODED:
            return _NOT_PARSABLE
    # Every part is right by itself: of a member that stands there twice the other one was wrong.
    return _error(message_id, INVALID_REQUEST, "the request cannot be read; does a member stand there twice?")


def _string(raw: bytes) -> str | None:
    try:
        return _decode_text(raw)
    except _UNDECODED:
        return None


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"


# Answers ---------------------------------------------------------------------------------------------------


def _postponed(message: _Message, decided: list[Answer], owed: Owed, give: Callable[[list[Answer]], None]) -> bool:
    """Whether an answer in a message takes its time; ``give`` is then called once all of them are there."""
    asked = [item for item in (message if isinstance(message, list) else [message]) if isinstance(item, _Asked)]
    slow = [later for item in asked if isinstance(later := decided[item.place], Later)]
    left = len(slow)

    def one_less(_: Done) -> None:
        nonlocal left
        left -= 1
        if not left:
            owed.count -= 1
            give([answer.done or answer if isinstance(answer, Later) else answer for answer in decided])

    owed.count += bool(slow)
    for later in slow:
        later.then(one_less)
    return bool(slow)


def _give_datagrams(
    late: Callable[[int, list[bytes]], None],
    place: int,
    message: _Message,
    reasons: ReasonTable,
    decided: list[Answer],
) -> None:
    late(place, _datagrams(message, decided, reasons))


def _give_line(late: Callable[[bytes], None], message: _Message, decided: list[Answer]) -> None:
    answer = _whole(message, decided)
    if answer is not None:
        late(answer + b"\n")


def _answer(item: _Item, decided: list[Answer]) -> bytes | None:
    if isinstance(item, _Asked):
        return _result(item.id, decided[item.place]) if item.id else None
    return item


def _whole(message: _Message, decided: list[Answer]) -> bytes | None:
    """Return the answer to a message, whatever its size; None where none is due."""
    if not isinstance(message, list):
        return _answer(message, decided)
    answers = [answer for item in message if (answer := _answer(item, decided)) is not None]
    return b"[" + b",".join(answers) + b"]" if answers else None


def _datagrams(message: _Message, decided: list[Answer], reasons: ReasonTable) -> list[bytes]:
    """Return the answer to a message as datagrams; that to a batch as several arrays where one does not do."""
    if not isinstance(message, list):
        answer = _fitted(message, decided, reasons, DATAGRAM)
        return [] if answer is None else [answer]
    arrays: list[bytes] = []
    row: list[bytes] = []
    size = 1
    for item in message:
        answer = _fitted(item, decided, reasons, DATAGRAM - 2)
        if answer is None:
            continue
        if row and size + len(answer) + 1 > DATAGRAM:
            arrays.append(b"[" + b",".join(row) + b"]")
            row, size = [], 1
        row.append(answer)
        size += len(answer) + 1
    if row:
        arrays.append(b"[" + b",".join(row) + b"]")
    return arrays


def _fitted(item: _Item, decided: list[Answer], reasons: ReasonTable, room: int) -> bytes | None:
    """Return the answer to one message in at most ``room`` bytes.

    An explanation loses candidates from its end and says so. A decision loses the names that go with its ids
    (long texts of the book, or a value given back as it came, can make it so large); one that is too large
    without them is a reject, since the switch would not get the rate table or plan that it must go by.
    """
    answer = _answer(item, decided)
    if answer is None or len(answer) <= room:
        return answer
    if not isinstance(item, _Asked):
        return _error(b"", INTERNAL, "the answer does not fit into a datagram; ask over TCP")
    result = decided[item.place]
    if isinstance(result, Explanation):
        return _cut(item.id, result, room)
    if not isinstance(result, Decision):
        return _error(item.id, INTERNAL, "the answer does not fit into a datagram; ask over TCP")
    answer = _result(item.id, _shortened(result))
    return answer if len(answer) <= room else _result(item.id, _too_large(result, reasons))


def _cut(message_id: bytes, explanation: Explanation, room: int) -> bytes:
    """Return as much of an explanation as fits."""
    decision = explanation.decision
    left = room - len(_result(message_id, Explanation(decision=decision, cut=True)))
    if left < 0:
        decision = _shortened(decision)
        decision = msgspec.structs.replace(decision, rate_table=None, routing_plan=None, tag=None)
        left = room - len(_result(message_id, Explanation(decision=decision, cut=True)))
    shown = []
    for candidate in explanation.candidates:
        left -= len(_encode(candidate)) + 1
        if left < 0:
            break
        shown.append(candidate)
    return _result(message_id, Explanation(decision=decision, candidates=tuple(shown), cut=True))


def _too_large(decision: Decision, reasons: ReasonTable) -> Decision:
    """Return the reject of a call whose answer does not fit into a datagram."""
    codes = reasons.codes(Reason.INTERNAL_ERROR, decision.account_id)
    return Decision(
        accepted=False,
        account_id=decision.account_id,
        client_id=decision.client_id,
        direction=decision.direction,
        version=decision.version,
        reason=Reason.INTERNAL_ERROR,
        sip_code=codes.sip_code,
        q850=codes.q850,
    )


def _shortened(decision: Decision) -> Decision:
    value = decision.value
    if value is not None and len(value) > 60:
        value = _short(value)
    return msgspec.structs.replace(decision, account_name=None, client_name=None, matched=None, value=value)
