"""No module exceeds 400 lines and no function 50, in code, benchmarks and tests alike."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

MODULE_LINES = 400
FUNCTION_LINES = 50
"""Longest function, from the line of its ``def`` to its last line, in lines. Decorators do not count."""


def too_long(path: Path) -> Iterator[str]:
    """Yield each module or function with too many lines, with their number."""
    text = path.read_text()
    if (lines := len(text.splitlines())) > MODULE_LINES:
        yield f"{path.name}: {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{path.name}:{node.lineno} {node.name}: {lines} lines"


@pytest.mark.parametrize("folder", ["identengine", "benchmarks", "tests"])
def test_modules_and_functions_are_short(folder: str) -> None:
    modules = sorted((ROOT / folder).rglob("*.py"))
    assert modules
    assert [f"{path.parent.relative_to(ROOT)}/{found}" for path in modules for found in too_long(path)] == []


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    right = "\n".join(["def right():", *["    x = 1"] * (FUNCTION_LINES - 1)])
    wrong = "\n".join(["class C:", "    async def wrong(self):", *["        x = 1"] * FUNCTION_LINES])
    planted.write_text(f"{right}\n{wrong}\n")
    assert list(too_long(planted)) == [f"planted.py:{FUNCTION_LINES + 2} wrong: {FUNCTION_LINES + 1} lines"]
    planted.write_text("x = 1\n" * MODULE_LINES)
    assert list(too_long(planted)) == []
    planted.write_text("x = 1\n" * (MODULE_LINES + 1))
    assert list(too_long(planted)) == [f"planted.py: {MODULE_LINES + 1} lines"]
