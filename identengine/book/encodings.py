"""Character encodings of a book's files (interfaces.md 1): UTF-8, UTF-16 and Windows-1252.

Rule: a file that can be UTF-8 is read as UTF-8. Spreadsheets of Windows write the other two.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_has_multibyte = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}").search
"""Find a character that is valid UTF-8 and not ASCII."""

WINDOWS_1252 = "cp1252"
AS_WINDOWS_1252 = "the file is not UTF-8 and is read as Windows-1252. Save the file as CSV UTF-8."


class Utf8Blocks:
    """Turns the blocks of a file in UTF-8 or UTF-16 into UTF-8 without byte order mark."""

    def __init__(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False

    def read(self, block: bytes) -> bytes:
        """Return the next block as UTF-8. Raise UnicodeDecodeError if a UTF-16 file is damaged."""
        if not self._begun:
            self._begun = True
            if encoding := _utf16_of(block):
                self._decoder = codecs.getincrementaldecoder(encoding)()
            else:
                block = block.removeprefix(_BOM)
        return block if self._decoder is None else self._decoder.decode(block, final=False).encode()

    def end(self) -> None:
        """Raise UnicodeDecodeError if the file ends within a character of UTF-16."""
        if self._decoder is not None:
            self._decoder.decode(b"", final=True)


def _utf16_of(block: bytes) -> str | None:
    """Return the name of the UTF-16 encoding of a file that begins with ``block``, or None."""
    if block.startswith(_UTF16):
        return "utf-16"
    if len(block) < 2 or bool(block[0]) == bool(block[1]):
        return None
    return "utf-16-le" if block[0] else "utf-16-be"  # an ASCII character, as all headers begin with one


class TextLines:
    """The lines of a file's blocks as text, with their line ends.

    Bytes that are no characters become halves of surrogate pairs. ``is_windows`` is called at the first byte that
    is not UTF-8. It returns True if the file is Windows-1252.
    """

    def __init__(self, blocks: Iterable[bytes], is_windows: Callable[[], bool]) -> None:
        self.is_odd = False
        """True if a line had a NUL, or a byte that is no character. The cells of other files are not searched."""
        self.is_windows = False
        """True if the file is read as Windows-1252."""
        self.ended = False
        """True after the last line."""
        self._blocks = blocks
        self._is_windows = is_windows

    def lines(self) -> Iterator[str]:
        """Yield the lines."""
        return chain.from_iterable(self._texts())

    def _texts(self) -> Iterator[io.StringIO]:
        asked = False
        for block in self._blocks:
            try:
                text = block.decode()
            except UnicodeDecodeError:
                if not asked:
                    asked, self.is_windows = True, self._is_windows()
                text = block.decode(WINDOWS_1252 if self.is_windows else "utf-8", "surrogateescape")
                self.is_odd = (
                    self.is_odd or not self.is_windows or any("\udc80" <= each <= "\udcff" for each in text)
                )
            self.is_odd = self.is_odd or "\0" in text
            yield io.StringIO(text, newline="")
        self.ended = True


def has_utf8(blocks: Iterable[bytes]) -> bool:
    """Return True if a block holds a character that is valid UTF-8 and not ASCII."""
    return any(not block.isascii() and _has_multibyte(block) for block in blocks)
