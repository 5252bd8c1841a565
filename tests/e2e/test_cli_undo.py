"""``identengine revert`` and ``rollback`` undo changes (engine.md 8.3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import BOOK, demo_store, done, run


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


@pytest.fixture
def edited(store: Path) -> Path:
    done("accounts", "set", 101, "orig_tag=gold", "orig_capacity=7", store=store)
    done("accounts", "password", "set", 142, store=store, stdin="another one\n")
    done("accounts", "disable", 106, store=store)
    return store


def test_rollback_asks_before_it_loosens(edited: Path) -> None:
    refused = run("rollback", 1, store=edited)
    assert refused.status == 1
    assert [line.split() for line in refused.out.splitlines()[1:4]] == [
        ["account", "changed", "101", "orig_tag", "gold", "wholesale"],
        ["orig_capacity", "7"],
        ["account", "changed", "106", "orig_enabled", "false", "true"],
    ]
    assert refused.out.splitlines()[4:] == [
        'loosens: account 101: orig_capacity "7" -> not set',
        'loosens: account 106: orig_enabled "false" -> "true"',
    ]
    assert refused.err == "This loosens 2 fields. Nothing was changed. Repeat with --yes to apply.\n"
    dry = done("rollback", 1, "--dry-run", store=edited)
    assert dry.out == refused.out + "dry run: nothing was changed\n"
    assert dry.err == "This loosens 2 fields. This needs --yes.\n"
    assert len(done("versions", "--json", store=edited).json) == 4
    said = done("rollback", 1, "--yes", store=edited)
    assert said.out.endswith("version 5 restores version 1: accounts ~2\n")
    (password,) = done("diff", 1, 5, "--json", store=edited).json
    assert (password["key"], list(password["fields"])) == (142, ["password"])


def test_rollback_restores_passwords_if_asked_to(edited: Path) -> None:
    assert "accounts ~3" in done("rollback", 1, "--passwords", "--yes", store=edited).out
    assert done("diff", 1, 5, "--json", store=edited).json == []
    assert done("rollback", 1, store=edited).out == "nothing to change\n"
    found = done("rollback", 1, "--json", store=edited).json
    assert (found["version"], found["changes"]) == (None, [])
    found = done("rollback", 4, "--json", store=edited).json
    assert (found["version"], found["what"], found["account_changes"]["changed"]) == (
        6,
        "rollback to version 4",
        2,
    )
    assert run("rollback", 99, store=edited).status == 1
    assert run("rollback", 0, store=edited).status == 2


def test_rows_that_were_added_are_disabled_kept_or_removed(store: Path) -> None:
    done("clients", "add", "id=900", "name=New", store=store)
    done(
        "accounts", "add", "id=9000", "client_id=900", "name=new", "ident_by=ip", "ident=203.0.113.77", store=store
    )
    done("dids", "add", "number=4420111", "account_id=9000", store=store)
    done("dids", "set", "442079460100", "account_id=9000", store=store)
    head = len(done("versions", "--json", store=store).json)
    refused = run("rollback", 1, "--json", store=store)
    assert (refused.status, refused.json["needs_yes"], refused.json["removes"]) == (1, True, ["did 4420111"])
    assert done("diff", head, head, store=store).out == ""
    found = done("rollback", 1, "--json", "--yes", store=store).json
    assert [(one["table"], one["key"], one["change"]) for one in found["changes"]] == [
        ("account", 9000, "disabled"),
        ("did", "4420111", "removed"),
        ("did", "442079460100", "changed"),
    ]
    left = [(one["table"], one["key"]) for one in done("diff", 1, head + 1, "--json", store=store).json]
    assert left == [("client", 900), ("account", 9000)]
    done("rollback", 1, "--remove", "--yes", store=store)
    assert done("diff", 1, head + 2, "--json", store=store).json == []


def test_revert_of_an_import_gives_the_book_before_it(tmp_path: Path, store: Path) -> None:
    done("clients", "set", "1", "notes=x", store=store)
    done("clients", "block", "2", store=store)
    done("import", BOOK, "--reopen", store=store)
    done("revert", 4, "--remove", "--passwords", "--yes", store=store)
    assert done("diff", 3, 5, "--json", store=store).json == []
    done("revert", 1, "--remove", "--passwords", "--yes", store=store)
    assert done("accounts", "list", "--json", store=store).json == []
    assert done("clients", "list", "--json", store=store).json == []
    done("rollback", 3, "--json", store=store)
    assert done("diff", 3, 7, "--json", store=store).json == []
    restored = done("diff", 6, 7, "--json", store=store).json
    assert {one["change"] for one in restored} == {"added"}


def test_clients_that_are_in_use_stay(store: Path) -> None:
    done("clients", "add", "id=900", "name=New", store=store)
    done("accounts", "set", "101", "client_id=900", store=store)
    found = done("revert", 2, "--remove", "--json", store=store).json
    assert found["version"] is None
    assert {(one["table"], one["key"]) for one in found["left"]} == {("client", 900)}
    said = done("revert", 2, "--remove", store=store)
    assert 'left: client 900: name "New" -> not set' in said.out


def test_a_damaged_store_is_restored_exactly_and_asks_too(store: Path) -> None:
    done("accounts", "set", 101, "orig_tag=gold", store=store)
    done("clients", "add", "id=900", "name=New", store=store)
    data = store / "data.mdb"
    data.write_bytes(data.read_bytes().replace(b"\xa4gold", b"\xa4golf"))
    refused = run("rollback", 1, "--json", store=store)
    assert (refused.status, refused.json["restored"], refused.json["removes"]) == (1, True, ["client 900"])
    assert done("rollback", 1, "--dry-run", store=store).err == (
        "The store is damaged. Only the exact version can be restored: its passwords too, and no later rows.\n"
        "This removes 1 row. This needs --yes.\n"
    )
    assert run("accounts", "show", 101, store=store).status == 1, "nothing was changed"
    assert done("rollback", 1, "--yes", store=store).out.startswith("removes: client 900\nversion 4 restores")
    assert done("diff", 1, 4, "--json", store=store).json == []
