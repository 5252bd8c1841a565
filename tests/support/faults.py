"""Faults at every line: run code again and again, with an exception at the first line, the second, and so on."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import identengine

PACKAGE = str(Path(identengine.__file__).parent)


class Injector:
    """A trace function that raises an exception at one line of the given packages."""

    def __init__(self, at: int, fault: type[BaseException], folders: tuple[str, ...]) -> None:
        """Raise ``fault`` at the line with the number ``at``, counted from 0 in the order of execution."""
        self.raised_in = ""
        """The line at which the exception was raised, or ``""``."""
        self._left = at
        self._fault = fault
        self._folders = tuple(f"{PACKAGE}/{folder}/" for folder in folders)

    def run(self, work: Callable[[], object]) -> object:
        """Return the result of ``work``, or its exception."""
        before = sys.gettrace()  # that of a coverage measurement
        sys.settrace(self._call)
        try:
            return work()
        except BaseException as fault:
            if not isinstance(fault, self._fault):
                raise
            return fault
        finally:
            sys.settrace(before)

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(self._folders) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and not self._cannot_fail(frame):
            if not self._left:
                self.raised_in = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                self._left = -1
                raise self._fault(self.raised_in)
            self._left -= 1
        return self._line

    def _cannot_fail(self, frame: FrameType) -> bool:
        """Return True for a line that only returns a variable, and at the end of a ``with`` block.

        Python traces the line of ``with`` again before it calls ``__exit__``. A fault there would leave the block
        without ``__exit__``, for example a transaction open, as no real fault does.
        """
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if line.startswith("with "):
            return frame.f_lasti >= _end_of_head(frame.f_code, frame.f_lineno)
        return bool(_RETURN.fullmatch(line))


_RETURN = re.compile(r"return \w+")


@cache
def _end_of_head(code: CodeType, number: int) -> int:
    """Return the offset in ``code`` at which the first instructions of this line end."""
    return next(end for _, end, line in code.co_lines() if line == number)


def at_every_line(fault: type[BaseException], *folders: str, step: int = 1) -> Iterator[Injector]:
    """Yield an injector for each line, until one of them has not raised its exception."""
    at = 0
    while True:
        yield (injector := Injector(at, fault, folders))
        if not injector.raised_in:
            return
        at += step
