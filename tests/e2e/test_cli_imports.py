"""Imports on the command line: the fields that change, rows that stay closed, and ranges of DIDs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import demo_store, done, run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


def test_import_names_changed_rows_and_shows_their_fields(tmp_path: Path, store: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "clients.csv").write_text("id,name\n5,Five\n6,Six\n")
    said = done("import", bare, "--dry-run", store=store)
    assert "  changed: 2 (5, 6)" in said.out.splitlines()
    assert "the file has no such column" not in said.err
    assert any(
        line.split() == ["client", "changed", "6", "name", *line.split()[4:-1], "Six"]
        for line in said.out.splitlines()
    )
    found = done("import", bare, "--dry-run", "--json", store=store).json
    assert [list(change["fields"]) for change in found["changes"]] == [["name"], ["name"]]
    assert done("import", bare, "--json", store=store).json["clients"]["changed"] == {"first": [5, 6], "total": 2}


def test_an_import_leaves_closed_what_a_command_closed(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "exported"
    done("export", folder, store=store)
    account = done("accounts", "list", "--json", store=store).json[0]["id"]
    done("accounts", "disable", account, store=store)
    said = done("import", folder, store=store)
    assert f"left closed: account {account}: orig_enabled" in said.out
    assert "nothing to change" in said.out
    assert "Repeat with --reopen" in said.err
    found = done("import", folder, "--reopen", "--json", store=store).json
    assert {one["key"] for one in found["loosens"]} == {account}
    assert found["held_closed"] == []


def test_a_range_of_dids_on_the_command_line(store: Path) -> None:
    span = "+44 20 7946 0950-+44 20 7946 0959"
    account = done("accounts", "list", "--json", store=store).json[0]["id"]
    assert (
        len(done("dids", "add", f"number={span}", f"account_id={account}", "--json", store=store).json["changes"])
        == 10
    )
    assert len(done("dids", "show", span, "--json", store=store).json) == 10
    done("dids", "set", span, "status=on_hold", store=store)
    assert {one["status"] for one in done("dids", "show", span, "--json", store=store).json} == {"on_hold"}
    done("dids", "remove", span, "--yes", store=store)
    assert run("dids", "show", span, store=store).status == 1
