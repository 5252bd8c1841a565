"""Cuts the bytes of a connection into request heads and parts of bodies, strictly and within limits. No I/O.

The parser behind it (h11) accepts bare LF, folded fields and any number of fields and chunks. It parses a whole
read in one step. So it receives only bytes that were checked here: one head, then the body that the head
announces, in chunks that this module made. A request is rejected if two parsers could disagree about its end
(RFC 9112, 11.2). The limits are those of interfaces.md 6, "Limits of a request".
"""

from __future__ import annotations

import re
from typing import Protocol

from identengine.errors import IdentengineError
from identengine.server.http.problems import (
    NO_CODING,
    NO_VERSION,
    NOT_HTTP,
    Problem,
    head_too_long,
    target_too_long,
)

LONGEST_HEAD = 16 << 10
"""The maximum length of a request line with its header fields, in bytes."""
LONGEST_TARGET = 8 << 10
"""The maximum length of a path with its query, in bytes."""
MOST_FIELDS = 100
"""The maximum number of header fields, and of trailer fields."""
MOST_SMALL_CHUNKS = 1000
"""The maximum number of chunks of a body that are shorter than :data:`SMALL_CHUNK`."""
SMALL_CHUNK = 1 << 10
_LONGEST_METHOD = 32
_LONGEST_CHUNK_LINE = 256
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_BEGIN = re.compile(rb"%b{1,%d}+(?: |\Z)" % (_TOKEN, _LONGEST_METHOD))
_REQUEST_LINE = re.compile(rb"%b{1,%d}+ ([!-~]++) HTTP/([0-9])\.([0-9])" % (_TOKEN, _LONGEST_METHOD))
_FIELDS = re.compile(rb"(?:%b++:[^\x00-\x08\n-\x1f\x7f]*+\r\n)*+" % _TOKEN)
_SINGLE = re.compile(rb"(?im)^(content-length|transfer-encoding|authorization):([^\r]*+)")
"""The fields that a request has at most once: two of them, even if equal, have two meanings."""
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*+(?:;[\t -~]*+)?")


class FramingError(IdentengineError):
    """The bytes are not an acceptable request. Its end is unknown, so the connection has to be closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(status, message)


class _Body(Protocol):
    """The body of a request that is being received."""

    ended: bool
    """True if all parts were taken."""

    def take(self, received: bytearray) -> bytes:
        """Remove the bytes of the body from the front of ``received``. Return them for the parser."""

    def rest(self) -> int | None:
        """Return the number of bytes that were not taken yet, or None if it is unknown."""


class RequestFramer:
    """The bytes of one connection that were received and not parsed yet."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._searched = 0
        """The number of bytes that contain no end of a head."""
        self._body: _Body | None = None

    def __len__(self) -> int:
        return len(self._received)

    def receive(self, data: bytes) -> None:
        """Add bytes of the connection."""
        self._received += data

    @property
    def in_body(self) -> bool:
        """True if the head of a request was returned, and its body was not returned to its end."""
        return self._body is not None

    def awaits(self, most_bytes: int) -> bool:
        """Return True if more than ``most_bytes`` of the body, or an unknown number, have not arrived."""
        if self._body is None:
            return False
        rest = self._body.rest()
        return rest is None or rest - len(self._received) > most_bytes

    def next_head(self) -> bytes | None:
        """Return the next head, or None if it has not arrived. Raise FramingError if it is not acceptable."""
        received = self._received
        end = received.find(b"\r\n\r\n", max(0, self._searched - 3), LONGEST_HEAD)
        if end < 0:
            self._searched = len(received)
            _check_begun(received)
            return None
        self._searched = 0
        head = bytes(received[: end + 4])
        del received[: end + 4]
        self._body = _check(head)
        return head

    def next_part(self) -> bytes:
        """Return the bytes of the body that have arrived, for the parser. Raise FramingError if they are wrong."""
        if self._body is None:
            return b""
        part = self._body.take(self._received)
        if self._body.ended:
            self._body = None
        return part


def _check_begun(received: bytearray) -> None:
    """Check a head that has not arrived completely. Raise FramingError if it can never be acceptable."""
    if not received:
        return
    if not _BEGIN.match(received[: _LONGEST_METHOD + 1]):
        raise FramingError(400, NOT_HTTP)
    if len(received) >= LONGEST_HEAD:
        if 0 <= received.find(b"\r\n") <= LONGEST_TARGET:
            raise _head_too_long()
        raise _target_too_long() if b" " in received[: _LONGEST_METHOD + 1] else FramingError(400, NOT_HTTP)


