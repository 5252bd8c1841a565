"""The answers of RESP2 (interfaces.md 4): decisions as arrays or as JSON, results as JSON, errors. No I/O."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from identengine.calls.backend import (
    DONE,
    FREED_ONE,
    UNKNOWN,
    Deferred,
    EncodedDecision,
    LegResult,
    unpacked,
)
from identengine.engine.lifecycle import BadParameter
from identengine.engine.requests import EngineAnswer
from identengine.identify import template
from identengine.identify.explain import Explanation
from identengine.identify.template import MatchPart, Part
from identengine.model.numbers import MAX_LENGTH
from identengine.model.reasons import Reason
from identengine.model.records import Decision
from identengine.wire.desk import Item, Later, Room

PLACES = (
    "accepted",
    "reason",
    "account_id",
    "client_id",
    "src_number",
    "dst_number",
    "rate_table",
    "routing_plan",
    "tag",
    "sip_code",
    "tech_prefix",
    "version",
)
"""The fields of a decision in the order of their places in an array."""
NIL = b"$-1\r\n"
OK = b"+OK\r\n"
INTERNAL_ERROR = b"-ERR internal error. The server's log has the details.\r\n"
_NO_ANSWER: dict[str, bytes] = {
    Reason.NOT_READY: b"-LOADING no book is loaded yet. Ask again later.\r\n",
    Reason.INTERNAL_ERROR: INTERNAL_ERROR,
    Reason.OVERLOAD: b"-BUSY the server is overloaded. Ask again later.\r\n",
}
"""The reasons that only decisions answer as a reject. Other commands answer an error."""
_MOST_ENDS = 131_072
"""Largest number of accounts whose parts of an array are kept."""
_MOST_REJECTS = 1024
"""Largest number of rejects whose arrays are kept."""
_Rejected: TypeAlias = tuple[str | None, int | None, int | None, int | None, int | None]
"""The fields of a reject that its array has."""
_BEGIN = b"*12\r\n:1\r\n$-1\r\n"
_REJECT = b"*12\r\n:0\r\n$%d\r\n%b\r\n%b%b" + 5 * NIL + b"%b" + NIL + b"%b"
"""An array that rejects a call, which has few of the fields."""
_SIZES_OF_SRC = tuple(b"$%d\r\n" % size for size in range(MAX_LENGTH + 1))
"""The beginning of a bulk string by its size. No number of a caller is longer."""
_SIZES = tuple(b"\r\n$%d\r\n" % size for size in range(2 * MAX_LENGTH + 1))
"""The same behind another bulk string. No number is longer, also behind a tech prefix."""

_json = msgspec.json.Encoder().encode


def _integer(value: int | None) -> bytes:
    return NIL if value is None else b":%d\r\n" % value


def bulk(value: bytes) -> bytes:
    """Return a bulk string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def error(problem: str, word: str = "ERR") -> bytes:
    """Return an error. Clients depend on its first word."""
    return f"-{word} {' '.join(problem.splitlines())}\r\n".encode(errors="replace")


def value_of(value: Any) -> bytes:
    """Return a value: an integer, a bulk string, an array, or null."""
    if value is None:
        return NIL
    if isinstance(value, int):  # a boolean too
        return b":%d\r\n" % value
    if isinstance(value, str):
        return bulk(value.encode())
    return b"*%d\r\n" % len(value) + b"".join(map(value_of, value))


class JsonWriter:
    """A writer that answers each result as JSON in one bulk string."""

    form = staticmethod(template.json)

    def __init__(self) -> None:
        self._results = {id(each): bulk(_json(each)) for each in (DONE, FREED_ONE, UNKNOWN)}
        """The results of most messages of a call's life."""

    def spliced(self, _: bool, result: bytes, /) -> bytes:
        """Return the answer that accepts a call."""
        return bulk(result)

    def granted(self, answer: EncodedDecision) -> bytes:
        """Return the answer that accepts a call, in whichever form a leg has kept it."""
        return bulk(answer.packed if answer.is_json else _json(unpacked(answer.packed)))

    def decision(self, decision: Decision) -> bytes:
        """Return a decision."""
        return bulk(_json(decision))

    def done(self, _: bool, result: LegResult, /) -> bytes:
        """Return the answer to a message of a call's life."""
        return self._results.get(id(result)) or bulk(_json(result))

    def overloaded(self, _: bool, problem: str, /) -> bytes:
        """Return an error: the command is not decided now."""
        return error(problem, "BUSY")


