"""The page of daily tasks: all tasks of a day, each in one or two commands. ``test_docs.py`` runs the commands.

A message about wrong input has the name that the operator typed. Notes of a command follow the rows before them,
also if both streams lead to one pipe.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, docs
from support.cli import demo_store, run
from support.dailybook import accounts, clients

PAGE = ROOT / "docs" / "operate" / "daily.md"
TASKS = [
    *("Who covers this address?", "Whose number is this?", "Change the capacity of 50 accounts"),
    *("Disable a customer", "Add an account on a shared gateway", "Are there duplicates?", "Move 300 DIDs"),
    *("Generate and show a password", "Who changed what?", "Undo one change", "Compare two versions"),
    *("Out to a spreadsheet and back", "Who is at the limit now?", "End a stuck call"),
    "Why was this call rejected yesterday?",
]


def test_each_task_needs_one_or_two_commands() -> None:
    _, *sections = re.split(r"^## (.*)\n", PAGE.read_text(), flags=re.MULTILINE)
    assert sections[::2] == TASKS
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        commands = re.findall(r"^identengine .*$", text, re.MULTILINE)
        assert len(commands) in (1, 2), title


def test_each_task_shows_an_answer() -> None:
    blocks = [block for block in docs.blocks(PAGE) if block.kind != "setup"]
    assert [block.kind for block in blocks] == ["sh", "text"] * (len(blocks) // 2)
    assert not [block.line for block in blocks if block.not_run is not None]


def test_the_book_is_that_of_a_carrier() -> None:
    rows = list(accounts())
    assert len(rows) == 5000
    assert len({row["id"] for row in rows}) == 5000
    assert {row["client_id"] for row in rows} == {row["id"] for row in clients()}
    assert rows == list(accounts())


def test_a_note_follows_the_rows_before_it_in_one_pipe(tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    command = [sys.executable, "-m", "identengine", "dids", "list", "--limit", "1", "--store", str(store)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    *_, row, note = printed.stdout.splitlines()
    assert row.endswith("active")
    assert note == "62 more rows; --offset 1 shows the next rows, --limit 0 shows all"


@pytest.mark.parametrize("text", ["442079460299-442079460000", "442079460000-442099999999"])
def test_a_range_that_is_none_is_reported(text: str, tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    for words in (["set", text, "account_id=181"], ["show", text], ["remove", text], ["list", "--number", text]):
        refused = run("dids", *words, store=store)
        assert refused.status != 0
        message = " ".join(refused.err.replace("│", " ").split())
        assert f'expected a range that ascends and has at most 10,000 numbers, got "{text}"' in message


@pytest.mark.parametrize("table", ["accounts", "clients", "dids"])
@pytest.mark.parametrize("words", [[""], ["  "], ["", " "]])
def test_a_search_without_a_word_lists_no_row(table: str, words: list[str], tmp_path: Path) -> None:
    refused = run(table, "search", *words, store=demo_store(tmp_path))
    assert (refused.status, refused.out) == (2, "")
    assert "expected a word to search for" in " ".join(refused.err.replace("│", " ").split())


@pytest.mark.parametrize("version", [3, 99])
def test_a_revert_names_the_version_that_does_not_exist(version: int, tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    refused = run("revert", version, store=store)
    assert refused.status == 1
    assert refused.err == f"there is no version {version}. The newest is 1.\n"
