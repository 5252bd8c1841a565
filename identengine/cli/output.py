"""The output of commands: tables for people, one JSON document for programs, and nothing else on standard output.

On a terminal, tables have titles in bold and colours, and fold in a narrow window. In a pipe they are plain
aligned columns, one row a line, and never folded. Rows are printed in blocks, so that memory never holds all.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from identengine.cli.grid import GLUE as GLUE  # noqa: PLC0414 - part of this interface
from identengine.cli.grid import Column as Column  # noqa: PLC0414 - part of this interface
from identengine.cli.grid import aligned, folded
from identengine.cli.styles import Painted, Style, colours, painted, styled

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SCREEN = 100
"""Rows that a terminal gets without ``--limit``."""
NARROW = 80
"""Width of text that is folded if there is no terminal, in columns."""
WIDE = 132
"""Width of a terminal from which a list shows all its columns."""

_BLOCK = 500
_IN_MEMORY = 1 << 20
"""Longest JSON array that is held in memory until it is printed, in bytes."""

T = TypeVar("T")


class Tell(Protocol):
    """A function that receives the progress of some work."""

    def __call__(self, done: int, total: int | None, what: str = "") -> None:
        """Report that ``done`` of ``total`` (None if unknown) is complete. ``what`` describes the current step."""


def say(text: str) -> None:
    """Print a line for a person."""
    sys.stdout.write(printable(text) + "\n")


def hint(text: str) -> None:
    """Print a line to standard error, so that a pipe gets only the data. A warning has its colour.

    The line follows the data even if both streams are the same file.
    """
    sys.stdout.flush()
    word = "warning:" if text.startswith("warning:") else ""
    head = styled(word, Style.WARNING, sys.stderr) if word else ""
    _write_note(head + printable(text.removeprefix(word)))


def failure(text: str) -> None:
    """Print a line about an error to standard error, in its colour."""
    _write_note(styled(printable(text), Style.ERROR, sys.stderr))


def _write_note(line: str) -> None:
    """Print a line to standard error, after all that standard output has so far.

    Both may lead to one file or pipe (``2>&1 | less``), and only standard output is buffered there.
    """
    with suppress(OSError):  # reported when the command ends
        sys.stdout.flush()
    sys.stderr.write(line + "\n")


def paragraph(text: str, indent: str = "", style: Style | None = None) -> None:
    """Print text for a person, folded to the terminal (80 columns or $COLUMNS without one).

    ``indent`` precedes the first line. Further lines have two more blanks. ``style`` is the colour on a terminal.
    A :data:`GLUE` in the text becomes a blank at which no line is broken.
    """
    width = terminal_width()
    lines = textwrap.fill(
        GLUE.join(map(printable, text.split(GLUE))),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(GLUE, " ")
    sys.stdout.write((styled(lines, style, sys.stdout) if style else lines) + "\n")


def shell_command(*words: str) -> None:
    """Print a command that a shell takes as printed, continued on a second line if it is too wide for one."""
    width = terminal_width()
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
    """Print rows in blocks, without holding all of them. Return their number.

    A cell that is :class:`Painted` has its colour if standard output has colours.
    """
    screen, colour = sys.stdout.isatty(), colours(sys.stdout)
    source = iter(rows)
    count = 0
    widths: list[int] = []
    while block := list(islice(source, _BLOCK)):
        count += len(block)
        cells = [[_clean(value, "\n" if screen else "; ") for value in row] for row in block]
        if not screen:
            lines: Iterable[str] | None = aligned(columns, cells, widths, colour=colour)
        else:
            lines = folded(columns, cells, terminal_width(), unicode=_has_unicode(), colour=colour)
        if lines is None:
            _paragraphs([column.title for column in columns], block)
        else:
            sys.stdout.write("".join([line + "\n" for line in lines]))
    return count


def _paragraphs(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print each row as a paragraph, since a cut address would read as another one."""
    for row in rows:
        cells = [value if GLUE not in value else value.replace(GLUE, " ") for value in row]
        facts((title, value or None) for title, value in zip(titles, cells, strict=True))
        say("")


def terminal_width() -> int:
    """Return the width of the terminal, or of folded text without one, in columns."""
    return shutil.get_terminal_size((NARROW, 0)).columns


def is_compact() -> bool:
    """Return True if standard output is a terminal that is too narrow for all columns of a list.

    On one that is narrower than :data:`NARROW`, each row is a paragraph, which has room for them.
    """
    return sys.stdout.isatty() and NARROW <= terminal_width() < WIDE


def _has_unicode() -> bool:
    """Return True if standard output can print the lines of a box."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


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
    """Print name and value of each fact, a line each. Facts without a value (None) are omitted.

    A value that is :class:`Painted` has its colour if standard output has colours.
    """
    colour = colours(sys.stdout)
    known = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        label = printable(f"{name:<{width}}")
        for line in value.splitlines() or [""]:
            text = printable(line)
            if colour and isinstance(value, Painted):
                text = painted(text, value.style)
            sys.stdout.write(f"{label}  {text}".rstrip() + "\n")
            label = " " * width


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


def _clean(value: str, line_end: str) -> str:
    """Return a cell without control characters, with its style. Its lines are joined by ``line_end``."""
    if value.isprintable():  # almost every cell, and there may be millions
        return value
    text = line_end.join(GLUE.join(map(printable, line.split(GLUE))) for line in value.splitlines())
    return Painted(text, value.style) if isinstance(value, Painted) else text
