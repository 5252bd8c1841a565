"""docs/client.md names options of ``load`` that exist. ``test_docs.py`` runs its programs."""

from __future__ import annotations

import re

import pytest
from support import ROOT
from support.cli import run

PAGE = (ROOT / "docs" / "client.md").read_text()


@pytest.mark.parametrize("word", sorted(set(re.findall(r"`(--[a-z-]+)", PAGE))))
def test_its_options_are_those_of_load(word: str) -> None:
    assert word in run("load", "--help", env={"COLUMNS": "300"}).out
