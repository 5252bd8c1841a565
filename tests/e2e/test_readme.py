"""README.md is short, shows the two commands and measured figures, and links every page of docs/."""

from __future__ import annotations

import re

import pytest
from support import ROOT, docs

from identengine.stats.registry import PLACE

README = (ROOT / "README.md").read_text()
LINES_AT_MOST = 140
SCREEN_LINES = 40


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= LINES_AT_MOST


def test_the_two_commands_are_on_the_first_screen() -> None:
    first_screen = "\n".join(README.splitlines()[:SCREEN_LINES])
    for mark in ("command: demo", "command: test"):
        (block,) = [each for each in docs.blocks(ROOT / "README.md") if mark in each.marks]
        assert block.text in first_screen
        assert block.text.startswith("python3 -m venv .venv && ")


def test_what_it_does_is_eight_linked_bullets() -> None:
    bullets = re.findall(r"^- (.*)", README.partition("\n## ")[0], re.MULTILINE)
    assert len(bullets) == 8
    assert all(re.match(r"\*\*\[\w+\]\(docs/", bullet) for bullet in bullets)


def test_what_it_makes_is_ignored_by_git() -> None:
    made = {"mybook", "store", "store.key"}
    assert made & set(re.findall(r"\w+", section("A first book and one question")))
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert made <= ignored, "one `git add .` would commit what the first book makes"


def test_figures_are_those_of_the_benchmarks() -> None:
    measured = "".join(page.read_text() for page in (ROOT / "benchmarks").rglob("*.md"))
    rows = re.findall(r"^\| ([^|]*\d[^|]*) \|", section("Four figures"), re.MULTILINE)
    assert len(rows) == 4
    known = {float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", measured)}
    exact = {0.03: 0.027, 2.2: 2228}  # rounded in the README
    for number in re.findall(r"(?<!-)\b\d[\d,]*(?:\.\d+)?", " ".join(rows)):
        value = float(number.replace(",", ""))
        assert exact.get(value, value) in known or value == 9, number  # 9 is the signal


def test_every_page_is_linked() -> None:
    linked = {(ROOT / file).resolve() for file, _ in docs.links(ROOT / "README.md")}
    for index in [page for page in linked if page.name == "README.md"]:  # the page of a folder links the others
        linked |= {(index.parent / file).resolve() for file, _ in docs.links(index)}
    assert {page for page in docs.pages() if page.name != "README.md"} <= linked


@pytest.mark.parametrize("table", ["clients", "accounts"])
def test_the_book_of_the_pages_is_that_of_the_tutorial(table: str) -> None:
    book = (docs.BOOK / f"{table}.csv").read_text()
    for page in (README, (ROOT / "docs" / "tutorial.md").read_text()):
        assert f"cat > mybook/{table}.csv <<'END'\n{book}END\n" in page


def test_counters_of_the_docs_exist() -> None:
    page = (ROOT / "docs" / "operate" / "processes.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", page.partition("| in `stats` |")[2], re.MULTILINE)
    assert named
    assert set(named) <= PLACE.keys()
