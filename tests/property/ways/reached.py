"""Traces functions: how often they return None or a value, and the ``return`` statements that no call reaches."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from types import CodeType, FrameType, FunctionType
from typing import Any


def function_named(path: str) -> FunctionType:
    """Return the function of a path ``module:name`` or ``module:Class.name``."""
    module, _, name = path.partition(":")
    found: Any = reduce(getattr, name.split("."), import_module(module))
    assert isinstance(found, FunctionType), path
    return found


class Reached:
    """The lines that calls of some functions reach, and their results."""

    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        plain = [function for function in functions if isinstance(function, FunctionType)]
        self._lines: dict[CodeType, set[int]] = {function.__code__: set() for function in plain}
        self._returns = {function.__code__: returns(inspect.getsource(function)) for function in functions}
        self.values: Counter[str] = Counter()
        """Number of calls that returned a value, by the qualified name of the function."""
        self.nones: Counter[str] = Counter()
        """Number of calls that returned None, or raised an exception."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Trace the calls within the context."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        lines = self._lines.get(frame.f_code)
        if lines is None:
            return None
        add, name = lines.add, frame.f_code.co_qualname

        def trace(frame: FrameType, event: str, value: Any) -> Callable[..., Any]:
            if event == "line":
                add(frame.f_lineno)
            elif event == "return":  # an exception is a return of None too
                (self.nones if value is None else self.values)[name] += 1
            return trace

        return trace

    def missed(self) -> list[str]:
        """Return the ``return`` statements that were never reached, as ``function: statement``."""
        return [
            f"{code.co_qualname}: {statement}"
            for code, lines in self._lines.items()
            for at, statement in self._returns[code]
            if code.co_firstlineno + at - 1 not in lines
        ]


def returns(source: str) -> list[tuple[int, str]]:
    """Return the line of each ``return`` in the source of a function, and the statement with its condition."""
    (function,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(function, ast.FunctionDef)
    return sorted(_returns(function.body, ""))


def _returns(body: list[ast.stmt], condition: str) -> Iterator[tuple[int, str]]:
    """Yield the ``return`` statements of a block, which runs if ``condition`` holds."""
    for node in body:
        if isinstance(node, ast.Return):
            yield node.lineno, condition + ast.unparse(node)
        elif isinstance(node, ast.If):
            yield from _returns(node.body, f"if {ast.unparse(node.test)}: ")
            yield from _returns(node.orelse, f"unless {ast.unparse(node.test)}: ")
        elif not isinstance(node, ast.FunctionDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _returns(getattr(node, field, []), condition)
            for handler in getattr(node, "handlers", []):
                yield from _returns(handler.body, f"except {ast.unparse(handler.type or ast.Constant(None))}: ")
            for case in getattr(node, "cases", []):
                yield from _returns(case.body, f"case {ast.unparse(case.pattern)}: ")
