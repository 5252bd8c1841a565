"""docs/book.md has every column of the code with its type and default, and no other (interfaces.md 1)."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from unit.book.row import KEY

from identengine.book import columns
from identengine.book.columns import (
    ACCOUNT_CONVERTERS,
    CLIENT_CONVERTERS,
    DID_CONVERTERS,
    MAX_INTEGER,
    MAX_NOTES,
    MAX_TEXT,
    TABLES,
    Converter,
)
from identengine.book.files import MAX_ROW, SUFFIXES
from identengine.book.passwords import MAX_PASSWORD
from identengine.book.records import account_from, client_from, did_from
from identengine.model.numbers import MAX_LENGTH
from identengine.model.records import Account, Client, Did
from identengine.model.resellers import DEEPEST
from identengine.store.vault import Vault

PAGE = (Path(__file__).parents[3] / "docs" / "book.md").read_text(encoding="utf-8")
RECORDS: dict[str, Any] = {"clients": Client, "accounts": Account, "dids": Did}
CONVERTERS: dict[str, dict[str, Converter]] = {
    "clients": CLIENT_CONVERTERS,
    "accounts": ACCOUNT_CONVERTERS,
    "dids": DID_CONVERTERS,
}
TYPES: dict[str, Converter] = {
    "id": CLIENT_CONVERTERS["id"],
    "text": columns.read_text,
    "notes": CLIENT_CONVERTERS["notes"],
    "limit": CLIENT_CONVERTERS["capacity"],
    "rate": CLIENT_CONVERTERS["orig_cps"],
    "boolean": ACCOUNT_CONVERTERS["orig_enabled"],
    "port": ACCOUNT_CONVERTERS["term_port"],
    "number": columns.read_number,
    "prefix": ACCOUNT_CONVERTERS["tech_prefix"],
    "address": ACCOUNT_CONVERTERS["term_routing_ip"],
    "list": ACCOUNT_CONVERTERS["ident"],
    "password": ACCOUNT_CONVERTERS["password"],
}
"""Types of the page, and the converters of their columns. ``one of`` has a converter for each set of words."""


class Row(NamedTuple):
    """A column on the page."""

    table: str
    column: str
    type: str
    default: str
    example: str


def rows() -> Iterator[Row]:
    table = ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            table = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and table in RECORDS and len(cells) == 5:
            yield Row(table, cells[0].strip("`"), cells[1], cells[2].strip("`"), cells[3].strip("`"))


ROWS = list(rows())


def test_the_page_has_every_column_once_in_the_order_of_an_export() -> None:
    for table in TABLES:
        assert tuple(row.column for row in ROWS if row.table == table.name) == table.columns


def test_required_columns_and_defaults() -> None:
    for table in TABLES:
        assert tuple(row.column for row in ROWS if row.table == table.name and row.default == "required") == (
            table.required
        )
        fields = {field.name: field for field in msgspec.structs.fields(RECORDS[table.name])}
        for row in ROWS:
            if row.table == table.name and row.default != "required":
                default = fields[row.column].default
                written = {None: "none", (): "none", True: "true", False: "false"}
                shown = default.value if isinstance(default, enum.Enum) else written[default]
                assert row.default == shown, row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.table}.{row.column}")
def test_the_type_of_a_column_is_that_of_its_converter(row: Row) -> None:
    converter = CONVERTERS[row.table][row.column]
    if not row.type.startswith("one of "):
        assert converter is TYPES[row.type]
        return
    words = re.findall(r"`(\w+)`", row.type)
    with pytest.raises(ValueError, match="expected ") as caught:
        converter("?")
    assert re.findall(r'"(\w+)"', str(caught.value)) == words


def test_the_examples_make_a_client_an_account_and_a_did() -> None:
    example = {name: {row.column: row.example for row in ROWS if row.table == name} for name in RECORDS}
    assert client_from(example["clients"]).notes == "Contract 4711"
    assert account_from(example["accounts"], None, Vault.from_text(KEY)).term_port == 5060
    assert did_from(example["dids"]).number == "442079460101"


def test_the_table_of_types_has_every_type_with_its_limits() -> None:
    table = PAGE.partition("## Values")[2].partition("\n## ")[0]
    types = dict(re.findall(r"^\| (\w[\w ]*) \| (.*) \|$", table, re.MULTILINE))
    assert types.keys() - {"type"} == TYPES.keys() | {"one of"}
    assert f"from 1 to {MAX_INTEGER:,}." in types["id"]
    assert f"At most {MAX_TEXT} characters" in types["text"]
    assert f"At most {MAX_NOTES:,} characters" in types["notes"]
    assert f"at most {MAX_LENGTH} characters" in types["number"]
    for word in re.findall(r"`(\w+)`", types["boolean"]):
        assert TYPES["boolean"](word.upper()) is (word in ("true", "yes", "1"))


def test_limits_in_the_text() -> None:
    assert f"at most {MAX_PASSWORD} characters, blanks count" in PAGE
    assert f"a chain has at most {DEEPEST} clients" in PAGE
    assert f"A line or cell has at most {MAX_ROW >> 20} MiB." in PAGE
    assert re.findall(r"`clients(\.[\w.]+)`", PAGE.partition("## Files")[2])[: len(SUFFIXES)] == list(SUFFIXES)
