"""The answer to an accepted call: the account's part is encoded once, and the call's part is joined to it.

Rule: no part of an answer is decoded to be sent. An answer is made in the form in which it leaves: MessagePack or
JSON. The set of calls keeps it in that form too, for retransmissions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from identengine.model.numbers import MAX_LENGTH
from identengine.model.records import Decision

_pack: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
_json: Callable[[object], bytes] = msgspec.json.Encoder().encode


class Part(Protocol):
    """Some members of an answer, encoded: keys and values one after another, without the header of an object."""

    @property
    def count(self) -> int:
        """Number of members."""

    @property
    def packed(self) -> bytes:
        """The members in MessagePack."""

    @property
    def json(self) -> bytes:
        """The members in JSON, each followed by a comma; empty until the first answer in JSON needs them."""

    def in_json(self) -> bytes:
        """Return the members in JSON."""


def in_json(count: int, packed: bytes) -> bytes:
    """Return the members of a part in JSON."""
    return _json(msgspec.msgpack.decode(b"\xde" + count.to_bytes(2, "big") + packed))[1:-1] + b","


def part_of(members: Decision | Mapping[str, object]) -> tuple[int, bytes]:
    """Return the number of the members that are set, and the members in MessagePack.

    Of a decision, ``accepted`` is always among them.
    """
    fields: dict[str, object] = msgspec.to_builtins(members)
    return len(fields), b"".join(_pack(part) for member in fields.items() for part in member)


class AnswerPart(msgspec.Struct, gc=False):
    """A :class:`Part` that is an object of its own."""

    count: int
    packed: bytes
    json: bytes = b""

    def in_json(self) -> bytes:
        """Implement :meth:`Part.in_json`."""
        self.json = self.json or in_json(self.count, self.packed)
        return self.json


def version_part(version: int, last: Mapping[str, object]) -> AnswerPart:
    """Return the members that many answers by one version of the book share: its number, and ``last``."""
    return AnswerPart(*part_of({"version": version, **last}))


class MatchPart(msgspec.Struct, frozen=True, gc=False):
    """The members that say how an account was found, encoded in both forms."""

    packed: bytes
    json: bytes


def match_part(matched_by: str, *, ambiguous: bool, rewritten: bool) -> MatchPart:
    """Return the members for one way of finding an account."""
    fields = {"matched_by": matched_by, "ambiguous": ambiguous, "src_rewritten": rewritten}
    packed = b"".join(_pack(part) for member in fields.items() for part in member)
    return MatchPart(packed, _json(fields)[1:-1] + b",")


_MATCH_MEMBERS = 3
MATCHES = {
    by: tuple(
        tuple(match_part(by, ambiguous=tie, rewritten=new) for new in (False, True)) for tie in (False, True)
    )
    for by in ("ip", "name", "ani", "account_id")
}
"""The members by the kind of the match, then by ``ambiguous``, then by ``src_rewritten``."""


def _text_head(size: int) -> bytes:
    """Return the header of a string in MessagePack (its specification, "str format family")."""
    if size < 32:
        return bytes((0xA0 | size,))
    return bytes((0xD9, size)) if size < 256 else b"\xda" + size.to_bytes(2, "big")


def _heads(name: str, longest: int) -> list[bytes]:
    """Return a member's name with the header of its value, by the size of the value."""
    return [_pack(name) + _text_head(size) for size in range(longest + 1)]


_DST, _SRC = _heads("dst_number", 2 * MAX_LENGTH), _heads("src_number", MAX_LENGTH)
_MATCHED = _heads("matched", 255)
_FIELDS = len(Decision.__struct_fields__)
_HEADERS = tuple(b"\xde" + count.to_bytes(2, "big") for count in range(_FIELDS + 1))
"""The map16 header by number of members."""


class Form(Protocol):
    """The form in which an answer leaves."""

    def __call__(
        self,
        account: Part,
        version: Part,
        match: MatchPart,
        matched: str | None,
        dst_number: bytes,
        src_number: bytes | None,
        /,
    ) -> bytes:
        """Return the answer to an accepted call. Numbers are ASCII in normal form."""


def packed(
    account: Part,
    version: Part,
    match: MatchPart,
    matched: str | None,
    dst_number: bytes,
    src_number: bytes | None,
) -> bytes:
    """Return an answer in MessagePack."""
    if matched is None or src_number is None:
        return _packed_without(account, version, match, matched, dst_number, src_number)
    text = matched.encode()
    size = len(text)
    return b"".join(
        (
            _HEADERS[account.count + version.count + 6],
            account.packed,
            version.packed,
            match.packed,
            _MATCHED[size] if size < 256 else _pack("matched") + _text_head(size),
            text,
            _DST[len(dst_number)],
            dst_number,
            _SRC[len(src_number)],
            src_number,
        )
    )


def _packed_without(
    account: Part,
    version: Part,
    match: MatchPart,
    matched: str | None,
    dst_number: bytes,
    src_number: bytes | None,
) -> bytes:
    """Return an answer of which some members are absent."""
    count = account.count + version.count + _MATCH_MEMBERS + 1
    parts = [account.packed, version.packed, match.packed]
    if matched is not None:
        count += 1
        parts += _pack("matched"), _pack(matched)
    parts += _DST[len(dst_number)], dst_number
    if src_number is not None:
        count += 1
        parts += _SRC[len(src_number)], src_number
    return _HEADERS[count] + b"".join(parts)


def json(
    account: Part,
    version: Part,
    match: MatchPart,
    matched: str | None,
    dst_number: bytes,
    src_number: bytes | None,
) -> bytes:
    """Return an answer in JSON."""
    dst = dst_number if dst_number.isalnum() else _json(dst_number.decode())[1:-1]
    parts = [b"{", account.json or account.in_json(), version.json or version.in_json(), match.json]
    if matched is not None:
        parts += b'"matched":', _json(matched), b","
    if src_number is None:
        parts += b'"dst_number":"', dst, b'"}'
    else:
        src = src_number if src_number.isalnum() else _json(src_number.decode())[1:-1]
        parts += b'"dst_number":"', dst, b'","src_number":"', src, b'"}'
    return b"".join(parts)
