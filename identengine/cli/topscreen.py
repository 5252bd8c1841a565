"""The screen of ``top``: tables next to each other where there is room, and a window that scrolls over them.

The tables are lines of text. Only the lines in the window are made, so that thousands of full limits cost nothing.
Rule: it reads no key and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from identengine.cli.output import printable
from identengine.cli.stats import server_facts
from identengine.cli.styles import Style
from identengine.cli.topdata import Picture, Rate
from identengine.errors import counted
from identengine.wire.operator import Use

if TYPE_CHECKING:
    from rich.text import Text

GAP = 3
"""Number of blanks between two tables."""
_LONGEST = 32
"""Largest width of a column of text; longer texts are cut."""
_SHORTEST = 8
"""Smallest width to which a column of text is cut."""

Line: TypeAlias = "list[tuple[str, str]]"
"""A line as pieces of text, each with a style of rich."""


class Pane(NamedTuple):
    """A table of the screen."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    cut: int = 0
    """Place of the column that is cut if there is too little room."""
    style: Callable[[tuple[str, ...]], str] = lambda _row: ""
    """Function from a row to its style."""

    @property
    def height(self) -> int:
        """Number of lines, with the title, the header and an empty line."""
        return len(self.rows) + 3

    def widths(self, room: int) -> list[int]:
        """Return the width of each column. One column is cut if ``room`` is too small."""
        widths = [
            min(_LONGEST, max(map(_length, (title, *(row[place] for row in self.rows)))))
            for place, title in enumerate(self.columns)
        ]
        excess = sum(widths) + 2 * (len(widths) - 1) - room
        widths[self.cut] -= min(max(0, widths[self.cut] - _SHORTEST), max(0, excess))
        return widths

    def line(self, place: int, widths: Sequence[int]) -> tuple[str, str]:
        """Return a line of the table and its style."""
        if place == 0:
            return self.title, "bold"
        if place > len(self.rows) + 1:
            return "", ""
        row = self.columns if place == 1 else self.rows[place - 2]
        cells = [
            _fitted(cell, width, left=title in _LEFT)
            for cell, width, title in zip(row, widths, self.columns, strict=True)
        ]
        return "  ".join(cells).rstrip(), "dim" if place == 1 else self.style(row)


_LEFT = frozenset(("ID", "Account", "Client", "Direction", "Counter", "Reason", "Switch", "Address"))
"""Columns of text. The others are numbers, aligned to the right."""


class Layout:
    """The tables of a picture, arranged for a width."""

    def __init__(self, picture: Picture, width: int, search: str = "") -> None:
        """Arrange the tables. ``search`` keeps the rows of limits, switches and addresses that contain it."""
        limits, counters, sources = _panes(picture, search.casefold())
        stacks = [[*limits, *sources, *counters]]
        for beside in ([limits, counters, sources], [limits, [*counters, *sources]]):
            if sum(map(_width, beside)) + GAP * (len(beside) - 1) <= width:
                stacks = beside
                break
        self._stacks = [[(pane, pane.widths(width)) for pane in stack] for stack in stacks]
        self._widths = [max(_width([pane]) for pane in stack) for stack in stacks]
        self.height = max(sum(pane.height for pane in stack) for stack in stacks) - 1
        """Number of lines of the whole page."""
        starts = {sum(pane.height for pane in stack[:place]) for stack in stacks for place in range(len(stack))}
        self.starts = sorted(starts)
        """First lines of the tables."""

    def line(self, number: int) -> Line:
        """Return a line of the page."""
        pieces: Line = []
        column = written = 0
        for stack, width in zip(self._stacks, self._widths, strict=True):
            text, style = _line_of(stack, number)
            if text:
                pieces.append((" " * (column - written), ""))
                pieces.append((text, style))
                written = column + _length(text)
            column += width + GAP
        return pieces


def head_of(picture: Picture) -> Iterator[tuple[str, str]]:
    """Yield the lines above the tables, each with its style: the server, its alarms, and trouble."""
    if picture.server is not None:
        for name, value in server_facts(picture.server):
            for place, text in enumerate((value or "").splitlines()):
                yield f"{'' if place else name:<7} {printable(text)}", "bold red" if name == "ALARM" else ""
    if picture.trouble is not None:
        for text in picture.trouble.splitlines():
            yield printable(text), "bold red"
        yield "The last known counters are shown.", ""


