"""Commands of RESP2, cut off the stream: arrays of bulk strings, and inline commands (interfaces.md 4). No I/O.

The framer returns each command in one of two forms. The *joined* form is the arguments with :data:`SEPARATOR`
between them. It has no other quote and no backslash, so that one replacement makes JSON of it. A command with such
a byte has the *array* form, with the length of each argument. Rule: the form depends on the arguments alone, not
on the form on the connection.

The cost is linear in the number of bytes, wherever the reads cut them. A read of whole arrays is split at its line
ends, and the lengths are compared with the parts. Any other command is walked line by line, from the end of the
last walk. Both ways find the same commands. A command needs at most the memory of its bytes.
"""

from __future__ import annotations

import re

from identengine.errors import quoted
from identengine.wire.framing.counted import byte_shown, too_large

SEPARATOR = b'","'
"""The bytes between two arguments in the joined form. They also divide two texts in JSON."""
MAX_ARGUMENTS = 4096
"""Largest number of arguments of a command, with its name."""
LONGEST_HEADER = 32
"""Longest line that announces an array or a bulk string, in bytes."""

FIRST = b"*" + bytes(range(ord("A"), ord("Z") + 1)) + bytes(range(ord("a"), ord("z") + 1))
"""The first bytes of connections that speak RESP2."""

_COUNTS = {b"*%d" % count: count for count in range(1, 65)}
"""The number of arguments by the line that announces a short array."""
_head_of = [b"$%d" % size for size in range(4096)].__getitem__
"""Return the line that announces a bulk string, by its size."""
_COUNT = re.compile(rb"\*(-1|\d{1,7})\Z")
_SIZE = re.compile(rb"\$(\d{1,9})\Z")
_WORD = re.compile(rb'([^\s"\']*+)(?:"((?:[^"\\]|\\.)*+)"|\'((?:[^\'\\]|\\\'?)*+)\')?', re.DOTALL)
"""An argument of an inline command: a plain part, and a part in double or single quotes. Either may be absent."""
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
_NOTHING = re.compile(rb"(?:[ \t]*+\r?\n|\*(?:0|-1)\r\n)++")
"""Lines without a command: blank ones, and arrays without arguments. A flood of them is read at once."""
_HTTP = frozenset((b"post", b"host:"))
"""First words of lines that a browser sends. A web page must not reach the commands behind them."""
_STAR = ord("*")


def message_of(arguments: list[bytes]) -> bytes:
    """Return a command as a message: in its joined form, or in the form of an array."""
    if _has_special(b"".join(arguments)) or arguments[0][:1] == b"*":
        bulks = b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)
        return b"*%d\r\n%b" % (len(arguments), bulks)
    return SEPARATOR.join(arguments)


def arguments_of(message: bytes) -> list[bytes]:
    """Return the arguments of a message that :func:`message_of` has made."""
    if message[:1] != b"*":
        return message.split(SEPARATOR)
    arguments: list[bytes] = []
    at = message.index(b"\n") + 1
    while at < len(message):
        begin = message.index(b"\n", at) + 1
        end = begin + int(message[at + 1 : begin - 2])
        arguments.append(message[begin:end])
        at = end + 2
    return arguments


