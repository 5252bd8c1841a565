"""Files as spreadsheets write them: separators, headers, encodings, empty columns (interfaces.md 1).

``file_inputs.txt`` has a line for each file: its bytes as a JSON string of U+0000 to U+00FF, and its rows,
warnings or mistakes.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from identengine.book.columns import CLIENTS
from identengine.book.files import TableFile
from identengine.errors import LoadError

GOLDEN = Path(__file__).with_name("file_inputs.txt")
LINES = [line.split("\t") for line in GOLDEN.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")]


def outcome(folder: Path, content: bytes) -> str:
    """Return the rows of a table of clients as JSON, with warnings, or its mistakes."""
    path = folder / "clients.csv"
    path.write_bytes(content)
    file = TableFile(path, CLIENTS)
    try:
        rows = list(file.rows())
    except LoadError as error:
        return "error: " + "; ".join(str(problem) for problem in error.problems).replace(f"{folder}/", "")
    told = [json.dumps({key: row.cells[key] for key in sorted(row.cells)}, ensure_ascii=False) for row in rows]
    told += [
        f"(line {row.line}: {mistake.column}: {mistake.expected})" for row in rows for mistake in row.mistakes
    ]
    told += [f"(warning: {warning.expected})" for warning in file.warnings]
    return " ".join(told)


@pytest.mark.parametrize(("content", "expected"), LINES)
def test_a_file(content: str, expected: str, tmp_path: Path) -> None:
    assert outcome(tmp_path, json.loads(content).encode("latin-1")) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_every_encoding_and_separator_has_the_same_rows(encoding: str, separator: str, tmp_path: Path) -> None:
    text = f'id{separator}name\r\n1{separator}"Zoë; ß, 😀"\r\n{separator}\r\n2{separator}B\r\n'
    plain = outcome(tmp_path, 'id,name\n1,"Zoë; ß, 😀"\n2,B\n'.encode())
    assert outcome(tmp_path, text.encode(encoding)) == plain
    assert "error" not in plain