class ArrayWriter(JsonWriter):
    """A writer that answers a decision as an array of fixed places (:data:`PLACES`).

    A leg keeps the whole decision in MessagePack. The array is made of the same parts, so that nothing is decoded.
    """

    def __init__(self) -> None:
        super().__init__()
        self._decision = self._array = b""
        """The last decision that accepts a call, and its array."""
        self._rejects: dict[_Rejected, bytes] = {}
        """The arrays of rejects."""
        self._version: Part | None = None
        self._ends: dict[bytes, tuple[bytes, bytes]] = {}
        """The array in front of its numbers and behind them, by the encoded account, for this version."""

    def form(
        self,
        account: Part,
        version: Part,
        match: MatchPart,
        matched: str | None,
        dst_number: bytes,
        src_number: bytes | None,
    ) -> bytes:
        """Implement :class:`identengine.identify.template.Form`."""
        if version is not self._version:
            self._ends.clear()
            self._version = version
        begin, end = self._ends.get(account.packed) or self._learn(account, version)
        dst, src = dst_number, src_number
        if src is None:
            self._array = b"".join((begin, b"$-1", _SIZES[len(dst)], dst, end))
        else:
            self._array = b"".join((begin, _SIZES_OF_SRC[len(src)], src, _SIZES[len(dst)], dst, end))
        self._decision = template.packed(account, version, match, matched, dst, src)
        return self._decision

    def spliced(self, _: bool, result: bytes, /) -> bytes:
        """Return the answer that accepts a call."""
        return self._array if result is self._decision else self.decision(unpacked(result))

    def granted(self, answer: EncodedDecision) -> bytes:
        """Return the answer that accepts a call, in whichever form a leg has kept it."""
        return self.spliced(True, answer.packed)

    def decision(self, decision: Decision) -> bytes:
        """Return a decision."""
        if decision.accepted:
            return value_of([getattr(decision, place) for place in PLACES])
        rejected = decision.reason, decision.account_id, decision.client_id, decision.sip_code, decision.version
        return self._rejects.get(rejected) or self._learn_reject(rejected)

    def _learn_reject(self, rejected: _Rejected) -> bytes:
        """Make and keep the array of a reject. A flood of rejects has few different ones."""
        name, *numbers = rejected
        reason = (name or "").encode()
        if len(self._rejects) >= _MOST_REJECTS:
            self._rejects.clear()
        array = self._rejects[rejected] = _REJECT % (len(reason), reason, *map(_integer, numbers))
        return array

    def _learn(self, account: Part, version: Part) -> tuple[bytes, bytes]:
        """Make the parts of an array that all calls of an account share."""
        known = _members(account) | _members(version)
        begin = b"".join((_BEGIN, *(value_of(known.get(place)) for place in PLACES[2:4])))
        end = b"".join((b"\r\n", *(value_of(known.get(place)) for place in PLACES[6:])))
        if len(self._ends) >= _MOST_ENDS:
            self._ends.clear()
        self._ends[account.packed] = begin, end
        return begin, end


def _members(part: Part) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.msgpack.decode(b"\xde" + part.count.to_bytes(2, "big") + part.packed)
    return members


def decided(writer: JsonWriter, message_id: bool, answer: EngineAnswer, room: Room) -> Item:
    """Return the answer to a command that was decided. ``room`` has no bounds, as all streams."""
    if type(answer) is Decision:
        return writer.decision(answer)
    if type(answer) is EncodedDecision:
        return writer.granted(answer)
    if type(answer) is LegResult:
        return writer.done(message_id, answer)
    if type(answer) is Deferred:
        return Later(message_id, answer)
    if type(answer) is BadParameter:
        return error(answer.message)
    if type(answer) is Explanation and (no_answer := _NO_ANSWER.get(answer.decision.reason or "")):
        return no_answer
    return bulk(_json(answer))