class Commands:
    """The framer of one connection. Its errors are worded as those of Redis, where Redis has the error."""

    def __init__(self, max_bytes: int) -> None:
        self.error: str | None = None
        self.cautious = False
        """Of no effect: a part of a command costs no more than its bytes."""
        self._max_bytes = max_bytes
        self._begun = bytearray()
        """The bytes that are not walked yet."""
        self._looked = 0
        """Number of these bytes without a line end."""
        self._arguments: list[bytes] = []
        self._missing = 0
        """Number of arguments that the array still has to bring; 0 between commands."""
        self._bulk = -1
        """Size of the bulk string that follows, or -1 if its size follows."""
        self._size = 0
        """Number of bytes of the arguments so far."""

    @property
    def pending(self) -> bool:
        """See :class:`identengine.wire.framing.Framer`."""
        return bool(self._begun) or self._missing > 0

    frame = staticmethod(bytes)
    """See :class:`identengine.wire.framing.Framer`. An answer needs no framing."""

    def feed(self, data: bytes) -> list[bytes]:
        """See :class:`identengine.wire.framing.Framer`."""
        messages: list[bytes] = []
        if self.error is not None:
            return messages
        if self.pending:
            self._begun += data
            self._walk(messages, only_one=True)
            if self.error is not None or (self.pending and not messages):
                return messages
            data = bytes(self._begun)
            self._begun.clear()
            self._looked = 0
        if len(data) <= self._max_bytes:
            data = data[_cut(data, messages) :]
        if data:
            self._begun += data
            self._walk(messages, only_one=False)
        return messages

    def _walk(self, messages: list[bytes], *, only_one: bool) -> None:
        """Walk through the bytes, and remove them. Stop before an incomplete part, or behind one command."""
        begun, at = self._begun, 0
        while self.error is None:
            if not self._missing and not self._looked and (nothing := _NOTHING.match(begun, at)):
                at = nothing.end()
            end = self._walk_bulk(at) if self._bulk >= 0 else self._walk_line(at)
            if end < 0:
                break
            at = end
            if self._arguments and not self._missing:
                messages.append(message_of(self._arguments))
                self._arguments, self._size = [], 0
                if only_one:
                    break
        del begun[:at]

    def _walk_bulk(self, at: int) -> int:
        """Read a bulk string. Return its end, or -1 if it is incomplete or wrong."""
        begun, end = self._begun, at + self._bulk
        if len(begun) < end + 2:
            return -1
        if begun[end : end + 2] != b"\r\n":
            self.error = "expected a line end behind a bulk string"
            return -1
        self._arguments.append(bytes(begun[at:end]))
        self._missing -= 1
        self._bulk = -1
        return end + 2

    def _walk_line(self, at: int) -> int:
        """Read a line: a size, or an inline command. Return its end, or -1 if it is incomplete or wrong."""
        begun = self._begun
        newline = begun.find(b"\n", at + self._looked)
        end = len(begun) if newline < 0 else newline
        if end == at and newline < 0:
            return -1
        is_header = self._missing > 0 or begun[at] == _STAR
        if end - at > (LONGEST_HEADER if is_header else self._max_bytes):
            self.error = "too big count string" if is_header else "too big inline request"
            return -1
        if newline < 0:
            self._looked = end - at
            return -1
        self._looked = 0
        line = bytes(begun[at:newline])
        if self._missing:
            self._begin_bulk(line)
        elif is_header:
            self._begin_array(line)
        else:
            self._begin_inline(line)
        return newline + 1 if self.error is None else -1

    def _begin_array(self, line: bytes) -> None:
        found = _COUNT.match(line, 0, len(line) - 1) if line.endswith(b"\r") else None
        if found is None or int(found[1]) > MAX_ARGUMENTS:
            self.error = "invalid multibulk length"
        else:
            self._missing = max(int(found[1]), 0)

    def _begin_bulk(self, line: bytes) -> None:
        found = _SIZE.match(line, 0, len(line) - 1) if line.endswith(b"\r") else None
        if found is not None:
            self._bulk = int(found[1])
            self._size += self._bulk + 1
            if self._size > self._max_bytes:
                self.error = too_large(self._max_bytes)
        elif line[:1] != b"$":
            self.error = f"expected '$', got {byte_shown(line[0] if line else 10)}"
        else:
            self.error = "invalid bulk length"

    def _begin_inline(self, line: bytes) -> None:
        words = words_of(line)
        if words is None or len(words) > MAX_ARGUMENTS:
            self.error = "unbalanced quotes in request" if words is None else "invalid multibulk length"
        elif words and words[0].lower() in _HTTP:
            self.error = f"expected a command, got {quoted(words[0].decode())} of HTTP"
        else:
            self._arguments = words


def _has_special(data: bytes) -> bool:
    """Return True if there is a byte that the joined form does not have in an argument."""
    return b'"' in data or b"\\" in data


def _cut(data: bytes, messages: list[bytes]) -> int:
    """Append the commands of ``data`` that are short whole arrays. Return the offset behind them."""
    parts = data.split(b"\r\n")
    has_special = _has_special(data)
    at, last = 0 if has_special else _cut_alike(parts, messages), len(parts) - 1
    while at < last:
        count = _COUNTS.get(parts[at])
        if count is None:
            break
        end = at + 1 + 2 * count
        if end > last:
            break
        values = parts[at + 2 : end : 2]
        try:
            if [*map(_head_of, map(len, values))] != parts[at + 1 : end : 2]:
                break
        except IndexError:  # a long argument
            break
        messages.append(message_of(values) if has_special or values[0][:1] == b"*" else SEPARATOR.join(values))
        at = end
    if at == last and not parts[last]:
        return len(data)
    return len(data) - sum(map(len, parts[at:])) - 2 * (last - at)


def _cut_alike(parts: list[bytes], messages: list[bytes]) -> int:
    """Append the commands of a read if all have as many arguments as the first. Return the number of their parts.

    ``parts`` are the lines and arguments of the read. This is the usual pipeline, at half the cost.
    """
    head = parts[0]
    count = _COUNTS.get(head, 0)
    stride = 2 * count + 1
    whole = (len(parts) - 1) // stride * stride
    if not count or parts[0:whole:stride].count(head) * stride < whole:
        return 0
    heads_and_values = parts[:whole]
    del heads_and_values[::stride]
    values = heads_and_values[1::2]
    try:
        if [*map(_head_of, map(len, values))] != heads_and_values[::2]:
            return 0
    except IndexError:  # a long argument
        return 0
    if b"*" in b"".join(values[::count]):  # the name of a command begins like the form of an array
        return 0
    messages += [SEPARATOR.join(values[at : at + count]) for at in range(0, len(values), count)]
    return whole


def words_of(line: bytes) -> list[bytes] | None:
    """Return the arguments of an inline command, or None if a quote is not closed or not followed by a blank."""
    if b'"' not in line and b"'" not in line:
        return line.split()
    words: list[bytes] = []
    at, size = 0, len(line)
    while True:
        while at < size and line[at : at + 1].isspace():
            at += 1
        if at == size:
            return words
        found = _WORD.match(line, at)
        if found is None or found.end() == at:
            return None
        at = found.end()
        if at < size and not line[at : at + 1].isspace():
            return None
        plain, escaped, raw = found.groups()
        if escaped is not None:
            plain += _ESCAPE.sub(_unescaped, escaped)
        elif raw is not None:
            plain += raw.replace(b"\\'", b"'")
        words.append(plain)


def _unescaped(found: re.Match[bytes]) -> bytes:
    """Return the byte of an escape in double quotes."""
    if found[1] is not None:
        return bytes((int(found[1], 16),))
    return _ESCAPED.get(found[2], found[2])
