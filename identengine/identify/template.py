"""The answer to an accepted call as two halves: the account's, encoded once, and the call's, encoded for each.

Both halves are maps in MessagePack. :class:`AnswerTemplate` joins them into one map without decoding either. It
reads map headers as the MessagePack specification defines them, so it accepts any valid encoding of a half.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from identengine.model.records import Decision


class CallHalf(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The members of a :class:`Decision` that differ between calls of one account, in the order of the answer.

    The fields have the meaning and the defaults that they have in :class:`Decision`. A field without a default
    here is part of each answer.
    """

    version: int
    matched_by: str
    ambiguous: bool
    src_rewritten: bool
    dst_number: str
    matched: str | None = None
    src_number: str | None = None
    lease: int | None = None
    unreserved: bool | None = None


encode: Callable[[Decision | CallHalf], bytes] = msgspec.msgpack.Encoder().encode
"""Return a half in MessagePack."""

_FIELDS = len(Decision.__struct_fields__)
_HEADERS = tuple(b"\xde" + count.to_bytes(2, "big") for count in range(_FIELDS + 1))
"""The map16 header by number of members."""


class AnswerTemplate(msgspec.Struct, frozen=True, gc=False):
    """A partly encoded answer: the members that are equal in each answer to calls of one account.

    :meth:`fill` writes a header and copies the members of both halves behind it::

        offset 0      1       3                         3 + len(members)
               +------+-------+-------------------------+----------------------------+
               | 0xDE | count | members of the account  | members of the call        |
               | map16| 2 B   | key, value, key, value… | key, value, key, value…    |
               +------+-------+-------------------------+----------------------------+
                  ^       ^        ^                          ^
                  |       |        as encoded by `of`,        as passed to `fill`,
                  |       |        without their header       without their header
                  |       sum of the members of both halves, big-endian
                  written here, for any header of the halves

    The two halves have no key in common.
    """

    count: int
    """Number of members of the account's half."""
    members: bytes
    """These members: keys and values one after another, without the header of a map."""

    @classmethod
    def of(cls, half: bytes) -> AnswerTemplate:
        """Return the template of an account's half: a map in MessagePack. Raise ValueError if it is not a map."""
        count, start = header_of(half)
        return cls(count, half[start:])

    def fill(self, half: bytes) -> bytes:
        """Return the whole answer for a call's half: a map in MessagePack. Raise ValueError if it is not a map."""
        first = half[0]
        if first & 0xF0 == 0x80:  # fixmap: the usual header of a half, read here to save a call
            return b"".join((_HEADERS[self.count + (first & 0x0F)], self.members, half[1:]))
        count, start = header_of(half)
        return b"".join((_HEADERS[self.count + count], self.members, half[start:]))


UNANSWERED = AnswerTemplate(0, b"")
"""The template of an account that no call may originate from; it is never filled."""


def header_of(encoded: bytes) -> tuple[int, int]:
    """Return the number of members of a map in MessagePack, and the offset of the first one.

    The three forms of the header are those of the MessagePack specification: fixmap (1 byte), map16 (3 bytes) and
    map32 (5 bytes). Raise ValueError if ``encoded`` does not begin with one of them.
    """
    first = encoded[0]
    if first & 0xF0 == 0x80:
        return first & 0x0F, 1
    size = {0xDE: 2, 0xDF: 4}.get(first)
    if size is None:
        raise ValueError(f"expected a map in MessagePack, got a value that begins with {first:#04x}")
    return int.from_bytes(encoded[1 : 1 + size], "big"), 1 + size
