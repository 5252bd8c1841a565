"""The screen of `top`: it fits any terminal, scrolls, searches, and uses the width."""

from __future__ import annotations

import pytest

from identengine.cli.topdata import Address, Picture, Rate
from identengine.cli.topscreen import KEYS, Layout, Window, page_of
from identengine.wire.operator import Status, Use

STATUS = Status("identengine", 1, 5.0, 3, 100, 300, 0, 1000, None, ())
PICTURE = Picture(
    STATUS,
    None,
    (Rate("requests_authorize", 9, 1.0), Rate("rejected_account_capacity", 4, 2.5)),
    tuple(Use(n, f"trunk {n}" if n != 7 else "名前\x1b[31m", "origination", 2, 2) for n in range(1, 301)),
    (Use(4, "A customer with a very long name that no table shows whole", "both", 300, 400),),
    (Address("192.0.2.9", 12),),
    0,
    (Rate("sbc-paris", 8, 0.5),),
)


def lines(window: Window, width: int, height: int) -> list[str]:
    return window.drawn(width, height).plain.split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (20, 5), (8, 2), (1, 1), (300, 400)])
def test_each_screen_fits_its_terminal(width: int, height: int) -> None:
    from rich.cells import cell_len

    window = Window(PICTURE)
    for key in (b"", b"\x1b[6~", b"G", b"\t", b"/", b"x", b"\x1b", b"\x1b[B"):
        assert not window.quits(key)
        shown = lines(window, width, height)
        assert len(shown) <= max(height, 1)
        assert max(map(cell_len, shown)) <= width
        assert "\x1b" not in "".join(shown)


def test_all_that_is_full_is_reached_by_scrolling() -> None:
    window, seen = Window(PICTURE), set[str]()
    for _ in range(40):
        seen |= {line.split()[0] for line in lines(window, 80, 24) if "trunk" in line}
        window.quits(b" ")
    assert len(seen) == 299
    assert lines(window, 80, 24)[-1].startswith(KEYS)
    window.quits(b"\x1b[H")
    assert "accounts, by use: 300 limits full" in "\n".join(lines(window, 80, 24))
    window.quits(b"\t")
    assert any(line.startswith("clients, by use") for line in lines(window, 80, 24)[3:5])


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 5), (105, 40), (200, 60), (200, 2000), (1, 1)])
def test_tab_returns_to_the_first_table_in_each_terminal(width: int, height: int) -> None:
    window = Window(PICTURE)
    first = lines(window, width, height)
    for _ in range(len(Layout(PICTURE, width).starts)):
        window.quits(b"\t")
        if lines(window, width, height) == first:
            return
    pytest.fail("Tab does not return to the first table")


def test_a_wide_terminal_has_tables_beside_each_other() -> None:
    for width, beside in ((80, 1), (105, 2), (220, 3)):
        first = page_of(PICTURE, width).plain.split("\n")[4]
        titles = ("accounts, by use", "requests", "rejects by switch")
        assert sum(title in first for title in titles) == beside, first
    assert Layout(PICTURE, 220).height < Layout(PICTURE, 80).height


def test_a_search_keeps_the_rows_that_match_and_q_is_a_letter_of_it() -> None:
    window = Window(PICTURE)
    for key in (b"/", b"q", b"\x7f", b"T", b"k", b" ", b"2", b"9"):
        assert not window.quits(key)
    window.quits(b"\x7f")  # corrections
    for letter in b"\x7f\x7f\x7f\x7frunk 29":
        window.quits(bytes([letter]))
    lines(window, 80, 24)
    window.quits(b"\r")
    shown = "\n".join(lines(window, 80, 40))
    assert "trunk 299" in shown
    assert "trunk 3 " not in shown
    assert window.quits(b"q")
    window.quits(b"\x1b")
    assert "trunk 3 " in "\n".join(lines(window, 80, 40))
