"""The caller's number and the dialled number of a leg, which the leg keeps as the end of its answer.

An answer ends with its numbers (:mod:`identengine.identify.template`). So a leg that becomes active keeps the last
bytes of its answer, and the message that activates it decodes nothing. Rule: only listings read the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from identengine.model.records import Decision

_DST = b"dst_number"
_SRC_MEMBER = b"\xaasrc_number"
_QUOTE = ord('"')
_pack: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


class Numbers(NamedTuple):
    """The numbers of a leg, as the answer to its switch had them. None is an absent or unknown number."""

    src: str | None = None
    """The calling number, after Src Policy."""
    dst: str | None = None
    """The dialled number; of origination without tech prefix."""


class _Members(msgspec.Struct):
    src_number: str | None = None
    dst_number: str | None = None


_from_json: Callable[[bytes], _Members] = msgspec.json.Decoder(_Members).decode
_from_messagepack: Callable[[bytes], _Members] = msgspec.msgpack.Decoder(_Members).decode
_UNKNOWN = Numbers()


def packed(decision: Decision) -> bytes:
    """Return a decision in MessagePack. The numbers are last, as in each encoded answer."""
    members: dict[str, object] = msgspec.to_builtins(decision)
    for name in ("dst_number", "src_number"):
        if name in members:
            members[name] = members.pop(name)
    return _pack(members)


def ending(answer: bytes) -> bytes:
    """Return the end of an answer, which holds its numbers."""
    return answer[answer.rfind(_DST) :]


def ending_of(src: str | None, dst: str | None) -> bytes:
    """Return the end of an answer with these numbers, for a leg without an answer."""
    return _DST + _pack(dst or "") + (b"" if src is None else _SRC_MEMBER + _pack(src))


def numbers_of(answer: bytes | None) -> Numbers:
    """Return the numbers of a whole answer or of its end."""
    place = -1 if answer is None else answer.rfind(_DST)
    if answer is None or place < 0:
        return _UNKNOWN
    end = answer[place:]
    try:
        if end[len(_DST)] == _QUOTE:
            members = _from_json(b'{"' + end)
        else:
            members = _from_messagepack((b"\x82\xaa" if _SRC_MEMBER in end else b"\x81\xaa") + end)
    except (msgspec.MsgspecError, IndexError):  # an earlier program may have written the numbers elsewhere
        return _UNKNOWN
    return Numbers(members.src_number or None, members.dst_number or None)


def has_number(answer: bytes | None, number: str) -> bool:
    """Return True if one of the numbers is ``number``, or ends with it: a tech prefix may precede it."""
    if answer is None or (number.isalnum() and number.encode() not in answer):
        return False
    return any(each is not None and each.endswith(number) for each in numbers_of(answer))
