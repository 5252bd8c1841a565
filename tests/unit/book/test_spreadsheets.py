"""Cells that spreadsheets keep (interfaces.md 1, "Dialects of CSV")."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.book.columns import CLIENTS, DIDS
from identengine.book.files import FileRow, TableFile
from identengine.book.spreadsheets import kept_integer, kept_number, kept_text, plain_text, text_in

TEXTS = st.text() | st.text(st.sampled_from("='+-@\"1;\n "))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("Acme", "Acme"),
        ("", ""),
        ("=A1", "'=A1"),
        ("+44 sales", "'+44 sales"),
        ("-", "'-"),
        ("@home", "'@home"),
        ("'quoted", "''quoted"),
        ("it's", "it's"),
        ('="1"', '\'="1"'),
        ("1-2", '="1-2"'),
        ("TRUE", '="TRUE"'),
        ("Wahr", '="Wahr"'),
        ('size 5"', '="size 5"""'),
        ("May\xa05", '="May\xa05"'),
        ("two\nlines 5", "two\nlines 5"),
        ("10.0.0.1;" * 40, "10.0.0.1;" * 40),
        ("9" * 300, '="' + "9" * 300 + '"'),
    ],
)
def test_the_cell_of_a_text(text: str, cell: str) -> None:
    assert kept_text(text) == cell
    assert text_in(cell) == text


def test_the_cells_of_numbers() -> None:
    assert kept_number("*#") == '="*#"'
    assert kept_number("+44") == '="+44"'
    assert kept_number(None) == ""
    assert kept_integer(99_999_999_999) == "99999999999"
    assert kept_integer(100_000_000_000) == '="100000000000"'


@pytest.mark.parametrize("cell", ["=A1", "'44", "'", "=", '="', '="a"b"', '="1"&"2"', "'x=", 'a="1"'])
def test_cells_that_keep_no_text_are_unchanged(cell: str) -> None:
    assert text_in(cell) == cell


@given(TEXTS.map(str.strip))
def test_every_cell_is_read_as_its_text(text: str) -> None:
    for cell in (kept_text(text), plain_text(text), kept_number(text)):
        assert text_in(cell).strip() == text


def read(path: Path, content: str) -> list[FileRow]:
    path.write_text(content)
    return list(TableFile(path, DIDS if path.name.startswith("dids") else CLIENTS).rows())


def test_a_table_is_read_with_its_names_next_to_ids(tmp_path: Path) -> None:
    (row,) = read(
        tmp_path / "dids.csv", 'Number,account_id,Account Name,client_name\n"=""0044""",5,\'=x,"=""1-2"""\n'
    )
    assert row.cells == {"number": "0044", "account_id": "5"}
    assert row.labels == {"account_name": "=x", "client_name": "1-2"}


def test_json_lines_have_no_such_cells(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "clients.jsonl", '{"id":1,"name":"\'=x","notes":"=\\"5\\""}\n')
    assert row.cells == {"id": 1, "name": "'=x", "notes": '="5"'}
    (row,) = read(tmp_path / "clients.jsonl", '{"id":1,"parent_name":"x"}\n')
    assert [mistake.column for mistake in row.mistakes] == ["parent_name"]
