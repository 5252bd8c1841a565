"""``identengine revert`` undoes one version (engine.md 8.3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import demo_store, done, run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


def test_revert_undoes_one_version_and_asks_before_it_loosens(store: Path) -> None:
    done("clients", "block", "1", store=store)
    done("clients", "set", "1", "notes=later", store=store)
    said = done("revert", "2", "--dry-run", store=store)
    assert "loosens: client 1: status" in said.out
    assert "dry run: nothing was changed" in said.out
    said = run("revert", "2", store=store)
    assert said.status == 1
    assert said.err.endswith("This loosens 1 field. Nothing was changed. Repeat with --yes to apply.\n")
    found = run("revert", "2", "--json", store=store)
    assert (found.status, found.json["needs_yes"], found.json["version"]) == (1, True, None)
    assert "version 4 reverts version 2" in done("revert", "2", "--yes", store=store).out
    assert done("clients", "show", "1", "--json", store=store).json["status"] == "active"
    assert "nothing to change" in done("revert", "2", store=store).out


def test_a_field_that_changed_again_is_named(store: Path) -> None:
    done("clients", "set", "1", "notes=one", store=store)
    done("clients", "set", "1", "notes=two", store=store)
    found = done("revert", "2", "--json", store=store).json
    assert [(one["field"], one["before"]) for one in found["left"]] == [("notes", "two")]
    assert run("revert", "9", store=store).status == 1
