"""Unit tests mirror their modules: each room of identengine has a folder of the same name."""

from __future__ import annotations

from support import ROOT

UNIT, PACKAGE = ROOT / "tests" / "unit", ROOT / "identengine"
OF_THE_REPOSITORY = {
    "test_architecture.py",
    "test_fault_injection.py",
    "test_imports.py",
    "test_layout.py",
    "test_lengths.py",
    "test_repository.py",
    "test_security_page.py",
    "test_spec_citations.py",
    "test_words.py",
}
"""Tests of the repository as a whole and of the support of tests, which belong to no room."""


def test_each_folder_of_unit_tests_is_a_room() -> None:
    rooms = {path.parent.relative_to(UNIT) for path in UNIT.rglob("test_*.py")} - {UNIT.relative_to(UNIT)}
    assert rooms, "no unit test was found"
    assert [str(room) for room in sorted(rooms) if not (PACKAGE / room / "__init__.py").is_file()] == []


def test_only_tests_of_the_repository_and_of_the_package_itself_belong_to_no_room() -> None:
    names = {path.name for path in UNIT.glob("*.py")} - OF_THE_REPOSITORY
    assert [name for name in sorted(names) if not (PACKAGE / name.removeprefix("test_")).is_file()] == []


def test_modules_are_tested_by_name() -> None:
    """``test_x.py`` or ``test_x_subject.py`` tests the module ``x``, or the room itself if its name is ``x``."""
    strays = [
        str(path.relative_to(UNIT))
        for path in UNIT.rglob("*/test_*.py")
        if not any(_is_module(path.parent.relative_to(UNIT).as_posix(), name) for name in _names(path.stem))
    ]
    assert strays == []


def _names(stem: str) -> list[str]:
    words = stem.removeprefix("test_").split("_")
    return ["_".join(words[:count]) for count in range(1, len(words) + 1)]


def _is_module(room: str, name: str) -> bool:
    folder = PACKAGE / room
    return name == folder.name or (folder / f"{name}.py").is_file() or (folder / name).is_dir()
