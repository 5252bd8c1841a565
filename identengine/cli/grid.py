"""Tables as text: boxed or light on a terminal, aligned columns in a pipe.

Rule: lines fold between words. Only if that is too wide, long words of the columns that allow it break, after
punctuation if possible. If the table still does not fit, the caller prints each row as a paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from math import ceil
from typing import NamedTuple

from identengine.cli.styles import Painted, bold, painted


class Column(NamedTuple):
    """A column of a table. Numbers are aligned to the right."""

    title: str
    right: bool = False
    firm: bool = False
    """True for keys and times: on a narrow terminal, all other columns fold first. So it is for numbers."""
    solid: bool = False
    """True for idents: they fold like free text, but break after words of free text."""
    least: int | None = None
    """Width to which a narrow terminal may reduce the column although longer words break, or None for never."""


class Layout(NamedTuple):
    """The lines and blanks between the cells of a table."""

    left: str
    between: str
    right: str
    rules: tuple[tuple[str, str, str, str] | None, ...]
    """Left end, line, crossing and right end of the rules above the titles, below them and below the table."""

    def room(self, columns: int, width: int) -> int:
        """Return the width that is left for the cells."""
        return width - len(self.left) - len(self.right) - len(self.between) * (columns - 1)


_BOX = Layout("│ ", " │ ", " │", (("╭─", "─", "─┬─", "─╮"), ("├─", "─", "─┼─", "─┤"), ("╰─", "─", "─┴─", "─╯")))
_BOX_ASCII = Layout("| ", " | ", " |", (("+-", "-", "-+-", "-+"),) * 3)
_LIGHT = Layout("", "  ", "", (None, ("", "─", "  ", ""), None))
_LIGHT_ASCII = Layout("", "  ", "", (None, ("", "-", "  ", ""), None))
_TIGHT = Layout("", " ", "", (None, ("", "─", " ", ""), None))
_TIGHT_ASCII = Layout("", " ", "", (None, ("", "-", " ", ""), None))

_BOX_LEAST = 120
"""Width of a terminal from which a table may fold and still have a box. Below, the frame needs too much room."""
GLUE = "\N{NO-BREAK SPACE}"
"""Stands for a blank at which a line breaks only if it must."""
_PUNCTUATION = f".:,;/-_@=|{GLUE}"
"""Characters after which a long word breaks first."""
_PARTS = re.compile(rf"[^{re.escape(_PUNCTUATION)}]*[{re.escape(_PUNCTUATION)}]*")
"""A part of a word that ends with punctuation, or the rest of the word."""
_USUAL = 0.9
"""Share of the rows whose height decides the widths, so that a single long cell does not squeeze all others."""
_RAGGED = 1.15
"""Room that a folded text needs, relative to its length, since its lines end between words."""
_TALLEST = 40
"""Height of a row up to which the widths are balanced, in lines."""


class Breaks(IntEnum):
    """The words that a table breaks so that it fits."""

    NONE = 0
    """No word."""
    TEXT = 1
    """Words of free text, after punctuation."""
    IDENTS = 2
    """Idents too, after punctuation. The line end shows that they continue."""
    ANY = 3
    """Any word of a column that allows it, anywhere."""


_ATTEMPTS = (
    # Whether firm columns stay on one line and titles stay whole, and the words that break.
    (True, True, Breaks.NONE),
    (False, True, Breaks.NONE),
    (False, True, Breaks.TEXT),
    (False, False, Breaks.NONE),
    (False, False, Breaks.TEXT),
    (False, True, Breaks.IDENTS),
    (False, False, Breaks.IDENTS),
    (False, True, Breaks.ANY),
    (False, False, Breaks.ANY),
)
"""Losses of a table that has to fit, the smallest first."""


def folded(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    unicode: bool = True,
    colour: bool = False,
) -> Iterator[str] | None:
    """Return the lines of a table that fits into ``width``, or None if there is no such table. It has rows."""
    found = _choose(columns, rows, width, unicode=unicode)
    return None if found is None else _lines(columns, rows, *found, colour=colour)


def _choose(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, unicode: bool
) -> tuple[Layout, list[int]] | None:
    """Return the best layout and the widths of its columns, or None."""
    needs = [_Need.of(column, [row[place] for row in rows]) for place, column in enumerate(columns)]
    box, light, tight = (_BOX, _LIGHT, _TIGHT) if unicode else (_BOX_ASCII, _LIGHT_ASCII, _TIGHT_ASCII)
    boxed = width >= _BOX_LEAST or sum(need.whole for need in needs) <= box.room(len(columns), width)
    for firm, titles, breaks in _ATTEMPTS:
        least = [need.least(firm=firm, titles=titles, breaks=breaks) for need in needs]
        for layout in (box, light, tight):
            if layout is box and (breaks or not boxed):
                continue
            room = layout.room(len(columns), width)
            if sum(least) <= room:
                return layout, _balanced(needs, _unbroken(needs, least, room), room)
    return None


class _Need(NamedTuple):
    """The widths that a column needs."""

    column: Column
    whole: int
    """For its longest line, or its title."""
    usual: int
    """For all of a cell on one line, in most rows."""
    word: int
    """For its longest word."""
    usual_word: int
    """For the longest word in most rows."""
    part: int
    """For a part of a word that ends with punctuation."""
    title_word: int

    @classmethod
    def of(cls, column: Column, cells: Sequence[str]) -> _Need:
        title = text_width(column.title)
        lengths = sorted(map(text_width, cells))
        longest = sorted(max(map(text_width, cell.replace("\n", " ").split(" ")), default=0) for cell in cells)
        usual = int((len(cells) - 1) * _USUAL)
        words = {word for cell in cells for word in cell.replace("\n", " ").split(" ")}
        parts = {part for word in words for part in _PARTS.findall(word)}
        return cls(
            column,
            max(title, *(text_width(line) for cell in cells for line in cell.split("\n"))),
            lengths[usual],
            longest[-1],
            longest[usual],
            max(map(text_width, parts), default=0),
            max(map(text_width, column.title.split()), default=0),
        )

    def least(self, *, firm: bool, titles: bool, breaks: Breaks) -> int:
        """Return the least width of the column."""
        column, title = self.column, text_width(self.column.title) if titles else self.title_word
        if firm and (column.firm or column.right):
            return self.whole
        needed = self.word
        if column.least is not None:
            if breaks >= (Breaks.IDENTS if column.firm or column.solid else Breaks.TEXT):
                needed = min(needed, max(self.part, column.least))
            if breaks is Breaks.ANY:
                needed = min(needed, column.least)
        return max(needed, title)


def _unbroken(needs: Sequence[_Need], least: Sequence[int], room: int) -> list[int]:
    """Return the least widths, larger where the room suffices to break no word of most rows, idents first."""
    widths = list(least)
    for place in sorted(range(len(needs)), key=lambda place: not needs[place].column.solid):
        more = needs[place].usual_word - widths[place]
        if 0 < more <= room - sum(widths):
            widths[place] += more
    return widths


def _balanced(needs: Sequence[_Need], least: Sequence[int], room: int) -> list[int]:
    """Return widths that use the room so that the columns of most rows are about equally high."""
    if sum(need.whole for need in needs) <= room:
        return [need.whole for need in needs]
    widths = list(least)
    for height in range(2, _TALLEST):
        found = [
            max(low, min(need.whole, ceil(need.usual * _RAGGED / height)))
            for need, low in zip(needs, least, strict=True)
        ]
        if sum(found) <= room:
            widths = found
            break
    while sum(widths) < room:
        able = [place for place, need in enumerate(needs) if widths[place] < need.whole]
        if not able:
            break
        widths[max(able, key=lambda place: needs[place].usual / widths[place])] += 1
    return widths


def _lines(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    layout: Layout,
    widths: Sequence[int],
    *,
    colour: bool,
) -> Iterator[str]:
    above, below_titles, below = layout.rules
    if above:
        yield _rule(above, widths)
    for line in _row(columns, [column.title for column in columns], layout, widths, colour=False):
        yield bold(line) if colour else line
    if below_titles:
        yield _rule(below_titles, widths)
    for row in rows:
        yield from _row(columns, row, layout, widths, colour=colour)
    if below:
        yield _rule(below, widths)


def _rule(rule: tuple[str, str, str, str], widths: Sequence[int]) -> str:
    left, line, crossing, right = rule
    return left + crossing.join([line * width for width in widths]) + right


def _row(
    columns: Sequence[Column], row: Sequence[str], layout: Layout, widths: Sequence[int], *, colour: bool
) -> Iterator[str]:
    """Yield the lines of one row."""
    cells = [wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    for place in range(max(map(len, cells))):
        parts = []
        for column, cell, lines, width in zip(columns, row, cells, widths, strict=True):
            text = lines[place].replace(GLUE, " ").rstrip() if place < len(lines) else ""
            blanks = " " * (width - text_width(text))
            if colour and text and isinstance(cell, Painted):
                text = painted(text, cell.style)
            parts.append(blanks + text if column.right else text + blanks)
        yield (layout.left + layout.between.join(parts) + layout.right).rstrip()


def wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text that is folded to ``width``, between words if possible."""
    lines: list[str] = []
    for line in text.split("\n"):
        if text_width(line) <= width:
            lines.append(line)
            continue
        at = ""
        for word in line.split(" "):
            if at and text_width(at) + 1 + text_width(word) <= width:
                at += " " + word
                continue
            if at:
                lines.append(at)
            *whole, at = _broken(word, width)
            lines += whole
        lines.append(at)
    return lines


