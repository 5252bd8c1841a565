"""Streams of JSON messages, cut without decoding them (interfaces.md 3). No I/O.

A message is an object or an array. White space may separate messages. The framer only counts brackets outside of
strings; the decoder checks the JSON. A stream breaks if a message begins with another byte than a bracket, is too
large, or is nested too deeply. The messages before that place are still returned. :attr:`JsonStream.error` names
the fault; the beginning of the next message is not known.

The cost is linear in the number of bytes, wherever the reads cut them. A read of whole requests is cut by their
brackets alone (:func:`_requests`), which costs a third of a match. Otherwise one match of a regular expression
without backtracking finds a message of usual depth that arrived whole. Any other message is walked token by token,
from the end of the last walk. All ways find the same messages. A walk costs twelve times as much as a match. So
for an unauthenticated peer (``cautious``) there is no walk. Each read that may end a message costs one match. A
deeper message waits until the peer has shown a token.
"""

from __future__ import annotations

import re

from identengine.errors import expected
from identengine.wire.framing.counted import byte_shown, too_large

MAX_DEPTH = 64
"""Largest number of nested brackets. A request has three. It bounds the cost of a hostile message."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN = rb'[^"{}\[\]]*+'


def _nested(levels: int) -> bytes:
    """Return the expression of a bracketed value with at most ``levels`` levels of brackets."""
    inner = rb"|" + _nested(levels - 1) if levels > 1 else b""
    return rb"[{\[]" + _PLAIN + rb"(?:(?:" + _STRING + inner + rb")" + _PLAIN + rb")*+[}\]]"


_WHOLE = re.compile(rb"[ \t\r\n]*+(" + _nested(4) + rb")", re.DOTALL)
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_OUTSIDE = re.compile(_PLAIN)
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

_INSIGNIFICANT = bytes(set(range(256)) - set(rb'"\{}[]'))
"""The bytes that neither begin nor end a string or a bracketed value."""
_REQUEST = re.compile(rb"({[^}]*+}[^}]*+})")
"""A request whose strings have no brackets: an object with one object in it."""

_QUOTE, _OPENING = ord('"'), frozenset(b"{[")


class JsonStream:
    """The framer of JSON messages. It returns each message without the space around it."""

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        self.cautious = False
        self._max_bytes = max_bytes
        self._begun = bytearray()
        """The beginning of the incomplete message."""
        self._walker = _Walker()

    @property
    def pending(self) -> bool:
        """See :class:`identengine.wire.framing.Framer`."""
        return bool(self._begun)

    def feed(self, data: bytes) -> list[bytes]:
        """See :class:`identengine.wire.framing.Framer`."""
        messages: list[bytes] = []
        if self.error is not None:
            return messages
        if self._begun and self.cautious:
            self._begun += data
            if b"}" not in data and b"]" not in data:  # so that single bytes cost no match each
                return messages
            data = bytes(self._begun)
            self._begun.clear()
        elif self._begun:
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
        """See :class:`identengine.wire.framing.Framer`."""
        return answer + b"\n"

    def _cut(self, data: bytes, messages: list[bytes]) -> None:
        """Cut whole messages off ``data``, which begins between two messages, and keep the rest."""
        if len(data) <= self._max_bytes and (requests := _requests(data)) is not None:
            messages += requests
            return
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
                    got = byte_shown(data[start])
                    self.error = f"{expected('{ or [ at the beginning of a message')}, got {got}"
                    return
                end = -1 if self.cautious else self._walk(data, start)
                if end < 0:
                    self._begun += memoryview(data)[start:]
                    return
            messages.append(data[start:end])
            at = end

    def _walk(self, data: bytes | bytearray, start: int) -> int:
        """Walk through the rest of the message at ``start``.

        Return its end, or -1 if it is incomplete or wrong.
        """
        walker = self._walker
        end = walker.walk(data, start)
        if walker.depth > MAX_DEPTH and walker.walked <= self._max_bytes:
            self.error = f"{expected(f'at most {MAX_DEPTH} levels of brackets')}, got more"
        elif walker.depth > MAX_DEPTH or (end if end >= 0 else len(data)) - start > self._max_bytes:
            self.error = too_large(self._max_bytes)
        else:
            return end
        return -1


def _requests(data: bytes) -> list[bytes] | None:
    """Return the messages of ``data`` if all of them are whole requests of the usual shape, otherwise None.

    Without the insignificant bytes, a string without brackets and escapes is a pair of quotes. If no other quotes
    are left without these pairs, no string has a bracket.
    """
    brackets = data.translate(None, _INSIGNIFICANT).replace(b'""', b"")
    if brackets != b"{{}}" * (len(brackets) // 4):
        return None
    parts = _REQUEST.split(data)  # what is between the messages, and each message
    return None if b"".join(parts[::2]).strip(b" \t\r\n") else parts[1::2]


class _Walker:
    """The state of a walk through an incomplete message: the offset, the depth, and if it is inside a string."""

    def __init__(self) -> None:
        self.depth = 0
        self.walked = 0
        """Offset behind the last byte that was walked, from the start of the message."""
        self._in_string = False

    def walk(self, data: bytes | bytearray, start: int) -> int:
        """Continue the walk through the message at ``start``. Return its end, or -1 if it is incomplete."""
        at, depth, size = start + self.walked, self.depth, len(data)
        while at < size:
            if self._in_string:
                at = _end(_INSIDE.match(data, at))
                if at == size or data[at] != _QUOTE:
                    break  # inside the string, or at an escape whose second half is not there yet
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
                    self.depth = self.walked = 0
                    return at
        self.depth, self.walked = depth, at - start
        return -1


def _end(found: re.Match[bytes] | None) -> int:
    """Return the end of a match of an expression that matches everywhere."""
    assert found is not None  # noqa: S101 - the expression also matches nothing
    return found.end()
