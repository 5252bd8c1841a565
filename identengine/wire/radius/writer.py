"""Writes the answers of the engine as replies. The core of all protocols uses it (:mod:`identengine.wire.desk`).

Rule: an accepted call whose reply does not fit is a fault. So its slot is freed, and the switch gets a reject.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from identengine.calls.backend import Deferred, EncodedDecision, LegResult
from identengine.config.schema import ReplyStyle
from identengine.engine.requests import EngineAnswer
from identengine.errors import WireError
from identengine.identify.template import Form, packed
from identengine.model.reasons import ReasonTable
from identengine.model.records import Decision
from identengine.wire.desk import Item, Later, Room
from identengine.wire.radius.messages import Message
from identengine.wire.radius.packet import ACCESS_REJECT
from identengine.wire.radius.replies import Replies
from identengine.wire.radius.switches import RadiusSwitch


class ReplyTooLargeError(WireError):
    """The reply to an accepted call does not fit into a packet."""


class RadiusWriter:
    """A writer of replies (:class:`identengine.wire.desk.Writer`)."""

    form: ClassVar[Form] = staticmethod(packed)

    def __init__(self, reasons: ReasonTable) -> None:
        self._reasons = reasons
        self._replies: dict[Sequence[ReplyStyle], Replies] = {}

    def use(self, reasons: ReasonTable) -> None:
        """Use the codes of a config from now on."""
        if reasons is not self._reasons:
            self._reasons = reasons
            self._replies.clear()

    def spliced(self, message: Message, result: bytes | EncodedDecision | Decision) -> bytes:
        """Return the reply to an accepted call. Raise ReplyTooLargeError if it does not fit."""
        switch = message.switch
        reply = self._styled(switch).accepted(message.packet, switch.secret, result)
        if reply[0] == ACCESS_REJECT:
            raise ReplyTooLargeError("the reply to an accepted call does not fit into a packet")
        return reply

    def rejected(self, message: Message, decision: Decision) -> bytes:
        """Return the reply to a rejected call."""
        switch = message.switch
        return self._styled(switch).rejected(message.packet, switch.secret, decision)

    def done(self, message: Message, result: LegResult) -> bytes:
        """Return the reply to accounting that was recorded."""
        switch = message.switch
        message.is_unknown = bool(result.unknown)
        return self._styled(switch).recorded(message.packet, switch.secret)

    def alive(self, message: Message, *, accounting: bool) -> bytes:
        """Return the reply to a Status-Server at one of the two ports."""
        switch = message.switch
        replies = self._styled(switch)
        return (replies.recorded if accounting else replies.alive)(message.packet, switch.secret)

    def overloaded(self, message: Message, _: str) -> bytes:
        """Raise NotImplementedError: RADIUS has no request that would be answered so."""
        raise NotImplementedError

    def _styled(self, switch: RadiusSwitch) -> Replies:
        found = self._replies.get(switch.styles)
        if found is None:
            found = self._replies[switch.styles] = Replies(self._reasons, switch.styles)
        return found


def decided(writer: RadiusWriter, message: Message, answer: EngineAnswer, _: Room) -> Item:
    """Return the reply to a request that was decided. None if it gets no reply."""
    if type(answer) is EncodedDecision:
        return writer.spliced(message, answer)
    if type(answer) is Decision:
        return writer.spliced(message, answer) if answer.accepted else writer.rejected(message, answer)
    if type(answer) is LegResult:
        return writer.done(message, answer)
    return Later(message, answer) if type(answer) is Deferred else None
