"""Reads the files of a book (interfaces.md 1) as rows with line numbers: CSV or JSON lines, plain or gzip.

A file that cannot be read to its end raises :class:`LoadError` at once, because the missing rows are unknown.
A mistake within a row is returned with the row, so that one import reports all mistakes of a file. Memory is
bounded: one row at a time, of at most :data:`MAX_ROW` bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from identengine.book.columns import TABLES, Table, reject_control
from identengine.book.encodings import AS_WINDOWS_1252, TextLines, Utf8Blocks, has_utf8
from identengine.book.headers import Dialect, dialect_of, header_mistakes, plain
from identengine.book.mistakes import Mistake, cell_text, unknown_column
from identengine.book.spreadsheets import CELL_STARTS, password_in, text_in
from identengine.errors import LoadError, Problem, expected, quoted

MAX_ROW = 16 * 1024 * 1024
"""Longest line and longest cell, in bytes and characters."""

csv.field_size_limit(MAX_ROW)  # csv has one limit per process; its default of 128 KiB is short for a long ident

SUFFIXES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz")
"""Suffixes that the file of a table may have."""

_BLOCK = 1 << 18


_NO_LABELS: Mapping[str, str] = {}


class FileRow(NamedTuple):
    """One row of a file."""

    line: int
    """Line on which the row begins, counted from 1."""
    cells: dict[str, object]
    """Column name to text or JSON value. A bad row has the cells that could be read."""
    mistakes: tuple[Mistake, ...] = ()
    """Mistakes in the form of the row. Its values are checked later."""
    labels: Mapping[str, str] = _NO_LABELS
    """Names next to the ids of the row, by their column."""


class Source(Protocol):
    """The rows of one table."""

    label: str
    """Name of the source in messages: the path of a file."""
    size: int
    """Length in bytes, for progress."""
    position: int
    """Bytes read so far."""
    columns: set[str]
    """Columns found so far: those of a header, or those of any row."""
    header: dict[str, str] | None
    """The columns of the header, as empty cells, or None if each row names its own columns."""
    warnings: list[Problem]
    """Warnings of the whole source, complete after its last row."""

    def rows(self) -> Iterator[FileRow]:
        """Yield the rows, from the first at each call. Raise LoadError if the source cannot be read to its end."""
        ...


def find_tables(folder: Path) -> tuple[dict[str, TableFile], list[Problem]]:
    """Return the tables of a book by name, and a warning for each file whose name is nearly that of a table.

    Raise LoadError if there is no folder, if it has no table, or if it has two files of one table.
    """
    try:
        present = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        raise LoadError([Problem(str(folder), None, None, None, "no such folder")]) from None
    except NotADirectoryError:
        raise LoadError([Problem(str(folder), None, None, None, "expected a folder, got a file")]) from None
    except OSError as error:
        raise LoadError([Problem(str(folder), None, None, None, _system(error))]) from None
    found: dict[str, TableFile] = {}
    problems: list[Problem] = []
    for table in TABLES:
        files = [table.name + suffix for suffix in SUFFIXES if table.name + suffix in present]
        if len(files) > 1:
            text = f"expected one file of {table.name}, got {' and '.join(files)}"
            problems.append(Problem(str(folder), None, None, None, text))
        elif files:
            try:
                found[table.name] = TableFile(folder / files[0], table)
            except LoadError as error:
                problems += error.problems
    stray = [_stray(folder, name) for name in present]
    warnings = [problem for problem in stray if problem is not None]
    if not found and not problems:
        names = " or ".join((", ".join(table.name for table in TABLES[:-1]), TABLES[-1].name))
        got = ", ".join(present[:5]) + (", …" if len(present) > 5 else "") if present else "an empty folder"
        text = f"expected files of {names} ({', '.join(SUFFIXES)}), got {got}"
        problems = [Problem(str(folder), None, None, None, text)]
    if problems:
        raise LoadError(problems)
    return found, warnings


class TableFile:
    """A file of one table; a :class:`Source`. Raise LoadError if the path is not a readable file."""

    def __init__(self, path: Path, table: Table) -> None:
        self.label = str(path)
        self.position = 0
        self.columns: set[str] = set()
        self.header: dict[str, str] | None = None
        self.warnings: list[Problem] = []
        self._path = path
        self._table = table
        try:
            regular = path.is_file()
            self.size = path.stat().st_size
        except FileNotFoundError:
            raise self._unreadable("the link points to no file") from None
        except OSError as error:
            raise self._unreadable(_system(error)) from None
        if not regular:
            raise self._unreadable("expected a regular file, got a folder or a device")

    def rows(self) -> Iterator[FileRow]:
        """Yield the rows, without blank lines. Raise LoadError if the file cannot be read to its end."""
        self.position = 0
        self.warnings = []
        read = self._json_rows if ".jsonl" in self._path.name else self._csv_rows
        try:
            with self._path.open("rb", buffering=0) as raw:
                yield from read(self._blocks(raw))
        except OSError as error:
            raise self._unreadable(_system(error)) from None

    def _blocks(self, raw: io.FileIO) -> Iterator[bytes]:
        """Yield the file in blocks of whole lines, unpacked and without byte order mark. Update ``position``."""
        read = gzip.GzipFile(fileobj=raw).read1 if self._path.name.endswith(".gz") else raw.read
        rest = b""
        line = 1
        unicode = Utf8Blocks()
        try:
            while block := read(_BLOCK):
                block = unicode.read(block)
                self.position = raw.tell()
                end = block.rfind(b"\n") + 1
                if end:
                    yield rest + block[:end]
                    line += block.count(b"\n")
                    rest = block[end:]
                else:
                    rest += block
                if len(rest) > MAX_ROW:
                    raise self._unreadable(f"expected a line of at most {MAX_ROW} bytes", line)
            unicode.end()
        except EOFError:
            raise self._unreadable("the gzip file is cut off here. Copy it again.", line) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            text = f"the gzip file is damaged here ({error})" if self.position else "not a gzip file"
            raise self._unreadable(text, line if self.position else None) from None
        except UnicodeDecodeError:
            raise self._unreadable("expected UTF-16, got other bytes. Save the file as CSV UTF-8.", line) from None
        if rest:
            yield rest

    # -- CSV

    def _csv_rows(self, blocks: Iterator[bytes]) -> Iterator[FileRow]:
        text = TextLines(blocks, self._is_windows)
        dialect = dialect_of(text.lines(), self._table)
        reader = csv.reader(dialect.lines, delimiter=dialect.separator, strict=True)
        top = 1 + dialect.skipped
        try:
            names = self._header(next(reader, []), top)
        except csv.Error:
            raise self._unreadable(self._csv_complaint(top, reader.line_num, text, dialect), top) from None
        labels = [name for name in names if name in self._table.label_columns]
        self.header = dict.fromkeys((name for name in names if name and name not in labels), "")
        self.columns.update(self.header)
        nameless = [place for place, name in enumerate(names) if not name]
        width = len(names)
        while True:
            start = reader.line_num + top
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error:
                last = reader.line_num + dialect.skipped
                complaint = self._csv_complaint(start, last, text, dialect)
                if last > start or text.ended:
                    raise self._unreadable(complaint, start) from None
                yield FileRow(start, {}, (Mistake(None, None, complaint),))
                continue
            row = _texts(names, cells)
            mistakes = _odd_cells(row) if text.is_odd else ()
            if len(cells) != width:
                if not any(cell.strip() for cell in cells):
                    continue
                mistakes += (Mistake(None, None, _wrong_width(len(cells), width, dialect.name)),)
            if nameless:
                row.pop("", None)
                mistakes += _nameless_cells(cells, nameless)
            if any(map(str.strip, cells)):
                found = {name: str(row.pop(name)) for name in labels if name in row}
                yield FileRow(start, row, mistakes, found)
        if text.is_windows:
            self.warnings.append(Problem(self.label, None, None, None, AS_WINDOWS_1252))

    def _is_windows(self) -> bool:
        """Return True if no character of the file is UTF-8 beyond ASCII."""
        position = self.position
        with self._path.open("rb", buffering=0) as raw:
            found = has_utf8(self._blocks(raw))
        self.position = position
        return not found

    def _csv_complaint(self, start: int, last: int, text: TextLines, dialect: Dialect) -> str:
        """Return the message for a row that csv rejected. The row reaches from line ``start`` to ``last``.

        The csv module raises one exception for all mistakes, whose text varies between versions.
        """
        if text.ended:
            return "a quote that opens in this row is never closed"
        # A line is no longer than a cell may be, so a row of one line cannot hold a cell that is too long.
        if last > start and self._has_endless_cell(start, last, dialect):
            return f"expected a cell of at most {MAX_ROW} characters. Is a quote not closed?"
        return f'expected a {dialect.name} after a closing quote. Write a quote within a cell twice ("").'

    def _has_endless_cell(self, start: int, last: int, dialect: Dialect) -> bool:
        """Return True if a cell of the row is too long. A lenient reader finds no other mistake."""
        with self._path.open("rb", buffering=0) as raw:
            lines = islice(TextLines(self._blocks(raw), lambda: False).lines(), start - 1, last)
            try:
                for _ in csv.reader(lines, delimiter=dialect.separator, strict=False):
                    pass
            except csv.Error:
                return True
        return False

    def _header(self, cells: list[str], line: int) -> list[str]:
        """Return the names of the columns. Raise LoadError with every mistake in them."""
        names = [plain(cell) for cell in cells]
        table = self._table
        if not any(name in table.columns or "|" in name for name in names):
            # The line is not quoted: without a header it is a row, which may hold a password.
            raise self._unreadable(f"expected a header line such as {','.join(table.required)}", line)
        if wrong := header_mistakes(cells, table):
            raise LoadError([mistake.located(self.label, line) for mistake in wrong])
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
                message = f'expected one JSON object per line, such as {{"{self._table.key}": …}}'
                yield FileRow(number, {}, (Mistake(None, None, message),))

    def _unreadable(self, message: str, line: int | None = None) -> LoadError:
        return LoadError([Problem(self.label, line, None, None, message)])


def _texts(names: list[str], cells: list[str]) -> dict[str, object]:
    """Return the texts of the cells that are not empty, by the names of their columns."""
    row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
    for name, cell in row.items():
        if cell[0] in CELL_STARTS:
            row[name] = password_in(cell) if name == "password" else text_in(cell)
    return dict[str, object](row)


def _odd_cells(row: dict[str, object]) -> tuple[Mistake, ...]:
    """Remove the cells with NUL or with bytes that are not UTF-8 from the row, and return a mistake for each."""
    found = []
    for name, cell in list(row.items()):
        text = str(cell)
        if "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text):
            continue
        del row[name]
        if name == "password":
            found.append(Mistake(name, None, expected("UTF-8 without control characters")))
            continue
        seen = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        try:
            reject_control(text, allowed="\t\r\n")
        except ValueError as error:
            found.append(Mistake(name, cell_text(seen), str(error)))
    return tuple(found)


def _wrong_width(cells: int, width: int, separator: str) -> str:
    message = f"expected {width} cells as in the header, got {cells}"
    return message + (f". Put a cell with a {separator} in quotes." if cells > width else "")


def _nameless_cells(cells: list[str], nameless: list[int]) -> tuple[Mistake, ...]:
    """Return a mistake for each cell with a value in a column without a name."""
    found = ((place + 1, cells[place].strip()) for place in nameless if place < len(cells))
    return tuple(
        Mistake(None, None, f"column {place} has no name in the header, got {quoted(cell)}")
        for place, cell in found
        if cell
    )


def _json_row(number: int, found: dict[str, object], text: bytes, columns: frozenset[str]) -> FileRow:
    mistakes: tuple[Mistake, ...] = ()
    if not columns.issuperset(found):
        unknown = [name for name in found if name not in columns]
        mistakes = tuple(Mistake(cell_text(name), None, unknown_column(name, sorted(columns))) for name in unknown)
        found = {name: value for name, value in found.items() if name in columns}
    # Each key has a colon, so only a line with more colons than keys can repeat a key.
    if text.count(b":") != len(found) + len(mistakes):
        twice = "this key appears twice"
        mistakes += tuple(Mistake(cell_text(name), None, twice) for name in _repeated_keys(text))
    return FileRow(number, found, mistakes)


def _repeated_keys(text: bytes) -> list[str]:
    """Return the keys that the outer object has more than once."""
    repeated: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        repeated[:] = sorted({name for name in names if names.count(name) > 1})

    try:
        json.loads(text, object_pairs_hook=note)  # calls it for inner objects first, for the outer one last
    except (ValueError, RecursionError):
        return []  # a number of thousands of digits, or deep nesting: the column reports it
    return repeated


def _json_complaint(error: Exception, line: bytes) -> str:
    """Return the message for a line that could not be decoded, without quoting the line or the decoder."""
    if isinstance(error, RecursionError):
        return "expected one JSON object per line, without objects in it"
    try:
        text = line.decode().rstrip()
    except UnicodeDecodeError:
        return "expected UTF-8, got other bytes"
    if "\0" in text:
        return "expected a JSON object, got a NUL byte in the line"
    whole = "expected a whole JSON object on one line"
    try:
        json.loads(text)
    except json.JSONDecodeError as place:
        at = place.pos + 1
        return f"{whole}, got a line that is {'cut off' if place.pos >= len(text) else f'wrong at character {at}'}"
    except (ValueError, RecursionError):
        pass
    return f"{whole}, got a line that is not JSON"  # the json module accepts NaN


def _stray(folder: Path, name: str) -> Problem | None:
    """Return a warning for a file that is not read although its name is nearly that of a table."""
    stem, _, rest = name.partition(".")
    known = [table.name for table in TABLES]
    if rest and stem + "." + rest not in {table + suffix for table in known for suffix in SUFFIXES}:
        near = get_close_matches(stem.lower(), known, n=1, cutoff=0.8)
        if near:
            text = f"this file is ignored. Rename it to {near[0]}.csv, .jsonl, .csv.gz or .jsonl.gz to import it."
            return Problem(str(folder / name), None, None, None, text)
    return None


def _system(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
