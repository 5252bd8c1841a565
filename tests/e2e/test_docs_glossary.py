"""docs/glossary.md has the terms that a newcomer needs, each in one sentence, and none that no page uses."""

from __future__ import annotations

import re

import pytest
from support import ROOT, docs

PAGE = ROOT / "docs" / "glossary.md"
TERMS = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", PAGE.read_text(), re.MULTILINE)[1:])
OTHERS = " ".join(page.read_text() for page in docs.pages() if page != PAGE)
NEEDED = {
    *("account", "ANI", "book", "client", "CPS", "decider", "DID", "DNIS", "gateway", "ident", "lapsed", "lease"),
    *("leg", "mirror", "origination", "overcommit", "reseller", "reserved", "scope", "Src Policy", "standby"),
    *("store", "supervisor", "switch", "tech prefix", "termination", "version"),
}


def test_terms_that_newcomers_meet_are_explained() -> None:
    assert set(TERMS) >= NEEDED
    assert list(TERMS) == sorted(TERMS, key=str.lower)


@pytest.mark.parametrize("term", TERMS)
def test_each_term_is_one_sentence_and_in_use(term: str) -> None:
    assert re.fullmatch(r"[A-Z`].*[^.]\.", TERMS[term])
    assert not re.search(r"\. [A-Z]", TERMS[term])
    assert re.search(rf"\b{re.escape(term)}s?\b", OTHERS, re.IGNORECASE)
