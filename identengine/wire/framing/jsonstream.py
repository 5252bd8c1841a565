"""Cuts a stream of bytes into JSON messages, without reading what is in them (interfaces.md 3). No I/O.

A message is an object or an array; white space may stand between messages. The framer only counts brackets
outside of strings: whether a message is JSON, its decoder says. Where a stream goes wrong (something else than a
bracket where a message should begin, a message too large or nested too deep), the messages before that spot are
still given out, and :attr:`JsonStream.error` says what was wrong: where a next message would begin is not known.

Cost is linear in the bytes, however they are cut. A message that came whole, of usual depth, is found by one match
of a regular expression whose parts never give back what they took; one that did not is walked token by token from
where the last walk ended. The same bytes give the same messages either way.
"""

from __future__ import annotations

import re

from identengine.wire.framing.counted import too_large

MAX_DEPTH = 64
"""Brackets within brackets; a request has three. Bounds what a hostile message costs to walk and to decode."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN = rb'[^"{}\[\]]*+'


def _nested(levels: int) -> bytes:
    """Return the expression of a bracketed value with up to ``levels`` levels of brackets in all."""
    inner = rb"|" + _nested(levels - 1) if levels > 1 else b""
    return rb"[{\[]" + _PLAIN + rb"(?:(?:" + _STRING + inner + rb")" + _PLAIN + rb")*+[}\]]"


_WHOLE = re.compile(rb"[ \t\r\n]*+(" + _nested(4) + rb")", re.DOTALL)
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_OUTSIDE = re.compile(_PLAIN)
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

_QUOTE, _OPENING = ord('"'), frozenset(b"{[")


class JsonStream:
    """The framer of one connection: bytes in, whole messages out."""

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        """What is wrong with the stream; then nothing more is given out."""
        self._max_bytes = max_bytes
        self._begun = bytearray()
        """The message that began and did not end yet."""
        self._walker = _Walker()

    @property
    def pending(self) -> bool:
        """Whether a message began and did not end yet."""
        return bool(self._begun)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the messages that it completed, without the space around them."""
        messages: list[bytes] = []
        if self.error is not None:
            return messages
        if self._begun:
            self._begun += data
            end = self._walk(self._begun, 0)
            if end < 0:
                return messages
            messages.append(bytes(memoryview(self._begun)[:end]))
            data = bytes(memoryview(self._begun)[end:])
            self._begun.clear()
        self._cut(data, messages)
        return messages

    def frame(self, answer: bytes) -> bytes:
        """Return an answer as it goes out: a line."""
        return answer + b"\n"

    def _cut(self, data: bytes, messages: list[bytes]) -> None:
        """Cut whole messages off ``data``, which begins between two messages, and keep what is left."""
        at, size, whole, max_bytes = 0, len(data), _WHOLE.match, self._max_bytes
        while at < size:
            found = whole(data, at)
            if found:
                start, end = found.span(1)
                if end - start > max_bytes:
                    self.error = too_large(max_bytes)
                    return
            else:
                blanks = _BLANKS.match(data, at)
                start = blanks.end() if blanks else at
                if start == size:
                    return
                if data[start] not in _OPENING:
                    self.error = "neither { nor [ where a message should begin"
                    return
                end = self._walk(data, start)
                if end < 0:
                    self._begun += memoryview(data)[start:]
                    return
            messages.append(data[start:end])
            at = end

    def _walk(self, data: bytes | bytearray, start: int) -> int:
        """Go on through the message at ``start``; return where it ends, -1 where it does not, or must not."""
        walker = self._walker
        end = walker.walk(data, start)
        if walker.depth > MAX_DEPTH:
            self.error = f"a message nested more than {MAX_DEPTH} levels deep"
        elif (end if end >= 0 else len(data)) - start > self._max_bytes:
            self.error = too_large(self._max_bytes)
        else:
            return end
        return -1


class _Walker:
    """Where in a message, and in how many brackets, the last look at it ended."""

    def __init__(self) -> None:
        self.depth = 0
        self._walked = 0
        self._in_string = False

    def walk(self, data: bytes | bytearray, start: int) -> int:
        """Go on through the message that begins at ``start``; return its end, or -1 where it did not end yet."""
        at, depth, size = start + self._walked, self.depth, len(data)
        while at < size:
            if self._in_string:
                at = _end(_INSIDE.match(data, at))
                if at == size or data[at] != _QUOTE:
                    break  # within the string, or before an escape whose second half did not come yet
                self._in_string = False
                at += 1
            at = _end(_OUTSIDE.match(data, at))
            if at == size:
                break
            byte = data[at]
            at += 1
            if byte == _QUOTE:
                self._in_string = True
            elif byte in _OPENING:
                depth += 1
                if depth > MAX_DEPTH:
                    break
            else:
                depth -= 1
                if depth == 0:
                    self.depth = self._walked = 0
                    return at
        self.depth, self._walked = depth, at - start
        return -1


def _end(found: re.Match[bytes] | None) -> int:
    """Return where a match of an expression that fits everywhere ended."""
    assert found is not None  # noqa: S101 - it may be empty, so it fits
    return found.end()
