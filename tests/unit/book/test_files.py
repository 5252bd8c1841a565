"""Files of a book that cannot be read, and their messages (interfaces.md 1)."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identengine.book import files
from identengine.book.columns import ACCOUNTS, CLIENTS, Table
from identengine.book.files import FileRow, TableFile, find_tables
from identengine.book.mistakes import RowError
from identengine.book.records import account_from
from identengine.errors import LoadError
from identengine.store.vault import Vault

VAULT = Vault.from_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")


def read(path: Path, table: Table = CLIENTS) -> list[FileRow]:
    return list(TableFile(path, table).rows())


def refused(path: Path, table: Table = CLIENTS) -> list[str]:
    with pytest.raises(LoadError) as caught:
        read(path, table)
    assert {problem.file for problem in caught.value.problems} == {str(path)}
    return [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]


def clients(tmp_path: Path, content: bytes, name: str = "clients.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def folder_says(folder: Path) -> list[str]:
    with pytest.raises(LoadError) as caught:
        find_tables(folder)
    return [str(problem).replace(str(folder), "BOOK") for problem in caught.value.problems]


# ---- folders -----------------------------------------------------------------------------------------------

EXPECTED = "expected files of clients, accounts or dids (.csv, .jsonl, .csv.gz, .jsonl.gz)"


def test_a_path_that_is_not_a_folder_with_tables(tmp_path: Path) -> None:
    assert folder_says(tmp_path / "nowhere") == ["BOOK: no such folder"]
    (tmp_path / "file").write_text("")
    assert folder_says(tmp_path / "file") == ["BOOK: expected a folder, got a file"]
    (tmp_path / "empty").mkdir()
    assert folder_says(tmp_path / "empty") == [f"BOOK: {EXPECTED}, got an empty folder"]
    (tmp_path / "empty" / "client.csv").write_text("")
    (tmp_path / "empty" / "notes.txt").write_text("")
    assert folder_says(tmp_path / "empty") == [f"BOOK: {EXPECTED}, got client.csv, notes.txt"]


def test_a_table_twice(tmp_path: Path) -> None:
    for name in ("accounts.csv", "accounts.jsonl.gz", "clients.csv"):
        (tmp_path / name).write_text("")
    assert folder_says(tmp_path) == ["BOOK: expected one file of accounts, got accounts.csv and accounts.jsonl.gz"]


def test_a_table_that_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "clients.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "accounts.csv").mkdir()
    os.mkfifo(tmp_path / "dids.csv")
    assert folder_says(tmp_path) == [
        "BOOK/clients.csv: the link points to no file",
        "BOOK/accounts.csv: expected a regular file, got a folder or a device",
        "BOOK/dids.csv: expected a regular file, got a folder or a device",
    ]


def test_a_link_to_a_file_is_as_good_as_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("id,name\n1,A\n")
    (tmp_path / "clients.csv").symlink_to("real")
    found, warnings = find_tables(tmp_path)
    assert [row.cells for row in found["clients"].rows()] == [{"id": "1", "name": "A"}]
    assert warnings == []


def test_a_file_that_disappears(tmp_path: Path) -> None:
    path = clients(tmp_path, b"id,name\n")
    table = TableFile(path, CLIENTS)
    path.unlink()
    with pytest.raises(LoadError, match=f"cannot be read: {os.strerror(errno.ENOENT)}"):
        list(table.rows())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = clients(tmp_path, b"id,name\n")
    path.chmod(0)
    assert refused(path) == [f"clients.csv: cannot be read: {os.strerror(errno.EACCES)}"]


def test_a_file_that_looks_like_a_table_is_warned_of(tmp_path: Path) -> None:
    for name in ("clients.csv", "Accounts.csv", "dids.xlsx", "account.jsonl", "readme.txt", "clients"):
        (tmp_path / name).write_text("")
    _, warnings = find_tables(tmp_path)
    assert [(Path(warning.file).name, warning.expected) for warning in warnings] == [
        (
            "Accounts.csv",
            "this file is ignored. Rename it to accounts.csv, .jsonl, .csv.gz or .jsonl.gz to import it.",
        ),
        (
            "account.jsonl",
            "this file is ignored. Rename it to accounts.csv, .jsonl, .csv.gz or .jsonl.gz to import it.",
        ),
        ("dids.xlsx", "this file is ignored. Rename it to dids.csv, .jsonl, .csv.gz or .jsonl.gz to import it."),
    ]


# ---- the header of CSV -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", ["clients.csv:1: expected a header line such as id,name"]),
        (b"\n\nid,name\n", ["clients.csv:1: expected a header line such as id,name"]),
        (b"1,s3cret\n", ["clients.csv:1: expected a header line such as id,name"]),
        (b"id,nmae,name\n", ['clients.csv:1: nmae: no such column; did you mean "name"?']),
        (b"id,name,Rate Tabel\n", ['clients.csv:1: Rate Tabel: no such column; did you mean "rate_table"?']),
        (b"id,name,ID\n", ["clients.csv:1: id: this column appears twice"]),
        (b"status\n", ["clients.csv:1: id: this required column is missing"]),
        (
            b"id|name\n",
            ['clients.csv:1: id|name: expected commas, semicolons or tabs between the columns, got "|"'],
        ),
        (b'id,"name\n1,A\n', ["clients.csv:1: a quote that opens in this row is never closed"]),
        (
            "id,name\n".encode("utf-16") + b"1",
            ["clients.csv:2: expected UTF-16, got other bytes. Save the file as CSV UTF-8."],
        ),
    ],
)
def test_a_header_that_cannot_be_used(header: bytes, expected: list[str], tmp_path: Path) -> None:
    said = refused(clients(tmp_path, header))
    assert said[: len(expected)] == expected


def test_an_unknown_column_without_a_near_name_lists_all(tmp_path: Path) -> None:
    [said] = refused(clients(tmp_path, b"id,name,xyzzy\n"))
    assert said.startswith("clients.csv:1: xyzzy: no such column; the columns are id, name, status, parent_id, ")


# ---- rows of CSV -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"id,name\n1,A\n2,B\n",
        b"\xef\xbb\xbfid,name\n1,A\n2,B",
        b" name , id \r\nA,1\r\nB,2\r\n",
        b"id,name\r1,A\r2,B\r",
        b'"id","name"\n\n1,A\n  \n2,B\n,\n\n',
    ],
)
def test_forms_of_one_table(content: bytes, tmp_path: Path) -> None:
    rows = read(clients(tmp_path, content))
    assert [dict(sorted(row.cells.items())) for row in rows] == [
        {"id": "1", "name": "A"},
        {"id": "2", "name": "B"},
    ]
    assert not any(row.mistakes for row in rows)


def test_a_row_knows_the_line_of_its_beginning(tmp_path: Path) -> None:
    rows = read(clients(tmp_path, b'id,name,notes\n\n1,A,"two\n\nlines"\n2,"B ""b""",\n'))
    assert [(row.line, row.cells) for row in rows] == [
        (3, {"id": "1", "name": "A", "notes": "two\n\nlines"}),
        (6, {"id": "2", "name": 'B "b"'}),
    ]


