"""docs/reasons.md has each reason of the code with its codes, and no other one."""

from __future__ import annotations

import re

from support import ROOT

from identengine.model.reasons import STANDARD, Reason

PAGE = (ROOT / "docs" / "reasons.md").read_text()
REASONS = sorted(reason.value for reason in Reason)


def test_the_table_has_each_reason_with_its_codes() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\) \| (\d+) \| (\d+) \| (\d+) \| \S", PAGE, re.MULTILINE)
    assert [name for name, *_ in rows] == [reason.value for reason in Reason]
    for name, anchor, sip_code, q850, h323 in rows:
        codes = STANDARD[Reason(name)]
        assert (anchor, int(sip_code), int(q850), int(h323)) == (name, codes.sip_code, codes.q850, codes.h323)


def test_each_reason_has_a_section_with_cause_and_remedy() -> None:
    section = r"^### `(\w+)`\n\n\*\*When:\*\* .*?\n\n\*\*Look at:\*\* "
    sections = re.findall(section, PAGE, re.MULTILINE | re.DOTALL)
    assert sorted(sections) == sorted(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)) == REASONS
