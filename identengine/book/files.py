"""The files of a book (interfaces.md 1), read to rows that know their line: CSV or JSON lines, plain or gzip.

A file that cannot be read to its end raises :class:`LoadError` at once, since nobody can say which rows are
missing; what is wrong within one row is told with the row, so that all mistakes of a file are found in one go.
Memory is bounded: one row at a time, of at most :data:`MAX_ROW` bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from identengine.book.columns import TABLES, Table
from identengine.book.mistakes import Mistake, shown, unknown_column
from identengine.errors import LoadError, Problem

MAX_ROW = 16 * 1024 * 1024
"""Longest line and longest cell, in bytes and characters."""

csv.field_size_limit(MAX_ROW)  # of the whole process: csv knows no other; its 128 KiB are few for a long ident

SUFFIXES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz")
"""How the file of a table may end."""

_BLOCK = 1 << 18
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class FileRow(NamedTuple):
    """One row as it stands in a file."""

    line: int
    """Line of its beginning, counted from 1."""
    cells: dict[str, object]
    """Column name to text or JSON value; of a bad row what could be read."""
    mistakes: tuple[Mistake, ...] = ()
    """What is wrong with the row before its values are looked at."""


class Source(Protocol):
    """Where the rows of one table come from."""

    label: str
    """What stands for the source in a message: the path of a file."""
    size: int
    """Its length in bytes, for progress."""
    position: int
    """How much of it has been read."""
    columns: set[str]
    """The columns that were met so far: of a header, or of any row."""

    def rows(self) -> Iterator[FileRow]:
        """Yield the rows from the first on, each time anew. Raises LoadError where it cannot be read on."""
        ...


def find_tables(folder: Path) -> tuple[dict[str, TableFile], list[Problem]]:
    """Return the tables of a book by name, and warnings of files that look like one and are none.

    Raises LoadError where there is no folder, no table in it, or a table twice.
    """
    names = " or ".join((", ".join(table.name for table in TABLES[:-1]), TABLES[-1].name))
    expected = f"a folder with {names} (each .csv or .jsonl, also .gz) is wanted"
    try:
        present = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        raise LoadError([Problem(str(folder), None, None, None, f"{expected}, here is none")]) from None
    except NotADirectoryError:
        raise LoadError([Problem(str(folder), None, None, None, f"{expected}, this is a file")]) from None
    except OSError as error:
        raise LoadError([Problem(str(folder), None, None, None, _system(error))]) from None
    found: dict[str, TableFile] = {}
    problems: list[Problem] = []
    for table in TABLES:
        files = [table.name + suffix for suffix in SUFFIXES if table.name + suffix in present]
        if len(files) > 1:
            text = f"only one of {' and '.join(files)} may be there, nobody knows which counts"
            problems.append(Problem(str(folder), None, None, None, text))
        elif files:
            try:
                found[table.name] = TableFile(folder / files[0], table)
            except LoadError as error:
                problems += error.problems
    stray = [_stray(folder, name) for name in present]
    warnings = [problem for problem in stray if problem is not None]
    if not found and not problems:
        here = f"; here are {', '.join(present[:5])}" if present else "; it is empty"
        problems = [Problem(str(folder), None, None, None, expected + here)]
    if problems:
        raise LoadError(problems)
    return found, warnings


class TableFile:
    """The file of one table; a :class:`Source`. Raises LoadError where there is nothing to read."""

    def __init__(self, path: Path, table: Table) -> None:
        self.label = str(path)
        self.position = 0
        self.columns: set[str] = set()
        self._path = path
        self._table = table
        try:
            regular = path.is_file()
            self.size = path.stat().st_size
        except FileNotFoundError:
            raise self._unreadable("it is a link to nothing; a file is wanted") from None
        except OSError as error:
            raise self._unreadable(_system(error)) from None
        if not regular:
            raise self._unreadable("a file is wanted, this is a folder or a device")

    def rows(self) -> Iterator[FileRow]:
        """Yield the rows from the first on; blank lines are none. Raises LoadError where it cannot be read on."""
        self.position = 0
        read = self._json_rows if ".jsonl" in self._path.name else self._csv_rows
        try:
            with self._path.open("rb", buffering=0) as raw:
                yield from read(self._blocks(raw))
        except OSError as error:
            raise self._unreadable(_system(error)) from None

    def _blocks(self, raw: io.FileIO) -> Iterator[bytes]:
        """Yield the file in blocks of whole lines, unpacked, without byte order mark, and keep ``position``."""
        read = gzip.GzipFile(fileobj=raw).read1 if self._path.name.endswith(".gz") else raw.read
        rest = b""
        line = 1
        try:
            while block := read(_BLOCK):
                if not self.position:
                    if block.startswith(_UTF16):
                        raise self._unreadable("UTF-8 is wanted, this is UTF-16; save it as CSV UTF-8", 1)
                    block = block.removeprefix(_BOM)
                self.position = raw.tell()
                end = block.rfind(b"\n") + 1
                if end:
                    yield rest + block[:end]
                    line += block.count(b"\n")
                    rest = block[end:]
                else:
                    rest += block
                if len(rest) > MAX_ROW:
                    raise self._unreadable(f"a line of at most {MAX_ROW} bytes is wanted", line)
        except EOFError:
            raise self._unreadable("the gzip file breaks off here; the whole is wanted", line) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            text = (
                f"the gzip file is damaged here ({error})"
                if self.position
                else "a gzip file is wanted, this is none"
            )
            raise self._unreadable(text, line if self.position else None) from None
        if rest:
            yield rest

    # -- CSV

    def _csv_rows(self, blocks: Iterator[bytes]) -> Iterator[FileRow]:
        odd: list[bool] = []
        ended: list[bool] = []
        reader = csv.reader(_lines(blocks, odd, ended), strict=True)
        try:
            names = self._header(next(reader, []))
        except csv.Error:
            raise self._unreadable(self._csv_complaint(1, reader.line_num, bool(ended)), 1) from None
        self.columns.update(names)
        width = len(names)
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                complaint = self._csv_complaint(start, reader.line_num, bool(ended))
                if reader.line_num > start or ended:
                    raise self._unreadable(complaint, start) from None
                yield FileRow(start, {}, (Mistake(None, None, complaint),))
                continue
            row: dict[str, object] = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
            mistakes = _odd_cells(row) if odd else ()
            if len(cells) != width:
                if not any(cell.strip() for cell in cells):
                    continue
                mistakes += (Mistake(None, None, _wrong_width(len(cells), width)),)
            if row:
                yield FileRow(start, row, mistakes)

    def _csv_complaint(self, start: int, last: int, ended: bool) -> str:
        """Return what is wrong with the row from line ``start`` to ``last``, at whose end the file ended or not.

        The csv module has one exception for all mistakes, and its wording is its own.
        """
        if ended:
            return "a quote that opens in this row is never closed"
        # One line is never longer than a cell may be.
        if last > start and self._has_endless_cell(start, last):
            return f"a cell of at most {MAX_ROW} characters is wanted; is a quote not closed?"
        return 'after a closing quote a comma is wanted; a quote within a cell is written twice ("")'

    def _has_endless_cell(self, start: int, last: int) -> bool:
        """Read the row again, without minding quotes: only the size of a cell is a mistake then."""
        with self._path.open("rb", buffering=0) as raw:
            lines = islice(_lines(self._blocks(raw), [], []), start - 1, last)
            try:
                for _ in csv.reader(lines, strict=False):
                    pass
            except csv.Error:
                return True
        return False

    def _header(self, cells: list[str]) -> list[str]:
        """Return the names of the columns. Raises LoadError with everything that is wrong with them."""
        names = [cell.strip() for cell in cells]
        table = self._table
        meant = [_plain(name) for name in names]
        if not any(plain in table.columns or _divided(plain) for plain in meant):  # shows none: it may be a row
            raise self._unreadable(f"a header line is wanted first, such as {','.join(table.required)}", 1)
        wrong: list[Mistake] = []
        for place, name in enumerate(names, 1):
            if not name:
                wrong.append(Mistake(None, None, f"column {place} of the header has no name; one is wanted"))
            elif name not in table.columns:
                wrong.append(Mistake(name, None, _divided(name) or unknown_column(name, table.columns)))
            elif name in names[: place - 1]:
                wrong.append(Mistake(name, None, "this column stands here twice; once is wanted"))
        if not any(_divided(name) for name in names):
            missing = [name for name in table.required if name not in meant]
            wrong += [Mistake(name, None, "this column must be there and is missing") for name in missing]
        if wrong:
            raise LoadError([Problem(self.label, 1, *mistake) for mistake in wrong])
        return names

    # -- JSON lines

    def _json_rows(self, blocks: Iterator[bytes]) -> Iterator[FileRow]:
        decode = msgspec.json.Decoder().decode
        columns = frozenset(self._table.columns)
        lines = chain.from_iterable(map(io.BytesIO, blocks))
        for number, text in enumerate(lines, 1):
            try:
                found = decode(text)
            except (msgspec.DecodeError, RecursionError, ValueError) as error:
                if not text.isspace():
                    yield FileRow(number, {}, (Mistake(None, None, _json_complaint(error, text)),))
                continue
            if isinstance(found, dict):
                if not self.columns.issuperset(found):
                    self.columns.update(found)
                yield _json_row(number, found, text, columns)
            else:
                said = f'one object a line is wanted, such as {{"{self._table.key}": …}}; here is something else'
                yield FileRow(number, {}, (Mistake(None, None, said),))

    def _unreadable(self, expected: str, line: int | None = None) -> LoadError:
        return LoadError([Problem(self.label, line, None, None, expected)])


def _lines(blocks: Iterator[bytes], odd: list[bool], ended: list[bool]) -> Iterator[str]:
    """Return the lines of the blocks as text, with their ends.

    Bytes that are no UTF-8 become lone surrogates; ``odd`` gets an entry as soon as there are such, or NUL, so
    that the rows of a clean file need not be looked through. ``ended`` gets an entry when no line is left.
    """

    def texts() -> Iterator[io.StringIO]:
        for block in blocks:
            try:
                text = block.decode()
            except UnicodeDecodeError:
                text = block.decode("utf-8", "surrogateescape")
                odd.append(True)
            if "\0" in text:
                odd.append(True)
            yield io.StringIO(text, newline="")
        ended.append(True)

    return chain.from_iterable(texts())


def _odd_cells(row: dict[str, object]) -> tuple[Mistake, ...]:
    """Name the cells with bytes that are no text, and take them out of the row."""
    found = []
    for name, cell in list(row.items()):
        text = str(cell)
        raw = text.encode("utf-8", "surrogateescape")
        seen = None if name == "password" else shown(raw.decode("utf-8", "backslashreplace"))
        if "\0" in text:
            found.append(Mistake(name, seen, "a text is wanted; a NUL byte stands in this one"))
        elif any("\ud800" <= char <= "\udfff" for char in text):
            found.append(Mistake(name, seen, "UTF-8 is wanted; these bytes are something else"))
        else:
            continue
        del row[name]
    return tuple(found)


def _wrong_width(cells: int, width: int) -> str:
    said = f"{width} cells are wanted, as in the header; here are {cells}"
    return said + ("; is a cell with a comma not in quotes?" if cells > width else "")


def _plain(name: str) -> str:
    """Return the name of a column as a book writes it: ``Client ID`` is meant for ``client_id``."""
    return name.lower().replace(" ", "_")


def _divided(name: str) -> str | None:
    """Say which divider is wanted where a whole header came as one name."""
    for divider, called in ((";", ";"), ("\t", "tabs"), ("|", "|")):
        if divider in name:
            return f"columns are divided by commas, here by {called}"
    return None


def _json_row(number: int, found: dict[str, object], text: bytes, columns: frozenset[str]) -> FileRow:
    mistakes: tuple[Mistake, ...] = ()
    if not columns.issuperset(found):
        unknown = [name for name in found if name not in columns]
        mistakes = tuple(Mistake(shown(name), None, unknown_column(name, sorted(columns))) for name in unknown)
        found = {name: value for name, value in found.items() if name in columns}
    # every key takes a colon: only where there are more of them a key may stand there twice
    if text.count(b":") != len(found) + len(mistakes):
        twice = "this key stands here twice; once is wanted"
        mistakes += tuple(Mistake(shown(name), None, twice) for name in _repeated_keys(text))
    return FileRow(number, found, mistakes)


def _repeated_keys(text: bytes) -> list[str]:
    """Return the keys of the outer object that stand there more than once."""
    repeated: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        repeated[:] = sorted({name for name in names if names.count(name) > 1})

    try:
        json.loads(text, object_pairs_hook=note)  # inner objects come first, so the outer one has the last word
    except (ValueError, RecursionError):
        return []  # a number of thousands of digits, or objects in objects: its column complains
    return repeated


def _json_complaint(error: Exception, line: bytes) -> str:
    """Return what is wrong with a line that could not be decoded, whatever the decoder says of it."""
    if isinstance(error, RecursionError):
        return "one object a line is wanted, without objects in it"
    try:
        text = line.decode().rstrip()
    except UnicodeDecodeError:
        return "UTF-8 is wanted; this line holds other bytes"
    if "\0" in text:
        return "a JSON object is wanted; a NUL byte stands in this line"
    wanted = "a JSON object is wanted, whole on one line"
    try:
        json.loads(text)
    except json.JSONDecodeError as place:
        breaks_off = place.pos >= len(text)
        return f"{wanted}; this one {'breaks off' if breaks_off else f'is wrong at character {place.pos + 1}'}"
    except (ValueError, RecursionError):
        pass
    return f"{wanted}; this one is wrong"  # NaN, say, which the json module takes for a number


def _stray(folder: Path, name: str) -> Problem | None:
    """Warn of a file that its name tells to be meant as a table, and that is not read."""
    stem, _, rest = name.partition(".")
    known = [table.name for table in TABLES]
    if rest and stem + "." + rest not in {table + suffix for table in known for suffix in SUFFIXES}:
        near = get_close_matches(stem.lower(), known, n=1, cutoff=0.8)
        if near:
            text = f"this file is not read; a table is called {near[0]}.csv, .jsonl, .csv.gz or .jsonl.gz"
            return Problem(str(folder / name), None, None, None, text)
    return None


def _system(error: OSError) -> str:
    return f"it cannot be read: {error.strerror or error}"
