"""Each row of the table of threats in docs/security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
HEADS = ["who", "can send, from where", "reach", "what stops more", "tests"]
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def table(page: str) -> list[list[str]]:
    """Return the cells of the table with these heads, row by row."""
    lines = page.splitlines()
    begin = lines.index(f"| {' | '.join(HEADS)} |") + 2
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def missing(cell: str, folder: Path) -> list[str]:
    """Return the links of a cell that lead to no file with tests under the same name."""
    links = _LINK.findall(cell)
    wrong = [f"no link in {cell!r}"] if not links else []
    for name, target in links:
        file = folder / target
        if file.stem != name or not file.is_file() or "def test_" not in file.read_text():
            wrong.append(f"[{name}]({target})")
    return wrong


ROWS = table(PAGE.read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_named_tests_exist(row: list[str]) -> None:
    assert len(row) == len(HEADS)
    assert all(row)
    assert missing(row[-1], PAGE.parent) == []


def test_each_kind_of_peer_has_one_row() -> None:
    names = [row[0] for row in ROWS]
    assert len(names) == len(set(names))
    for name in ("unknown address", "switch with its token", "local user", "user of the group"):
        assert name in names


def test_a_test_that_does_not_exist_is_found(tmp_path: Path) -> None:
    (tmp_path / "test_real.py").write_text("def test_it() -> None: ...\n")
    (tmp_path / "test_empty.py").write_text("")
    assert missing("[test_real](test_real.py)", tmp_path) == []
    for wrong in ("", "[test_real](test_gone.py)", "[test_other](test_real.py)", "[test_empty](test_empty.py)"):
        assert missing(wrong, tmp_path)
