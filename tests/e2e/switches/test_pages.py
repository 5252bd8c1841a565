"""The recipes are complete: each file has a page, and each page is listed and answers an operator's questions."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT, docs

FOLDER = ROOT / "docs" / "switches"
INDEX = FOLDER / "README.md"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page != INDEX)


def linked(page: Path) -> set[Path]:
    """Return the files that a page links."""
    return {(page.parent / file).resolve() for file, _ in docs.links(page) if file}


def test_the_index_lists_each_page() -> None:
    assert linked(INDEX) >= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_links_all_its_files(page: Path) -> None:
    files = {file for file in page.with_suffix("").iterdir() if file.is_file()}
    assert files
    assert files <= linked(page)


def test_each_folder_has_a_page() -> None:
    folders = {folder.with_suffix(".md") for folder in FOLDER.iterdir() if folder.is_dir()}
    assert folders == set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_states_how_it_was_tested(page: Path) -> None:
    text = page.read_text()
    assert ("*Tested here*" in text) is not ("*From its documentation*" in text)
    assert "tests/e2e/switches/" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_answers_the_questions_of_an_operator(page: Path) -> None:
    text = page.read_text().lower()
    for subject in ("## set up", "## answers to the caller", "second engine", "call_id", "wait"):
        assert subject in text, subject
