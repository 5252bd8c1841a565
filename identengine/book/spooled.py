"""The file of one table that is not in the folder of a book, or standard input.

A table is read several times, so that a pipe is copied to a temporary file first.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from identengine.book.columns import Table
from identengine.book.files import TableFile
from identengine.errors import LoadError, Problem

STDIN = "-"
"""Name of standard input in the place of a file."""
_GZIP = b"\x1f\x8b"


@contextmanager
def table_file(path: Path, table: Table) -> Iterator[TableFile]:
    """Yield the file of one table. ``-`` is standard input, whose format is recognized by its first bytes.

    Raise LoadError if it cannot be read.
    """
    if str(path) != STDIN and (path.is_file() or not path.exists() or path.is_dir()):
        if not path.exists():
            raise LoadError([Problem(str(path), None, None, None, "no such file")])
        yield TableFile(path, table)
        return
    with tempfile.TemporaryDirectory(prefix="identengine-") as folder:
        copy = Path(folder) / "table"
        if str(path) == STDIN:
            label = "standard input"
            _copy(sys.stdin.buffer, copy)
        else:
            label = str(path)
            with path.open("rb") as source:
                _copy(source, copy)
        named = copy.rename(copy.with_name(f"{table.name}{_suffix(copy)}"))
        found = TableFile(named, table)
        found.label = label
        yield found


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _suffix(path: Path) -> str:
    """Return the suffix of a copy by its first bytes."""
    packed = ""
    with path.open("rb") as file:
        head = file.read(2)
    if head == _GZIP:
        packed = ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as content:
            first = content.read(1 << 12)
    except (OSError, EOFError, zlib.error):
        first = b""  # the table reports the damage with its place
    return (".jsonl" if first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else ".csv") + packed