def test_a_quote_that_is_never_closed_ends_the_reading(tmp_path: Path) -> None:
    assert refused(clients(tmp_path, b'id,name\n1,A\n2,"B\n3,C\n')) == [
        "clients.csv:3: a quote that opens in this row is never closed"
    ]
    assert refused(clients(tmp_path, b'id,name\n1,A\n2,"B\n3,"C"\n')) == [
        'clients.csv:3: expected a comma after a closing quote. Write a quote within a cell twice ("").'
    ]


def test_bytes_that_are_not_text_are_reported_with_their_cell(tmp_path: Path) -> None:
    content = (
        b"id,client_id,name,ident_by,ident,password\n1,1,a\xe9,ip,::1,\n2,1,b,ip,::1,s3cr\xe9t\n3,1,c,ip,\0,\n"
        b"4,1,\xc3\xa9,ip,::1,\n"  # valid UTF-8, so that the file is not Windows-1252
    )
    rows = read(clients(tmp_path, content, "accounts.csv"), ACCOUNTS)
    assert [(row.line, *row.mistakes[0][:2]) for row in rows[:3]] == [
        (2, "name", r"a\xe9"),
        (3, "password", None),
        (4, "ident", "\0"),
    ]
    assert [row.cells["id"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[3].mistakes == ()


def test_a_cell_and_a_line_have_their_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = clients(tmp_path, b"id,name\n1," + b"x" * 200_000 + b"\n")
    assert len(str(read(long)[0].cells["name"])) == 200_000
    monkeypatch.setattr(files, "MAX_ROW", 100_000)
    monkeypatch.setattr(files, "_BLOCK", 10_000)
    assert refused(long) == ["clients.csv:2: expected a line of at most 100000 bytes"]


def test_an_endless_cell(tmp_path: Path) -> None:
    path = clients(tmp_path, b'id,name\n1,"' + b"xxxxxxx\n" * (files.MAX_ROW // 8 + 1))
    assert refused(path) == [
        f"clients.csv:2: expected a cell of at most {files.MAX_ROW} characters. Is a quote not closed?"
    ]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_blocks_of_any_size_give_the_same_rows(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clients(tmp_path, 'id,name,notes\r\n1,Zoë,"a\r\n\nb"\r\n\r\n2,B,\r\n'.encode())
    expected = read(path)
    monkeypatch.setattr(files, "_BLOCK", block)
    assert read(path) == expected


# ---- gzip --------------------------------------------------------------------------------------------------


def test_gzip_that_is_cut_off(tmp_path: Path) -> None:
    packed = gzip.compress(
        b"id,name\n" + b"".join(b"%d,%s\n" % (n, os.urandom(8).hex().encode()) for n in range(2000))
    )
    [said] = refused(clients(tmp_path, packed[: len(packed) // 2], "clients.csv.gz"))
    place, _, expected = said.partition(": ")
    assert expected == "the gzip file is cut off here. Copy it again."
    assert int(place.rpartition(":")[2]) > 100


def test_gzip_that_is_damaged_or_not_gzip(tmp_path: Path) -> None:
    assert refused(clients(tmp_path, b"id,name\n1,A\n", "clients.csv.gz")) == ["clients.csv.gz: not a gzip file"]
    packed = bytearray(gzip.compress(b"id,name\n1,A\n"))
    packed[-5] ^= 0xFF
    [said] = refused(clients(tmp_path, bytes(packed), "clients.csv.gz"))
    assert "the gzip file is damaged here (" in said
    assert refused(clients(tmp_path, b"", "clients.csv.gz")) == [
        "clients.csv.gz:1: expected a header line such as id,name"
    ]


# ---- JSON lines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        (b'{"id": 1', None, "expected a whole JSON object on one line, got a line that is cut off"),
        (b'{"id": 1,}', None, "expected a whole JSON object on one line, got a line that is wrong at character "),
        (b"{'id': 1}", None, "expected a whole JSON object on one line, got a line that is wrong at character 2"),
        (b'{"id": NaN}', None, "expected a whole JSON object on one line, got a line that is not JSON"),
        (
            b'{"id": 1} {"id": 2}',
            None,
            "expected a whole JSON object on one line, got a line that is wrong at character 11",
        ),
        (b'{"name": "\xff"}', None, "expected UTF-8, got other bytes"),
        (b'{"name": "\0"}', None, "expected a JSON object, got a NUL byte in the line"),
        (b"[" * 100_000, None, "expected one JSON object per line, without objects in it"),
        (b'[1, "s3cret"]', None, 'expected one JSON object per line, such as {"id": …}'),
        (b"null", None, 'expected one JSON object per line, such as {"id": …}'),
        (b'{"id": 1, "nam": "A"}', "nam", 'no such column; did you mean "name"?'),
        (b'{"id": 1, "name": "A", "id": 2}', "id", "this key appears twice"),
        (b'{"id": 1, "name": "::", "\\u0069d": 2}', "id", "this key appears twice"),
    ],
)
def test_a_json_line_that_cannot_be_used(line: bytes, column: str | None, expected: str, tmp_path: Path) -> None:
    good = b'{"id": 7, "name": "a:b"}\n'
    first, bad, last = read(clients(tmp_path, good + line + b"\n" + good, "clients.jsonl"))
    assert (first.mistakes, last.mistakes, bad.line, last.line) == ((), (), 2, 3)
    assert len(bad.mistakes) == 1
    assert bad.mistakes[0].column == column
    assert bad.mistakes[0].value is None
    assert bad.mistakes[0].expected.startswith(expected)


def test_an_empty_file_of_json_lines_is_an_empty_table(tmp_path: Path) -> None:
    assert read(clients(tmp_path, b"", "clients.jsonl")) == []
    assert read(clients(tmp_path, b"\xef\xbb\xbf\n  \n\n", "clients.jsonl")) == []


# ---- anything at all ---------------------------------------------------------------------------------------

_pieces = st.sampled_from(
    [
        *(b"id", b"name", b"client_id", b"ident_by", b"ident", b"password", b"1", b"-1", b"ip", b"10.0.0.1"),
        *(b",", b"\n", b"\r\n", b"\r", b'"', b'""', b";", b" ", b"{", b"}", b":", b"[", b"]", b"\\u00"),
        *(b"\0", b"\xff", b"\xef\xbb\xbf"),
        b"id,client_id,name,ident_by,ident\n",
        b'{"id":1,"client_id":1,"name":"a","ident_by":"ip","ident":["::1"]}\n',
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    content=st.lists(_pieces, max_size=40).map(b"".join) | st.binary(max_size=200),
    ending=st.sampled_from(files.SUFFIXES),
    packed=st.booleans(),
    cut=st.integers(0, 20),
)
def test_any_bytes_are_rows_or_located_mistakes(content: bytes, ending: str, packed: bool, cut: int) -> None:
    if ending.endswith(".gz") and packed:
        content = gzip.compress(content)[: -cut or None]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"accounts{ending}"
        path.write_bytes(content)
        lines = [0]
        try:
            for row in TableFile(path, ACCOUNTS).rows():
                lines.append(row.line)
                with contextlib.suppress(RowError):
                    account_from(row.cells, None, VAULT)
        except LoadError as error:
            said = error.problems
        else:
            said = ()
        assert lines == sorted(set(lines))
        assert all(problem.expected and problem.file == str(path) for problem in said)
