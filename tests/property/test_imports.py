"""Imports of random subsets of rows and columns change exactly the fields that they name (engine.md 9.1, 9.4).

An export of a book, in each format, imports to the same book.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from msgspec.structs import asdict
from property.books import Seeded

from identengine.book.columns import TABLES, Table
from identengine.book.exporter import export_book
from identengine.book.importer import import_book
from identengine.store.snapshot import Snapshot
from identengine.store.vault import Vault
from identengine.store.versions import Store

VAULT = Vault.from_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
KEPT = ("password", "status", "orig_enabled", "term_enabled", "src_policy")
"""Columns whose empty cells keep the value."""
VALUES: dict[str, tuple[str, ...]] = {
    "name": ("Acme", "Zoë", "a, b"),
    "status": ("active", "blocked", ""),
    "rate_table": ("gold", ""),
    "routing_plan": ("cheap", ""),
    "term_rate_table": ("vendor", ""),
    "capacity": ("0", "5", ""),
    "orig_capacity": ("7", ""),
    "term_capacity": ("9", ""),
    "orig_cps": ("0.5", "3", ""),
    "notes": ("x", 'y "z"', ""),
    "tech_prefix": ("77#", "00", ""),
    "password": ("secret", "other", "-", ""),
    "gateways": ("g1", "g1;g2", ""),
    "orig_enabled": ("true", "no", ""),
    "orig_rate_table": ("r", ""),
    "orig_routing_plan": ("p", ""),
    "orig_tag": ("gold", ""),
    "src_policy": ("reject", "overwrite", "allow_any", ""),
    "term_enabled": ("yes", "false", ""),
    "term_tag": ("t", ""),
    "term_protocol": ("sip", ""),
    "term_proxy": ("proxy.example", ""),
    "term_port": ("5060", ""),
    "ident": ("192.0.2.1", "192.0.2.0/28;2001:db8::5"),
    "client_id": ("1", "2"),
    "account_id": ("1", "2", "3"),
}
"""Cells by column. All accounts of these books have ``ident_by`` ``ip``, and no columns that depend on another."""

Row = dict[str, str]


def random_row(source: Seeded, table: Table, key: str) -> Row:
    """Return a row with cells in all columns that have a choice of them."""
    columns = [column for column in table.columns if column in VALUES]
    row = {column: source.pick(VALUES[column]) for column in columns}
    return {table.key: key} | row | ({"ident_by": "ip"} if table.name == "accounts" else {})


def whole_book(source: Seeded) -> dict[str, dict[str, Row]]:
    keys = {"clients": ("1", "2"), "accounts": ("1", "2", "3", "4"), "dids": ("441", "442", "443")}
    return {table.name: {key: random_row(source, table, key) for key in keys[table.name]} for table in TABLES}


def write(folder: Path, source: Seeded, book: dict[str, list[Row]]) -> None:
    """Write tables in a random format. All rows of a table have the same columns."""
    for name, rows in book.items():
        columns = list(rows[0])
        if source.chance(40):
            lines = [json.dumps({column: row[column] or None for column in columns}) for row in rows]
            (folder / f"{name}.jsonl").write_text("\n".join(lines))
            continue
        separator, encoding = source.pick((",", ";", "\t")), source.pick(("utf-8", "utf-8-sig", "utf-16"))
        with (folder / f"{name}.csv").open("w", encoding=encoding, newline="") as file:
            writer = csv.writer(file, delimiter=separator)
            writer.writerow(
                [column.upper().replace("_", " ") if source.chance(30) else column for column in columns]
            )
            writer.writerows([row[column] for column in columns] for row in rows)


def load(store: Store, source: Seeded, book: dict[str, list[Row]]) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), source, book)
        import_book(store, VAULT, Path(folder), who="test", missing="keep", yes=True)


def fields_of(book: Snapshot) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Yield the fields of each row, with passwords in clear."""
    for name, rows in (("clients", book.clients()), ("accounts", book.accounts()), ("dids", book.dids())):
        for row in rows:
            fields = asdict(row)
            if fields.get("password"):
                fields["password"] = VAULT.decrypt(fields["password"])
            yield (name, str(fields.get("id") or fields.get("number"))), fields


def expected(fields: dict[str, Any], row: Row) -> dict[str, Any]:
    """Return the fields of a row after an import, by a literal reading of engine.md 9.1."""
    after = dict(fields)
    for column, cell in row.items():
        if column in ("id", "number"):
            continue
        if cell == "":
            after[column] = fields[column] if column in KEPT else (() if column == "gateways" else None)
        elif column in ("gateways", "ident"):
            after[column] = tuple(cell.split(";"))
        elif column in ("orig_enabled", "term_enabled"):
            after[column] = cell in ("true", "yes")
        elif column in ("capacity", "orig_capacity", "term_capacity", "term_port", "client_id", "account_id"):
            after[column] = int(cell)
        elif column == "orig_cps":
            after[column] = float(cell)
        else:
            after[column] = None if cell == "-" else cell
    return after


@pytest.mark.parametrize("part", range(4))
def test_an_import_of_some_rows_and_columns_changes_exactly_these_fields(part: int, tmp_path: Path) -> None:
    for number in range(8):
        source = Seeded(f"imports {part} {number}")
        full = whole_book(source)
        with Store.filled(tmp_path / f"store{number}") as store:
            load(store, source, {name: list(rows.values()) for name, rows in full.items()})
            for _ in range(5):
                with store.read() as book:
                    before = dict(fields_of(book))
                some: dict[str, list[Row]] = {}
                for table in TABLES:
                    if source.chance(80):
                        keys = [key for key in full[table.name] if source.chance(60)] or [
                            next(iter(full[table.name]))
                        ]
                        rows = [random_row(source, table, key) for key in keys]
                        columns = [column for column in rows[0] if column == table.key or source.chance(40)]
                        some[table.name] = [{column: row[column] for column in columns} for row in rows]
                if not some:
                    continue
                load(store, source, some)
                for name, rows in some.items():
                    for row in rows:
                        place = (name, row.get("id") or row["number"])
                        before[place] = expected(before[place], row)
                with store.read() as book:
                    assert dict(fields_of(book)) == before, (part, number)


@pytest.mark.parametrize("fmt", ["csv", "jsonl"])
@pytest.mark.parametrize("gz", [False, True])
def test_an_export_imports_to_the_same_book(fmt: Any, gz: bool, tmp_path: Path) -> None:
    for number in range(4):
        source = Seeded(f"exports {number}")
        with Store.filled(tmp_path / f"store{number}") as store:
            load(store, source, {name: list(rows.values()) for name, rows in whole_book(source).items()})
            with store.read() as book:
                export_book(book, tmp_path / f"out{number}", fmt, gz)
            report = import_book(store, VAULT, tmp_path / f"out{number}", who="test")
            assert (report.version, report.changes, report.held_closed) == (None, 0, ())
