"""Writing a book out as the three tables that an import takes (interfaces.md 1): the same book comes back."""

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
from identengine.book.files import SUFFIXES
from identengine.errors import IdentengineError
from identengine.model.records import Account, BookRow, Did, IdentBy
from identengine.store.snapshot import Snapshot

Format = Literal["csv", "jsonl"]

_BUFFER = 1 << 20


class ExportError(IdentengineError):
    """A book could not be written out; files that were there are as they were."""


def export_book(
    snapshot: Snapshot,
    folder: Path,
    fmt: Format = "csv",
    gz: bool = False,
    *,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write the three tables of ``snapshot`` to ``folder``, which is made where it is missing; return their paths.

    All three are written whole under other names before the first of them takes its place. Files that are there
    are replaced with ``overwrite`` only, and one of another format never: with both, the folder could not be
    imported. Passwords stay encrypted (``enc:…``). Raises ExportError.
    """
    suffix = f".{fmt}.gz" if gz else f".{fmt}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_way(folder, suffix, overwrite)
        write = _write_csv if fmt == "csv" else _write_json
        rows: dict[Table, Callable[[], Iterator[BookRow]]]
        rows = {CLIENTS: snapshot.clients, ACCOUNTS: snapshot.accounts, DIDS: snapshot.dids}
        temporary = {table: folder / f".{table.name}{suffix}.{os.getpid()}" for table in TABLES}
        try:
            for table, path in temporary.items():
                with _durable(path, gz) as stream:
                    write(stream, table, rows[table]())
            final = {table: folder / f"{table.name}{suffix}" for table in TABLES}
            return {table.name: path.replace(final[table]) for table, path in temporary.items()}
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"{error.filename or folder}: it cannot be written: {error.strerror or error}") from None


def _make_way(folder: Path, suffix: str, overwrite: bool) -> None:
    present = [folder / (table.name + each) for table in TABLES for each in SUFFIXES]
    others = [path for path in present if path.exists() and not path.name.endswith("s" + suffix)]
    if others:
        raise ExportError(f"{others[0]} is there already; with that table twice the folder could not be imported")
    same = [path for path in present if path.exists()]
    if same and not overwrite:
        raise ExportError(f"{same[0]} is there already; another folder is wanted, or --overwrite")


@contextmanager
def _durable(path: Path, gz: bool) -> Iterator[BinaryIO]:
    """Open a new file that is on the disk, whole, once the block has ended."""
    with path.open("xb", buffering=_BUFFER) as file:
        if gz:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
                yield packed  # type: ignore[misc]  # a GzipFile is a binary stream in all but its name
        else:
            yield file
        file.flush()
        os.fsync(file.fileno())


def _write_json(stream: BinaryIO, table: Table, rows: Iterable[BookRow]) -> None:
    encode = msgspec.json.Encoder().encode
    for row in rows:
        line = encode(_written(row))
        if isinstance(row, Account) and row.password is None:
            line = line[:-1] + b',"password":"-"}'
        stream.write(line + b"\n")


def _write_csv(stream: BinaryIO, table: Table, rows: Iterable[BookRow]) -> None:
    text = TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    plain = csv.writer(text, lineterminator="\n")
    careful = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # the plain one leaves CR bare
    plain.writerow(table.columns)
    cells = _CELLS[table.name]
    for row in rows:
        notes = None if isinstance(row, Did) else row.notes
        writer = careful if notes is not None and "\r" in notes else plain
        values = msgspec.structs.astuple(_written(row))
        writer.writerow([cell(value) for cell, value in zip(cells, values, strict=True)])
    text.detach()


def _written(row: BookRow) -> BookRow:
    """Return the row with its numbers such that reading them takes nothing away.

    A number in normal form may begin with a plus (``++44`` was brought), and reading takes one off.
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


# ---- cells: how a field of each column stands in CSV -------------------------------------------------------


def _as_it_is(value: object) -> object:
    return value  # csv writes None as nothing, and text and whole numbers as they are


def _boolean(value: object) -> str:
    return "true" if value else "false"


def _listed(value: object) -> str:
    return ";".join(value) if isinstance(value, tuple) else ""


def _cps(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() and value < 2**53 else value


def _secret(value: object) -> object:
    return "-" if value is None else value


_SPECIAL: dict[str, Callable[[object], object]] = {
    "orig_enabled": _boolean,
    "term_enabled": _boolean,
    "ident": _listed,
    "gateways": _listed,
    "orig_cps": _cps,
    "password": _secret,
}
_CELLS = {table.name: tuple(_SPECIAL.get(column, _as_it_is) for column in table.columns) for table in TABLES}