def _broken(word: str, width: int) -> list[str]:
    """Return the parts of a word, each at most ``width`` wide."""
    parts = []
    while text_width(word) > width:
        end = _fitting(word, width)
        after = max((word.rfind(char, 0, end) for char in _PUNCTUATION), default=-1) + 1
        end = after if after > 1 else end
        parts.append(word[:end])
        word = word[end:]
    return [*parts, word]


def _fitting(word: str, width: int) -> int:
    """Return the number of characters of ``word`` that fit into ``width``, at least 1."""
    if word.isascii():
        return max(width, 1)
    end, used = 0, 0
    for char in word:
        used += text_width(char)
        if used > width and end:
            break
        end += 1
    return end


def text_width(text: str) -> int:
    """Return the width of a text on a terminal, on which some characters are two columns wide."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def aligned(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: list[int], *, colour: bool = False
) -> Iterator[str]:
    """Yield a line for each row of a block, and a line of titles before the first block.

    The first block sets ``widths``. A wider value in a later block makes its line longer.
    """
    lines: list[Sequence[str]] = [*rows]
    if not widths:
        titles = tuple(column.title for column in columns)
        widths.extend(max(map(text_width, values)) for values in zip(titles, *rows, strict=True))
        lines.insert(0, titles)
    rights = [column.right for column in columns]
    for row in lines:
        parts = []
        for cell, width, right in zip(row, widths, rights, strict=True):
            blanks = " " * (width - (len(cell) if cell.isascii() else text_width(cell)))
            text = painted(cell, cell.style) if colour and isinstance(cell, Painted) and cell else cell
            parts.append(blanks + text if right else text + blanks)
        yield "  ".join(parts).rstrip()