def text_of(lines: Sequence[Line], width: int) -> Text:
    """Return lines as a text of rich, each cut to a width."""
    from rich.text import Text

    made = []
    for pieces in lines:
        line = Text.assemble(*pieces, no_wrap=True)
        line.truncate(width)
        made.append(line)
    return Text("\n", no_wrap=True, overflow="crop").join(made)


def _line_of(stack: Sequence[tuple[Pane, list[int]]], number: int) -> tuple[str, str]:
    for pane, widths in stack:
        if number < pane.height:
            return pane.line(number, widths)
        number -= pane.height
    return "", ""


def _width(stack: Sequence[Pane]) -> int:
    """Return the width of tables above each other, if no column is cut."""
    full = [pane.widths(1 << 20) for pane in stack]
    return max(
        max(sum(widths) + 2 * (len(widths) - 1), _length(pane.title))
        for pane, widths in zip(stack, full, strict=True)
    )


def _panes(picture: Picture, search: str) -> tuple[list[Pane], list[Pane], list[Pane]]:
    """Return the tables in three groups: limits, counters, and sources of rejects."""
    requests = [one for one in picture.rates if not one.name.startswith("rejected_")]
    reasons = [one for one in picture.rates if one.name.startswith("rejected_")]
    short_by = f" (each up to {picture.short_by:,} too low)" if picture.short_by else ""
    limits = [_limits("account", picture.accounts, search), _limits("client", picture.clients, search)]
    counters = [
        Pane("requests", ("Counter", "Total", "/s"), [*map(_rate, requests)]),
        Pane("rejects", ("Reason", "Total", "/s"), [*map(_rate, reasons)]),
    ]
    sources = [
        Pane("rejects by switch", ("Switch", "Total", "/s"), _found(map(_rate, picture.switches), search)),
        Pane(
            f"rejects by address{short_by}",
            ("Address", "Rejected"),
            _found(((one.address, f"{one.rejected:,}") for one in picture.addresses), search),
        ),
    ]
    return limits, counters, sources


def _limits(what: str, uses: Sequence[Use], search: str) -> Pane:
    full = sum(use.is_full for use in uses)
    title = f"{what}s, by use" + (f": {counted(full, 'limit')} full" if full else "")
    columns = ("ID", what.title(), "Direction", "Held", "Limit", "Use")
    return Pane(title, columns, _found(map(_use, uses), search), 1, _style)


def _style(row: tuple[str, ...]) -> str:
    full = row[-1] == "over" or (row[-1].endswith("%") and int(row[-1][:-1]) >= 100)
    return Style.FULL.value if full else ""


def _found(rows: Iterator[tuple[str, ...]] | map[tuple[str, ...]], search: str) -> list[tuple[str, ...]]:
    """Return the rows with a text in their names or ids."""
    return [row for row in rows if not search or any(search in cell.casefold() for cell in row[:2])]


def _use(use: Use) -> tuple[str, ...]:
    share = "" if use.limit is None else f"{100 * use.held // use.limit}%" if use.limit else "over"
    limit = "" if use.limit is None else f"{use.limit:,}"
    name = printable(use.name or "(not in the book)")
    return str(use.id), name, use.direction, f"{use.held:,}", limit, share


def _rate(rate: Rate) -> tuple[str, ...]:
    name = rate.name.removeprefix("rejected_").removeprefix("requests_")
    return printable(name), f"{rate.total:,}", f"{rate.per_second:,.1f}"


def _fitted(cell: str, width: int, *, left: bool) -> str:
    """Return a cell in the width of its column."""
    from rich.cells import set_cell_size

    length = _length(cell)
    if length > width:
        return set_cell_size(cell, width - 1) + "…"
    blanks = " " * (width - length)
    return cell + blanks if left else blanks + cell


def _length(text: str) -> int:
    """Return the number of columns of the terminal that a text takes."""
    from rich.cells import cell_len

    return len(text) if text.isascii() else cell_len(text)


