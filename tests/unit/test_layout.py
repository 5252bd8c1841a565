"""The unit tests stand where their modules stand: a folder for each room of identengine."""

from __future__ import annotations

from support import ROOT

UNIT, PACKAGE = ROOT / "tests" / "unit", ROOT / "identengine"
OF_THE_REPOSITORY = {
    "test_architecture.py",
    "test_imports.py",
    "test_layout.py",
    "test_lengths.py",
    "test_repository.py",
    "test_spec_citations.py",
}
"""Tests of the repository as a whole, which belong to no room."""


def test_each_folder_of_unit_tests_is_a_room() -> None:
    rooms = {path.parent.relative_to(UNIT) for path in UNIT.rglob("test_*.py")} - {UNIT.relative_to(UNIT)}
    assert rooms, "no unit test was found"
    assert [str(room) for room in sorted(rooms) if not (PACKAGE / room / "__init__.py").is_file()] == []


def test_only_tests_of_the_repository_belong_to_no_room() -> None:
    assert {path.name for path in UNIT.glob("*.py")} <= OF_THE_REPOSITORY
