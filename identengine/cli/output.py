"""The output of commands: tables for people, one JSON document for programs, and nothing else on standard output.

On a terminal, tables have boxes and colours, and fold in a narrow window. In a pipe they are plain aligned
columns, one row a line, and never cut. Rows are printed in blocks, so that memory never holds a million of them.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import msgspec
import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SCREEN = 100
"""Rows that a terminal gets without ``--limit``."""
NARROW = 80
"""Width of text that is folded if there is no terminal, in columns."""
GLUE = "\N{NO-BREAK SPACE}"
"""Stands for a blank that :func:`paragraph` keeps within one line."""

_BLOCK = 500
_IN_MEMORY = 1 << 20
"""Longest JSON array that is held in memory until it is printed, in bytes."""

T = TypeVar("T")


class Tell(Protocol):
    """A function that receives the progress of some work."""

    def __call__(self, done: int, total: int | None, what: str = "") -> None:
        """Report that ``done`` of ``total`` (None if unknown) is complete. ``what`` describes the current step."""


class Column(NamedTuple):
    """A column of a table. Numbers are aligned to the right."""

    title: str
    right: bool = False
    tint: Callable[[str], str] | None = None
    """Function from a cell to its colour on a terminal."""
    firm: bool = False
    """True for idents and times: on a narrow terminal, free text in other columns folds first. So do numbers."""


def say(text: str) -> None:
    """Print a line for a person."""
    sys.stdout.write(printable(text) + "\n")


def hint(text: str) -> None:
    """Print a line to standard error, so that a pipe gets only the data."""
    sys.stderr.write(printable(text) + "\n")


def paragraph(text: str, indent: str = "", tint: str | None = None) -> None:
    """Print text for a person, folded to the terminal (80 columns or $COLUMNS without one).

    ``indent`` precedes the first line. Further lines have two more blanks. ``tint`` is the colour on a terminal.
    A :data:`GLUE` in the text becomes a blank at which no line is broken.
    """
    width = shutil.get_terminal_size((NARROW, 0)).columns
    lines = textwrap.fill(
        GLUE.join(map(printable, text.split(GLUE))),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(GLUE, " ")
    sys.stdout.write((typer.style(lines, fg=tint) if tint and sys.stdout.isatty() else lines) + "\n")


def shell_command(*words: str) -> None:
    """Print a command that a shell takes as printed, continued on a second line if it is too wide for one."""
    width = shutil.get_terminal_size((NARROW, 0)).columns
    lines = ["  " + shlex.quote(words[0])]
    for word in map(shlex.quote, words[1:]):
        if len(lines[-1]) + 1 + len(word) + len(" \\") <= width:
            lines[-1] += " " + word
        else:
            lines.append("    " + word)
    sys.stdout.write(" \\\n".join(lines) + "\n")


def emit(document: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def error_document(message: str, problems: Sequence[object] = (), total: int = 0) -> str:
    """Return an error as one line of JSON (interfaces.md 2, "JSON shapes")."""
    # json, since msgspec refuses lone surrogates, which stand for bytes that are not UTF-8.
    return json.dumps({"error": {"message": message, "problems": list(problems), "total": total}})


def emit_many(items: Iterable[object]) -> int:
    """Print one JSON array, an item a line, without holding all items. Return their number.

    If ``items`` raises an exception, nothing is printed: half an array is no document. So a long array waits in a
    temporary file for its last item.
    """
    from tempfile import SpooledTemporaryFile

    encode = msgspec.json.Encoder().encode
    count = 0
    with SpooledTemporaryFile(_IN_MEMORY) as document:
        document.write(b"[")
        for count, item in enumerate(items, 1):
            document.write((b"\n" if count == 1 else b",\n") + encode(item))
        document.write(b"\n]\n" if count else b"]\n")
        document.seek(0)
        for line in document:
            sys.stdout.write(line.decode())
    return count


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> int:
    """Print rows in blocks, without holding all of them. Return their number."""
    boxed = sys.stdout.isatty()
    source = iter(rows)
    count = 0
    widths: list[int] = []
    while block := list(islice(source, _BLOCK)):
        if boxed:
            _boxed(columns, block)
        else:
            _aligned(columns, block, widths)
        count += len(block)
    return count


def screenful(rows: Iterable[T], limit: int | None, offset: int | None = None) -> Iterator[T]:
    """Yield the rows that ``--limit`` and ``--offset`` select, and hint at the rest.

    Without a limit, a terminal gets :data:`SCREEN` rows and a pipe gets all. Commands without an
    offset pass None.
    """
    if limit is None:
        limit = SCREEN if sys.stdout.isatty() else 0
    source = islice(rows, offset or 0, None)
    if not limit:
        yield from source
        return
    yield from islice(source, limit)
    if next(source, None) is not None:
        onwards = f"--offset {offset + limit} shows the next rows, " if offset is not None else ""
        hint(f"there are more rows; {onwards}--limit 0 shows all")


def facts(pairs: Iterable[tuple[str, str | None]]) -> None:
    """Print name and value of each fact, a line each. Facts without a value (None) are omitted."""
    known = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        first, *more = value.splitlines() or [""]
        say(f"{name:<{width}}  {first}".rstrip())
        for line in more:
            say(f"{'':<{width}}  {line}")


def when(seconds: float) -> str:
    """Return a time as the log shows it: local, to the second, with its offset from UTC."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


