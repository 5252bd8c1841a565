"""docs/architecture.md names modules, classes and functions that exist, and the real layers and steps."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support import ROOT

from benchmarks import walk

PACKAGE = ROOT / "identengine"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
COMING = TEXT.partition("## Rooms that are coming")[2].partition("\n## ")[0]
WALK = TEXT.partition("## The way of a request")[2].partition("\n## ")[0]
NOT_BUILT = set(re.findall(r"^\| `([^`]+)` \|", COMING, re.MULTILINE)) - {"room"}

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_TICKED = re.compile(r"`([^`]+)`")
_PATH = re.compile(r"[\w./-]+(?:/|\.(?:py|toml|md))")
_FOLDER = re.compile(r"[a-z]+(?:/[a-z]+)+")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
NO_CODE = {"authorize", "control", "ask", "identengine", "ps", "serve.sock"}
"""Words in backticks that users meet and that are not code: methods, commands, sockets."""


def paragraphs() -> Iterator[str]:
    """Yield each unit of the page: a row of a table, an item of a list, or a paragraph."""
    for block in _FENCE.sub("", TEXT).split("\n\n"):
        if block.lstrip().startswith("|"):
            yield from block.splitlines()
        else:
            yield from re.split(r"\n(?=\d+\. )", block)


def file_of(path: str) -> Path | None:
    """Return the file or folder of a path of the page, or None if there is none."""
    return next((found for root in (PACKAGE, ROOT) if (found := root / path).exists()), None)


@cache
def defined_in(file: Path) -> frozenset[str]:
    """Return the names that a module defines: its own, and those of its classes prefixed with the class."""

    def names(body: list[ast.stmt], before: str) -> Iterator[str]:
        for each in body:
            if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield before + each.name
            if isinstance(each, ast.ClassDef):
                yield from names(each.body, f"{before}{each.name}.")

    return frozenset(names(ast.parse(file.read_text()).body, ""))


def is_room(name: str) -> bool:
    return (PACKAGE / name / "__init__.py").is_file() or (PACKAGE / f"{name}.py").is_file()


def named() -> list[tuple[str, str]]:
    """Return each name of the page in backticks, with its paragraph."""
    return [(token, block) for block in paragraphs() for token in _TICKED.findall(block)]


PATHS = sorted(
    {token for token, _ in named() if _PATH.fullmatch(token) or _FOLDER.fullmatch(token)}
    - NOT_BUILT
    - {"identengine/"}
)
NAMES = sorted(
    {(token, block) for token, block in named() if _NAME.fullmatch(token) and token not in {*NO_CODE, *PATHS}}
)


def test_the_page_names_what_is_checked() -> None:
    assert len(PATHS) > 40
    assert len(NAMES) > 60
    assert len(NOT_BUILT) > 2


@pytest.mark.parametrize("path", PATHS)
def test_paths_exist(path: str) -> None:
    assert file_of(path) is not None


@pytest.mark.parametrize("path", sorted(NOT_BUILT))
def test_rooms_that_are_coming_are_not_there(path: str) -> None:
    assert file_of(path) is None, "it exists; remove its mark from the page"


@pytest.mark.parametrize(("name", "block"), NAMES, ids=[name for name, _ in NAMES])
def test_names_exist_in_a_file_that_is_named_beside_them(name: str, block: str) -> None:
    if is_room(name):
        return
    files = [file_of(path) for path in _TICKED.findall(block) if path.endswith(".py")]
    there = [defined_in(file) for file in files if file is not None]
    assert there, f"{name}: no module is named next to it"
    assert any(name in names for names in there)


@pytest.mark.parametrize("module", re.findall(r"python -m ([\w.]+)", TEXT))
def test_modules_that_are_run_exist(module: str) -> None:
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


def test_the_layers_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == ["identengine"]]
    block = re.search(r"^```layers\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert block[1].splitlines() == layers
    rooms = TEXT.partition("| room | holds | rule |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", rooms, re.MULTILINE) == re.findall(r"\w+", " ".join(layers))


# ---- the way of a request


def test_the_steps_are_those_of_the_specification() -> None:
    spec = (ROOT / "docs" / "spec" / "engine.md").read_text()
    order = re.search(r"^validate → .*? → answer", spec, re.MULTILINE)
    assert order is not None
    steps = [step.rstrip("?") for step in order[0].split(" → ")]
    assert sorted(re.findall(r"\*\*([\w ]+)\*\*", WALK)) == sorted(steps)


def test_the_walk_is_that_of_a_datagram() -> None:
    """The names of the walk are in the order, and with the steps, that the benchmark prints."""
    calls = walk.walk()
    first: dict[tuple[str, str], int] = {}
    for place, call in enumerate(calls):
        first.setdefault((call.file, call.name), place)
    rows = re.findall(r"^\| \d+ \| ([^|]*)\| `([^`]+)` \| ([^|]+) \|", WALK, re.MULTILINE)
    told = [(step, file, name) for step, file, names in rows for name in _TICKED.findall(names)]
    steps: dict[str, str] = {}
    met: list[int] = []
    for step, file, name in told:
        if (file, name) in first and name not in steps:  # otherwise a condition that this datagram does not meet
            steps[name] = step
            met.append(first[file, name])
    assert len(met) > 15
    assert met == sorted(met)
    assert [name for name, step in walk.STEPS.items() if f"**{step}**" not in steps.get(name, "")] == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions of Python inline other calls")
def test_the_figures_are_those_of_the_walk() -> None:
    calls = walk.walk()
    for title, each in (("now", calls), ("now, a further message of the batch", walk.of_message(walk.walk(2)))):
        assert f"| {title} | {len(each)} | {len(walk.files(each))} | {walk.changes(each)} |" in WALK
