"""Tables as text at fixed widths: how they fold, and where words break."""

from __future__ import annotations

import pytest

from identengine.cli.grid import Column, aligned, folded, text_width, wrapped
from identengine.cli.styles import Painted, Style

COLUMNS = (
    Column("ID", right=True),
    Column("Client", least=9),
    Column("Name/ANI/IP", solid=True, least=15),
    Column("Details", least=12),
)
ROWS = (
    ("7", "1 Northwind Telecom", "192.0.2.11; 192.0.2.12", "on, tag wholesale, rate+plan inherited"),
    ("1000", "2 Öresund 電話", "2001:db8:10:1::/64", "off"),
)


def table(width: int, columns: tuple[Column, ...] = COLUMNS, rows: tuple[tuple[str, ...], ...] = ROWS) -> str:
    lines = folded(columns, rows, width)
    assert lines is not None
    return "\n".join(lines)


def test_a_table_that_fits_has_a_box() -> None:
    assert table(120).splitlines() == [
        "╭──────┬─────────────────────┬────────────────────────┬────────────────────────────────────────╮",
        "│   ID │ Client              │ Name/ANI/IP            │ Details                                │",
        "├──────┼─────────────────────┼────────────────────────┼────────────────────────────────────────┤",
        "│    7 │ 1 Northwind Telecom │ 192.0.2.11; 192.0.2.12 │ on, tag wholesale, rate+plan inherited │",
        "│ 1000 │ 2 Öresund 電話      │ 2001:db8:10:1::/64     │ off                                    │",
        "╰──────┴─────────────────────┴────────────────────────┴────────────────────────────────────────╯",
    ]


def test_a_table_that_folds_has_no_frame_and_breaks_between_words() -> None:
    assert table(70).splitlines() == [
        "  ID  Client               Name/ANI/IP             Details",
        "────  ───────────────────  ──────────────────────  ───────────────────",
        "   7  1 Northwind Telecom  192.0.2.11; 192.0.2.12  on, tag wholesale,",
        "                                                   rate+plan inherited",
        "1000  2 Öresund 電話       2001:db8:10:1::/64      off",
    ]


def test_long_words_break_after_punctuation_and_only_if_they_must() -> None:
    assert table(41).splitlines() == [
        "  ID Client    Name/ANI/IP     Details",
        "──── ───────── ─────────────── ──────────",
        "   7 1         192.0.2.11;     on, tag",
        "     Northwind 192.0.2.12      wholesale,",
        "     Telecom                   rate+plan",
        "                               inherited",
        "1000 2 Öresund 2001:db8:10:1:: off",
        "     電話      /64",
    ]


@pytest.mark.parametrize("width", range(41, 140))
def test_no_line_is_wider_than_the_terminal_and_no_text_is_lost(width: int) -> None:
    lines = folded(COLUMNS, ROWS, width)
    assert lines is not None
    shown = list(lines)
    assert max(map(text_width, shown)) <= width
    letters = sorted("".join(cell for row in ROWS for cell in row).replace(" ", ""))
    body = "".join(line for line in shown if not set(line) & set("╭├╰")).translate(dict.fromkeys(map(ord, "│─ ")))
    titles = sorted("".join(column.title for column in COLUMNS).replace(" ", ""))
    assert sorted(body) == sorted(letters + titles)


def test_a_table_without_room_is_no_table() -> None:
    assert folded(COLUMNS, ROWS, 30) is None
    assert folded((Column("Key"),), (("a-long-key-of-no-list",),), 10) is None  # it may not break


def test_a_terminal_without_unicode_gets_plain_lines() -> None:
    assert folded((Column("A"),), (("b",),), 80, unicode=False) is not None
    lines = folded((Column("A"),), (("b",),), 80, unicode=False)
    assert list(lines or ()) == ["+---+", "| A |", "+---+", "| b |", "+---+"]


def test_a_cell_has_its_colour_on_every_line() -> None:
    rows = ((Painted("below blocked reseller", Style.BLOCKED), "x" * 60),)
    lines = folded((Column("Client", least=9), Column("X")), rows, 75, colour=True)
    shown = list(lines or ())
    assert shown[0] == f"\x1b[1m{'Client':13}  X\x1b[0m"
    assert shown[2].startswith("\x1b[33mbelow blocked\x1b[0m  xxx")
    assert shown[3] == "\x1b[33mreseller\x1b[0m"


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("a b c", 3, ["a b", "c"]),
        ("registrar.larkspur.example:5060", 20, ["registrar.larkspur.", "example:5060"]),
        ("Telecommunications", 10, ["Telecommun", "ications"]),
        ("電話会社", 5, ["電話", "会社"]),
        ("one\ntwo three", 5, ["one", "two", "three"]),
        ("", 5, [""]),
    ],
)
def test_wrapped(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width) == lines


def test_aligned_columns_have_no_frame_and_stay_aligned_over_blocks() -> None:
    columns, widths = (Column("ID", right=True), Column("Name"), Column("X")), [0] * 0
    first = list(aligned(columns, [("1", "電話", "a"), ("22", "Ann", "b")], widths))
    assert first == ["ID  Name  X", " 1  電話  a", "22  Ann   b"]
    assert list(aligned(columns, [("3", "Bo", "c")], widths)) == [" 3  Bo    c"]