def _check(head: bytes) -> _Body | None:
    """Return the body that a head announces, or None. Raise FramingError if the head is not acceptable."""
    line, _, fields = head[:-2].partition(b"\r\n")
    matched = _REQUEST_LINE.fullmatch(line)
    if matched is None:
        raise FramingError(400, NOT_HTTP)
    target, major, minor = matched.groups()
    if len(target) > LONGEST_TARGET:
        raise _target_too_long()
    if major != b"1":
        raise FramingError(505, NO_VERSION)
    if fields.count(b"\n") > MOST_FIELDS:
        raise _head_too_long()
    if not _FIELDS.fullmatch(fields):
        raise FramingError(400, 'expected header fields of the form "Name: value", each on one line')
    single: dict[bytes, bytes] = {}
    for name, value in _SINGLE.findall(fields):
        if name.lower() in single:
            raise FramingError(400, f"expected one header field {name.decode().title()}, got several")
        single[name.lower()] = value.strip(b" \t")
    return _body_of(single.get(b"content-length"), single.get(b"transfer-encoding"), minor)


def _body_of(length: bytes | None, coding: bytes | None, minor: bytes) -> _Body | None:
    """Return the body of a request with these fields, or None. Raise FramingError if they are ambiguous."""
    if coding is not None:
        if length is not None:
            raise FramingError(400, "expected Content-Length or Transfer-Encoding, got both")
        if minor == b"0":
            raise FramingError(400, "Transfer-Encoding needs HTTP/1.1")
        if coding.lower() != b"chunked":
            raise FramingError(501, NO_CODING)
        return _Chunks()
    if length is None:
        return None
    if not _LENGTH.fullmatch(length):
        raise FramingError(400, "Content-Length: expected a number of bytes")
    return _Counted(int(length)) if int(length) else None


def _head_too_long() -> FramingError:
    return FramingError(431, head_too_long(MOST_FIELDS, LONGEST_HEAD))


def _target_too_long() -> FramingError:
    return FramingError(414, target_too_long(LONGEST_TARGET))


class _Counted:
    """A body whose length the head announces."""

    def __init__(self, length: int) -> None:
        self._rest = length
        self.ended = False

    def take(self, received: bytearray) -> bytes:
        part = bytes(received[: self._rest])
        del received[: self._rest]
        self._rest -= len(part)
        self.ended = not self._rest
        return part

    def rest(self) -> int | None:
        return self._rest


class _Chunks:
    """A body in chunks (RFC 9112, 7.1). Extensions and trailer fields are checked and dropped."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = 0
        """The number of bytes of the current chunk that were not taken yet, with the CRLF after them."""
        self._in_trailer = False
        self._small = 0

    def rest(self) -> int | None:
        return None

    def take(self, received: bytearray) -> bytes:
        data, place = bytearray(), 0
        while not self.ended:
            before = place
            if self._in_trailer:
                place = self._end_trailer(received, place)
            elif self._rest:
                place = self._take_data(received, place, data)
            else:
                place = self._begin_chunk(received, place)
            if place == before:
                break
        del received[:place]
        part = b"%x\r\n%b\r\n" % (len(data), bytes(data)) if data else b""
        return part + b"0\r\n\r\n" if self.ended else part

    def _begin_chunk(self, received: bytearray, place: int) -> int:
        """Read the size of the next chunk. Return the place after it, or ``place`` if it has not arrived."""
        end = received.find(b"\r\n", place, place + _LONGEST_CHUNK_LINE)
        if end < 0 and len(received) - place < _LONGEST_CHUNK_LINE:
            return place
        matched = _CHUNK_LINE.fullmatch(received, place, end) if end >= 0 else None
        if matched is None:
            raise FramingError(400, "expected the size of a chunk as hexadecimal digits")
        size = int(matched[1], 16)
        self._in_trailer = size == 0
        self._rest = size + 2 if size else 0
        self._small += 0 < size < SMALL_CHUNK
        if self._small > MOST_SMALL_CHUNKS:
            raise FramingError(400, f"expected at most {MOST_SMALL_CHUNKS} chunks of under {SMALL_CHUNK} bytes")
        return end + 2

    def _take_data(self, received: bytearray, place: int, data: bytearray) -> int:
        """Add bytes of the current chunk to ``data``. Return the place after them."""
        if self._rest > 2:
            part = received[place : place + self._rest - 2]
            data += part
            self._rest -= len(part)
            place += len(part)
        if self._rest == 2 and len(received) >= place + 2:
            if received[place : place + 2] != b"\r\n":
                raise FramingError(400, "expected CRLF after the bytes of a chunk")
            self._rest = 0
            place += 2
        return place

    def _end_trailer(self, received: bytearray, place: int) -> int:
        """Read the end of the body. Return the place after it, or ``place`` if it has not arrived."""
        if received.startswith(b"\r\n", place):
            self.ended = True
            return place + 2
        end = received.find(b"\r\n\r\n", place, place + LONGEST_HEAD)
        if end < 0:
            if len(received) - place >= LONGEST_HEAD:
                raise _head_too_long()
            return place
        fields = bytes(received[place : end + 2])
        if fields.count(b"\n") > MOST_FIELDS:
            raise _head_too_long()
        if not _FIELDS.fullmatch(fields):
            raise FramingError(400, 'expected trailer fields of the form "Name: value", each on one line')
        self.ended = True
        return end + 4
