"""Answers to messages, whole or fitted into datagrams (interfaces.md 3). No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from identengine.calls.backend import EncodedDecision
from identengine.engine.core import EngineAnswer
from identengine.engine.lifecycle import BadParameter
from identengine.identify.explain import Explanation
from identengine.model.reasons import Reason, ReasonTable
from identengine.model.records import Decision
from identengine.wire.jsonrpc.codec import Codec
from identengine.wire.jsonrpc.errors import LONGEST_VALUE
from identengine.wire.jsonrpc.messages import BAD_PARAMS, INTERNAL, NOT_READY, OVERLOADED, Field, Pong

DATAGRAM = 1400
"""Largest answer over UDP, in bytes. It fits into one packet on every usual path."""
_HEADERS = 4
"""Growth of the header of an array in MessagePack as items are added, in bytes at most."""
_LONGEST_VALUE = 60
"""Longest value of a reject without names, in characters."""

_NO_ANSWER: dict[str, tuple[int, str]] = {
    Reason.NOT_READY: (NOT_READY, "no book is loaded yet. Ask again later."),
    Reason.INTERNAL_ERROR: (INTERNAL, "internal error. The server's log has the details."),
    Reason.OVERLOAD: (OVERLOADED, "the server is overloaded. Ask again later."),
}
"""The reasons that only ``authorize`` and ``identify`` answer as a reject. Other methods answer an error."""
_TOO_LARGE = "the answer does not fit into a datagram. Ask over TCP."


Item: TypeAlias = int | bytes | None
"""A message: its place in the batch to decide, or its answer, or None if it gets no answer."""


class Read(NamedTuple):
    """A message, or an array of messages, that was read, and its encoding."""

    items: Item | list[Item]
    codec: Codec


class Decided(NamedTuple):
    """A batch that was decided: the id of each message (empty for a notification), and its answer."""

    ids: Sequence[bytes]
    answers: Sequence[EngineAnswer]


def result(codec: Codec, message_id: bytes, answer: EngineAnswer | Pong) -> bytes:
    """Return the answer to a message, from the answer of the engine."""
    if isinstance(answer, Explanation) and (error := _NO_ANSWER.get(answer.decision.reason or "")):
        return codec.error(message_id, *error)
    if isinstance(answer, BadParameter):
        known = answer.value is not None and len(answer.value) <= LONGEST_VALUE
        value = msgspec.Raw(codec.encode(answer.value)) if known else msgspec.UNSET
        return codec.error(message_id, BAD_PARAMS, answer.message, Field(answer.field, value))
    if isinstance(answer, EncodedDecision):
        return codec.granted(message_id, answer)
    return codec.answered(message_id, answer)


def encode_answer(read: Read, decided: Decided) -> bytes | None:
    """Return the answer to a message in one piece of any size, or None if the message gets no answer."""
    items, codec = read
    if not isinstance(items, list):
        return _answer(items, codec, decided)
    answers = [answer for item in items if (answer := _answer(item, codec, decided)) is not None]
    return codec.array(answers) if answers else None


def datagrams(read: Read, decided: Decided, reasons: ReasonTable) -> list[bytes]:
    """Return the answer to a message as datagrams. The answer to an array may be several arrays."""
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
    """Return the answer to one message in at most ``room`` bytes, or None if the message gets no answer.

    An explanation loses its last candidates and is marked as cut. Long texts of
    the book, or a value that it returns, can make a decision too large. It loses the names of its ids. If it is
    still too large, it becomes a reject, since the switch must not miss the rate table or the routing plan.
    """
    answer = _answer(item, codec, decided)
    if answer is None or len(answer) <= room:
        return answer
    if not isinstance(item, int):
        return codec.error(b"", INTERNAL, _TOO_LARGE)
    message_id, decision = decided.ids[item], decided.answers[item]
    if isinstance(decision, Explanation):
        return _cut(codec, message_id, decision, room)
    if isinstance(decision, EncodedDecision):
        decision = decision.decision()
    if not isinstance(decision, Decision):
        return codec.error(message_id, INTERNAL, _TOO_LARGE)
    answer = result(codec, message_id, _without_names(decision))
    return answer if len(answer) <= room else result(codec, message_id, _too_large(decision, reasons))


def _cut(codec: Codec, message_id: bytes, explanation: Explanation, room: int) -> bytes:
    """Return an explanation with as many candidates as fit into ``room`` bytes."""

    def room_left(decision: Decision) -> int:
        return room - _HEADERS - len(result(codec, message_id, Explanation(decision=decision, cut=True)))

    decision = explanation.decision
    left = room_left(decision)
    if left < 0:
        decision = _without_names(decision)
        decision = msgspec.structs.replace(decision, rate_table=None, routing_plan=None, tag=None)
        left = room_left(decision)
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
    """Return a decision without the names of its ids, and with the beginning of a long value."""
    value = decision.value
    if value is not None and len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "…"
    return msgspec.structs.replace(decision, account_name=None, client_name=None, matched=None, value=value)