class Window:
    """The window of a terminal over the page, with the keys that scroll and search it."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self._first = 0
        """Number of the first line of the page that is visible."""
        self._height = 1
        """Number of lines of the page that are visible."""
        self._layout = Layout(picture, 80)
        self._search = ""
        self._typing = False
        """True while keys are letters of the search."""

    def drawn(self, width: int, height: int) -> Text:
        """Return the screen: the state of the server, the visible lines of the page, and the keys."""
        head: list[Line] = [[piece] for piece in head_of(self.picture)]
        del head[max(0, height - 2) :]
        self._layout = Layout(self.picture, width, self._search)
        self._height = max(0, height - 1 - len(head))
        self._scroll_to(self._first)
        last = min(self._first + self._height, self._layout.height)
        body = [self._layout.line(number) for number in range(self._first, last)]
        body += [[] for _ in range(self._height - len(body))]
        return text_of([*head, *body, [(self._foot(last, width), "reverse")]], width)

    def quits(self, key: bytes) -> bool:
        """Apply a key. Return True if it quits."""
        if self._typing:
            self._type(key)
            return False
        if key in (b"q", b"Q"):
            return True
        if key in _MOVES:
            self._scroll_to(_MOVES[key](self._first, self._height, self._layout.height))
        elif key in (b"\t", b"n"):
            self._scroll_to(self._next_table())
        elif key == b"/":
            self._typing, self._search = True, ""
        elif key == b"\x1b":
            self._search = ""
        return False

    def _next_table(self) -> int:
        """Return the first line of the next table, or 0 if the last line of the page is visible."""
        if self._first + self._height >= self._layout.height:
            return 0
        return next((start for start in self._layout.starts if start > self._first), 0)

    def _type(self, key: bytes) -> None:
        """Apply a key to the text of the search."""
        if key in (b"\r", b"\n"):
            self._typing = False
        elif key == b"\x1b":
            self._typing, self._search = False, ""
        elif key in (b"\x7f", b"\b"):
            self._search = self._search[:-1]
        elif len(key) == 1 and key.isascii() and key.decode().isprintable():
            self._search += key.decode()

    def _scroll_to(self, line: int) -> None:
        self._first = max(0, min(line, self._layout.height - self._height))

    def _foot(self, last: int, width: int) -> str:
        """Return the last line of the screen: the search, the keys, and the visible part of the page."""
        if self._typing:
            return f"/{self._search}_  Enter: keep  Esc: all rows".ljust(width)
        place = f"{self._first + 1}-{last} of {self._layout.height}"
        found = f"/{self._search}  " if self._search else ""
        keys = f"{found}{KEYS}"
        return f"{keys[: max(0, width - len(place) - 2)]:<{max(0, width - len(place))}}{place}"


KEYS = "q quit  ↑↓ PgUp PgDn Home End scroll  Tab next table  / search"
"""The keys, as the last line of the screen names them."""

_MOVES: dict[bytes, Callable[[int, int, int], int]] = {
    **dict.fromkeys((b"\x1b[A", b"\x1bOA", b"k"), lambda first, _height, _all: first - 1),
    **dict.fromkeys((b"\x1b[B", b"\x1bOB", b"j", b"\n", b"\r"), lambda first, _height, _all: first + 1),
    **dict.fromkeys((b"\x1b[5~", b"b"), lambda first, height, _all: first - max(1, height - 1)),
    **dict.fromkeys((b"\x1b[6~", b" "), lambda first, height, _all: first + max(1, height - 1)),
    **dict.fromkeys((b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"g"), lambda _first, _height, _all: 0),
    **dict.fromkeys((b"\x1b[F", b"\x1bOF", b"\x1b[4~", b"G"), lambda _first, _height, whole: whole),
}
"""The first visible line after a key, from the first one, the height of the window and that of the page."""


def page_of(picture: Picture, width: int) -> Text:
    """Return everything, for an output that is no terminal."""
    layout = Layout(picture, width)
    lines: list[Line] = [[piece] for piece in head_of(picture)]
    return text_of([*lines, [], *(layout.line(number) for number in range(layout.height))], width)
