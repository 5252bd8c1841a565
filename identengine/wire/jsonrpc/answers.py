"""Answers to messages, whole or fitted into datagrams (interfaces.md 3). No I/O."""

from __future__ import annotations

import msgspec

from identengine.calls.backend import Deferred, EncodedDecision, LegResult
from identengine.engine.lifecycle import BadParameter
from identengine.engine.requests import EngineAnswer
from identengine.identify.explain import Explanation
from identengine.model.reasons import Reason, ReasonTable
from identengine.model.records import Decision
from identengine.wire.codes import BAD_PARAMS, INTERNAL, NOT_READY, OVERLOADED
from identengine.wire.desk import Item, Later, Room
from identengine.wire.jsonrpc.codec import Codec
from identengine.wire.jsonrpc.errors import LONGEST_VALUE
from identengine.wire.jsonrpc.messages import Field, Pong

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


def result(codec: Codec, message_id: bytes, answer: EngineAnswer | Pong) -> bytes:
    """Return the answer to a message, from the answer of the engine."""
    if type(answer) is Decision:  # first, since rejects must be cheap
        return codec.answered(message_id, answer)
    if type(answer) is Explanation and (error := _NO_ANSWER.get(answer.decision.reason or "")):
        return codec.error(message_id, *error)
    if type(answer) is BadParameter:
        known = answer.value is not None and len(answer.value) <= LONGEST_VALUE
        value = msgspec.Raw(codec.encode(answer.value)) if known else msgspec.UNSET
        return codec.error(message_id, BAD_PARAMS, answer.message, Field(answer.field, value))
    if type(answer) is EncodedDecision:
        return codec.granted(message_id, answer)
    if type(answer) is LegResult:
        return codec.done(message_id, answer)
    return codec.answered(message_id, answer)


def decided(codec: Codec, message_id: bytes, answer: EngineAnswer, room: Room) -> Item:
    """Return the answer to a message that was decided, with a size that fits. A notification gets no answer."""
    if type(answer) is Deferred:
        return Later(message_id, answer)
    if not message_id:
        return None
    encoded = result(codec, message_id, answer)
    return encoded if len(encoded) <= room.bytes else _fitted(codec, message_id, answer, room)


def fitted(codec: Codec, answer: Item, room: Room) -> Item:
    """Return an answer that is no decision, or an error if it does not fit."""
    if type(answer) is not bytes or len(answer) <= room.bytes:
        return answer
    return codec.error(b"", INTERNAL, _TOO_LARGE)


def _fitted(codec: Codec, message_id: bytes, answer: EngineAnswer, room: Room) -> bytes:
    """Return an answer that fits, to a message whose whole answer does not.

    An explanation loses its last candidates and is marked as cut. Long texts of the book, or a value that a
    decision returns, can make the decision too large. It then loses the names of its ids. If it is still too
    large, it becomes a reject, since the switch must not miss the rate table or the routing plan.
    """
    if isinstance(answer, Explanation):
        return _cut(codec, message_id, answer, room.bytes)
    if isinstance(answer, EncodedDecision):
        answer = answer.decision()
    if not isinstance(answer, Decision):
        return codec.error(message_id, INTERNAL, _TOO_LARGE)
    encoded = result(codec, message_id, _without_names(answer))
    return encoded if len(encoded) <= room.bytes else result(codec, message_id, _too_large(answer, room.reasons))


def _cut(codec: Codec, message_id: bytes, explanation: Explanation, room: int) -> bytes:
    """Return an explanation with as many candidates as fit into ``room`` bytes."""
    everything = len(explanation.candidates) + explanation.hidden

    def room_left(decision: Decision) -> int:
        empty = Explanation(decision=decision, cut=True, hidden=everything)
        return room - _HEADERS - len(result(codec, message_id, empty))

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
    cut = Explanation(decision=decision, candidates=tuple(shown), cut=True, hidden=everything - len(shown))
    return result(codec, message_id, cut)


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