DIFF = (Column("What"), Column("Key", firm=True), Column("Field"), Column("Before"), Column("After"))
"""Columns of a table of changes, field by field."""
NO_VERSIONS = "the store has no versions yet. Use `identengine import` to create the first."
"""Hint for a list of a store without a version."""


def none_shown(what: str, where: str, offset: int) -> None:
    """Hint that a list is empty: no row matches, or ``--offset`` skipped all that do."""
    hint(f"--offset {offset} skips every {what} that matches" if offset else f"no {what} {where}")


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped, so that a book cannot control the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """Show a progress bar on a terminal if the work takes more than a second.

    Yield the function that receives the progress.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, what="": None
        return
    with _Bar(what) as bar:
        yield bar.update


class _Bar:
    """A progress bar that appears after a second."""

    def __init__(self, what: str) -> None:
        import time

        self._what = what
        self._clock = time.monotonic
        self._begun = time.monotonic()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, done: int, total: int | None, what: str = "") -> None:
        if self._progress is None or self._task is None:
            if self._clock() - self._begun < 1:
                return
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            # Without markup, since a description may hold brackets of a user: http://[::1]:8470.
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task(self._what, total=None)
        self._progress.update(self._task, completed=done, total=total, description=what or self._what)


def _boxed(columns: Sequence[Column], block: list[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    texts = [[_cell(value, "\n") for value in row] for row in block]
    widths = _widths(columns, texts, console.width - 3 * len(columns) - 1)  # lines and blanks between cells
    if widths is None:
        titles = [column.title for column in columns]
        for row in block:
            facts((title, value or None) for title, value in zip(titles, row, strict=True))
            say("")
        return
    shown = Table(box=box.ROUNDED, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        shown.add_column(column.title, justify="right" if column.right else "left", width=width, overflow="fold")
    for row, cells in zip(block, texts, strict=True):
        shown.add_row(
            *(
                Text(text, style=column.tint(value) if column.tint else "")
                for column, value, text in zip(columns, row, cells, strict=True)
            )
        )
    console.print(shown)


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Return the width of each column, so that lines fold only between words, and free text first.

    Return None if the words do not fit into ``room``. Each row is a paragraph then, since a cut address would read
    as another one.
    """
    from rich.cells import cell_len

    widths, least = [], []
    for column, *cells in zip([column.title for column in columns], *rows, strict=True):
        cells.append(column)
        widths.append(max(cell_len(line) for cell in cells for line in cell.split("\n")))
        least.append(max((cell_len(word) for cell in cells for word in cell.split()), default=0))
    for firm in (False, True):
        able = [place for place, column in enumerate(columns) if (column.firm or column.right) is firm]
        while sum(widths) > room and (wide := [place for place in able if widths[place] > least[place]]):
            widths[max(wide, key=widths.__getitem__)] -= 1
    return widths if sum(widths) <= room else None


def _aligned(columns: Sequence[Column], block: list[Sequence[str]], widths: list[int]) -> None:
    """Print a block. The first block sets the widths; a wider value in a later one makes its line longer."""
    lines = [tuple([_cell(value, "; ") for value in row]) for row in block]
    if not widths:
        titles = tuple(column.title for column in columns)
        widths.extend(max(map(len, values)) for values in zip(titles, *lines, strict=True))
        lines.insert(0, titles)
    line = "  ".join(
        f"{{:{'>' if column.right else '<'}{width}}}" for column, width in zip(columns, widths, strict=True)
    )
    sys.stdout.write("".join([line.format(*cells).rstrip() + "\n" for cells in lines]))


def _cell(value: str, line_end: str) -> str:
    if value.isprintable():  # almost every cell, and there may be millions
        return value
    return line_end.join(printable(line) for line in value.splitlines())
