"""docs/asking.md shows the normal form of numbers as the code makes it."""

from __future__ import annotations

import re

from support import ROOT

from identengine.model.numbers import requested_number

PAGE = (ROOT / "docs" / "asking.md").read_text()


def test_the_table_of_numbers_is_right() -> None:
    table = PAGE.partition("| you send | the answer has |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)`(?:, tech prefix `([^`]+)`)? \| `([^`]+)`", table, re.MULTILINE)
    assert len(rows) == 8
    for sent, prefix, answered in rows:
        assert requested_number(sent).removeprefix(prefix) == answered
