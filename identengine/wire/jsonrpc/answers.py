"""What goes out as the answer to a message: whole, or made to fit into datagrams (interfaces.md 3). No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from identengine.calls.backend import EncodedDecision, LegResult
from identengine.engine.core import EngineAnswer
from identengine.engine.lifecycle import BadParameter
from identengine.identify.explain import Explanation
from identengine.model.reasons import Reason, ReasonTable
from identengine.model.records import Decision
from identengine.wire.jsonrpc.codec import Codec
from identengine.wire.jsonrpc.errors import LONGEST_VALUE, shortened
from identengine.wire.jsonrpc.messages import BAD_PARAMS, INTERNAL, NOT_READY, OVERLOADED, Field, Pong

DATAGRAM = 1400
"""Largest answer over UDP, in bytes: it fits one packet on every usual path."""
_HEADERS = 4
"""Bytes by which the header of an array may grow with its items, in MessagePack."""

_NO_EXPLANATION: dict[str, int] = {
    Reason.NOT_READY: NOT_READY,
    Reason.INTERNAL_ERROR: INTERNAL,
    Reason.OVERLOAD: OVERLOADED,
}
"""These three are answers of ``authorize`` and ``identify`` only (interfaces.md 3)."""


Item: TypeAlias = int | bytes | None
"""A message, or one of an array: its place in the batch that is to be decided, its answer, or None for none."""


class Read(NamedTuple):
    """What a message, or an array of them, is, and in which encoding it is answered."""

    items: Item | list[Item]
    codec: Codec


class Decided(NamedTuple):
    """A batch that was decided: the id of each message (empty: no answer is wanted), and what it is answered."""

    ids: Sequence[bytes]
    answers: Sequence[EngineAnswer]


def result(codec: Codec, message_id: bytes, answer: EngineAnswer | Pong) -> bytes:
    """Return an answer of the engine's as the answer to a message."""
    if isinstance(answer, Explanation) and (code := _NO_EXPLANATION.get(answer.decision.reason or "")):
        return codec.error(message_id, code, f"there is no answer: {answer.decision.reason}")
    if isinstance(answer, BadParameter):
        known = answer.value is not None and len(answer.value) <= LONGEST_VALUE
        value = msgspec.Raw(codec.encode(answer.value)) if known else msgspec.UNSET
        what = f"{answer.field}: {answer.expected} is wanted"
        return codec.error(message_id, BAD_PARAMS, what, Field(answer.field, value))
    if isinstance(answer, EncodedDecision):
        return codec.granted(message_id, answer)
    return codec.answered(message_id, answer)


def fast_answer(item: Item | list[Item], codec: Codec, decided: Decided) -> bytes | None:
    """Return the answer to a message where it is a plain result, as most are; None: see the other functions."""
    if type(item) is not int:
        return None
    answer, message_id = decided.answers[item], decided.ids[item]
    if not message_id:
        return None
    if type(answer) is EncodedDecision:
        return codec.granted(message_id, answer)
    return codec.answered(message_id, answer) if type(answer) is LegResult or type(answer) is Decision else None


def encode_answer(read: Read, decided: Decided) -> bytes | None:
    """Return the answer to a message, whatever its size; None where none is due."""
    items, codec = read
    if not isinstance(items, list):
        return _answer(items, codec, decided)
    answers = [answer for item in items if (answer := _answer(item, codec, decided)) is not None]
    return codec.array(answers) if answers else None


def datagrams(read: Read, decided: Decided, reasons: ReasonTable) -> list[bytes]:
    """Return the answer to a message as datagrams; that to a batch as several arrays where one does not do."""
    items, codec = read
    if not isinstance(items, list):
        answer = _fitted(items, codec, decided, reasons, DATAGRAM)
        return [] if answer is None else [answer]
    arrays: list[bytes] = []
    row: list[bytes] = []
    size = empty = codec.array_bytes - codec.item_bytes
    for item in items:
        answer = _fitted(item, codec, decided, reasons, DATAGRAM - codec.array_bytes)
        if answer is None:
            continue
        taken = len(answer) + codec.item_bytes
        if row and size + taken > DATAGRAM:
            arrays.append(codec.array(row))
            row, size = [], empty
        row.append(answer)
        size += taken
    if row:
        arrays.append(codec.array(row))
    return arrays


def _answer(item: Item, codec: Codec, decided: Decided) -> bytes | None:
    if isinstance(item, int):
        return result(codec, decided.ids[item], decided.answers[item]) if decided.ids[item] else None
    return item


def _fitted(item: Item, codec: Codec, decided: Decided, reasons: ReasonTable, room: int) -> bytes | None:
    """Return the answer to one message in at most ``room`` bytes.

    An explanation loses candidates from its end and says so. A decision loses the names that go with its ids
    (long texts of the book, or a value given back as it came, can make it so large); one that is too large
    without them is a reject, since the switch would not get the rate table or plan that it must go by.
    """
    answer = _answer(item, codec, decided)
    if answer is None or len(answer) <= room:
        return answer
    if not isinstance(item, int):
        return codec.error(b"", INTERNAL, "the answer does not fit into a datagram; ask over TCP")
    message_id, decision = decided.ids[item], decided.answers[item]
    if isinstance(decision, Explanation):
        return _cut(codec, message_id, decision, room)
    if isinstance(decision, EncodedDecision):
        decision = decision.decision()
    if not isinstance(decision, Decision):
        return codec.error(message_id, INTERNAL, "the answer does not fit into a datagram; ask over TCP")
    answer = result(codec, message_id, _without_names(decision))
    return answer if len(answer) <= room else result(codec, message_id, _too_large(decision, reasons))


def _cut(codec: Codec, message_id: bytes, explanation: Explanation, room: int) -> bytes:
    """Return as much of an explanation as fits."""

    def left_beside(decision: Decision) -> int:
        return room - _HEADERS - len(result(codec, message_id, Explanation(decision=decision, cut=True)))

    decision = explanation.decision
    left = left_beside(decision)
    if left < 0:
        decision = _without_names(decision)
        decision = msgspec.structs.replace(decision, rate_table=None, routing_plan=None, tag=None)
        left = left_beside(decision)
    shown = []
    for candidate in explanation.candidates:
        left -= len(codec.encode(candidate)) + codec.item_bytes
        if left < 0:
            break
        shown.append(candidate)
    return result(codec, message_id, Explanation(decision=decision, candidates=tuple(shown), cut=True))


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


def _without_names(decision: Decision) -> Decision:
    value = decision.value
    if value is not None and len(value) > 60:
        value = shortened(value)
    return msgspec.structs.replace(decision, account_name=None, client_name=None, matched=None, value=value)
