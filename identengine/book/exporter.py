"""Writes a book as the three tables of an import (interfaces.md 1).

Rule: an import of the exported folder changes nothing.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from identengine.book.columns import ACCOUNTS, CLIENTS, DIDS, TABLES, Table
from identengine.book.csvforms import CsvForm, for_spreadsheets, ordinary
from identengine.book.files import SUFFIXES
from identengine.book.labels import Labels
from identengine.errors import IdentengineError
from identengine.model.records import Account, BookRow, Did, IdentBy
from identengine.store.snapshot import Snapshot

Format = Literal["csv", "jsonl", "excel"]
"""The format of the tables. ``excel`` is CSV that spreadsheets open and save without damage."""

_BUFFER = 1 << 20


class ExportError(IdentengineError):
    """A book could not be exported. Existing files are unchanged."""


def export_book(
    snapshot: Snapshot,
    folder: Path,
    fmt: Format = "csv",
    gz: bool = False,
    *,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write the three tables of ``snapshot`` to ``folder`` and return their paths. Create the folder if needed.

    All tables are complete under temporary names before the first of them is renamed. Existing files are replaced
    only with ``overwrite``, and files of another format never: the folder could not be imported with both.
    Passwords stay encrypted (``enc:…``). Raise ExportError.
    """
    suffix = (".jsonl" if fmt == "jsonl" else ".csv") + (".gz" if gz else "")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_folder(folder, suffix, overwrite)
        labels = Labels(snapshot)
        rows: dict[Table, Callable[[], Iterator[BookRow]]]
        rows = {CLIENTS: snapshot.clients, ACCOUNTS: snapshot.accounts, DIDS: snapshot.dids}
        temporary = {table: folder / f".{table.name}{suffix}.{os.getpid()}" for table in TABLES}
        try:
            for table, path in temporary.items():
                with _durable(path, gz) as stream:
                    if fmt == "jsonl":
                        _write_json(stream, rows[table]())
                    else:
                        form = ordinary(table) if fmt == "csv" else for_spreadsheets(table, labels)
                        _write_csv(stream, form, rows[table]())
            final = {table: folder / f"{table.name}{suffix}" for table in TABLES}
            return {table.name: path.replace(final[table]) for table, path in temporary.items()}
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from None


def _check_folder(folder: Path, suffix: str, overwrite: bool) -> None:
    """Raise ExportError if the folder holds tables that the export must not replace."""
    present = [folder / (table.name + each) for table in TABLES for each in SUFFIXES]
    others = [path for path in present if path.exists() and not path.name.endswith("s" + suffix)]
    if others:
        raise ExportError(
            f"{others[0]} already exists, and a folder with two files of a table cannot be imported. "
            "Choose another folder."
        )
    same = [path for path in present if path.exists()]
    if same and not overwrite:
        raise ExportError(f"{same[0]} already exists. Choose another folder, or repeat with --overwrite.")


@contextmanager
def _durable(path: Path, gz: bool) -> Iterator[BinaryIO]:
    """Open a new file. When the block ends, the whole file is on the disk."""
    with path.open("xb", buffering=_BUFFER) as file:
        if gz:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
                yield packed  # type: ignore[misc]  # a GzipFile has the methods of a binary stream
        else:
            yield file
        file.flush()
        os.fsync(file.fileno())


def _write_json(stream: BinaryIO, rows: Iterable[BookRow]) -> None:
    encode = msgspec.json.Encoder().encode
    for row in rows:
        line = encode(_written(row))
        if isinstance(row, Account) and row.password is None:
            line = line[:-1] + b',"password":"-"}'
        stream.write(line + b"\n")


def _write_csv(stream: BinaryIO, form: CsvForm, rows: Iterable[BookRow]) -> None:
    text = TextIOWrapper(stream, encoding=form.encoding, newline="", write_through=False)
    plain = csv.writer(text, lineterminator=form.line_end)
    careful = csv.writer(text, lineterminator=form.line_end, quoting=csv.QUOTE_ALL)  # the other may not quote CR
    plain.writerow(form.columns)
    for row in rows:
        notes = None if isinstance(row, Did) else row.notes
        writer = careful if notes is not None and "\r" in notes else plain
        writer.writerow(form.cells(_written(row)))
    text.detach()


def _written(row: BookRow) -> BookRow:
    """Return the row with a plus before each number that begins with a plus.

    An import drops one leading plus, and a number in normal form may begin with one (from ``++44``).
    """
    if isinstance(row, Did):
        return msgspec.structs.replace(row, number=f"+{row.number}") if row.number.startswith("+") else row
    if isinstance(row, Account):
        if row.tech_prefix is not None and row.tech_prefix.startswith("+"):
            row = msgspec.structs.replace(row, tech_prefix=f"+{row.tech_prefix}")
        if row.ident_by is IdentBy.ANI and any(item.startswith("+") for item in row.ident):
            ident = tuple(f"+{item}" if item.startswith("+") else item for item in row.ident)
            row = msgspec.structs.replace(row, ident=ident)
    return row
