"""Edits of many rows on the command line (interfaces.md 2, "Bulk edits"), with the demo's book."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.books import ip_account, put_rows
from support.cli import demo_store, done, run

from identengine.model.records import Client, Did


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A store with 150 accounts of client 1 and 300 DIDs of account 1."""
    accounts = [ip_account(one, f"10.0.0.{one}") for one in range(1, 151)]
    dids = [Did(number=f"4420794{number:05}", account_id=1) for number in range(300)]
    clients = [Client(id=1, name="one"), Client(id=2, name="two")]
    put_rows(tmp_path / "store", clients=clients, accounts=accounts, dids=dids)
    return tmp_path / "store"


def versions(store: Path) -> int:
    return len(done("versions", "--json", store=store).json)


def account(store: Path, key: object) -> dict[str, Any]:
    shown: dict[str, Any] = done("accounts", "show", key, "--json", store=store).json
    return shown


def test_several_accounts_are_one_version_with_an_audit_entry_each(store: Path) -> None:
    said = done("accounts", "set", 101, "Northwind London premium", 101, "orig_tag=gold", "notes=a=b", store=store)
    assert said.out.splitlines()[0] == "version 2"
    assert (account(store, 101)["orig_tag"], account(store, 102)["notes"]) == ("gold", "a=b")
    assert versions(store) == 2
    for key in (101, 102):
        (entry,) = [
            one for one in done("audit", "--account", key, "--json", store=store).json if one["version"] == 2
        ]
        assert entry["what"] == "accounts set 101, Northwind London premium, 101"


def test_filters_select_the_accounts_of_every_edit(store: Path) -> None:
    of_client = {one["id"] for one in done("accounts", "list", "--client", 1, "--json", store=store).json}
    changed = done(
        "accounts", "set", "--client", 1, "--status", "enabled", "orig_capacity=9", "--json", store=store
    )
    assert {one["key"] for one in changed.json["changes"]} == of_client - {107}
    disabled = done("accounts", "disable", "--client", 1, "--json", store=store).json
    assert {one["change"] for one in disabled["changes"]} == {"disabled"}
    enabled = done("accounts", "enable", "--client", 1, "--json", store=store).json
    assert {one["field"] for one in enabled["loosens"]} == {"orig_enabled"}
    assert versions(store) == 4
    (first,) = [one for one in done("versions", "--json", store=store).json if one["version"] == 2]
    assert first["what"] == "accounts set --client 1 --status enabled"


@pytest.mark.parametrize(
    "command",
    [
        ("accounts", "set", "orig_tag=x"),
        ("accounts", "enable"),
        ("accounts", "disable"),
        ("accounts", "remove", "--yes"),
        ("accounts", "password", "generate"),
        ("accounts", "password", "clear"),
        ("clients", "set", "notes=x"),
        ("clients", "block"),
        ("clients", "unblock"),
        ("clients", "remove"),
        ("dids", "set", "status=active"),
        ("dids", "remove"),
    ],
)
def test_neither_rows_nor_filters_is_wrong_usage(store: Path, command: tuple[str, ...]) -> None:
    said = run(*command, store=store, env={"COLUMNS": "200"})
    assert said.status == 2
    assert "got neither" in said.err
    assert versions(store) == 1


def test_rows_with_filters_and_filters_without_a_value_are_wrong_usage(store: Path) -> None:
    both = run("accounts", "disable", 101, "--tag", "gold", store=store, env={"COLUMNS": "200"})
    assert both.status == 2
    assert "got both: 101 and --tag gold" in both.err
    empty = run("accounts", "disable", "--tag", "", store=store, env={"COLUMNS": "200"})
    assert empty.status == 2, "the unset variable of a script selects no rows"
    assert 'expected a value, got ""' in empty.err


def test_no_match_changes_nothing(store: Path) -> None:
    said = run("accounts", "set", "--tag", "nothing has this", "orig_tag=x", store=store)
    assert (said.status, said.out, said.err) == (1, "", "no account matches. Nothing was changed.\n")


def test_all_unknown_rows_are_listed_at_once(store: Path) -> None:
    said = run("accounts", "set", 101, 9999, "no such", "orig_tag", "orig_tag=x", store=store)
    assert said.status == 1
    lines = said.err.splitlines()
    assert lines[0].startswith("command line: no account 9999 in the book; did you mean ")
    assert lines[1:] == [
        'command line: no account "no such" in the book',
        'command line: no account "orig_tag" in the book',
        "3 mistakes; nothing was changed",
    ]
    as_json = run("accounts", "set", 101, 9999, "no such", "orig_tag=x", "--json", store=store)
    assert json.loads(as_json.err)["error"]["total"] == 2
    numbers = run("dids", "set", "442079460200-442079460207", "status=active", store=store)
    assert "command line: no DID 442079460200 in the book" in numbers.err
    assert "command line: no DID 442079460207 in the book" in numbers.err


def test_a_name_may_have_an_equals_sign(store: Path) -> None:
    done("accounts", "set", 103, "name=a=b", store=store)
    assert "account 103 changed" in done("accounts", "set", "a=b", 102, "orig_tag=x", store=store).out
    said = run("accounts", "set", "a=c", 102, "orig_tag=x", store=store, env={"COLUMNS": "200"})
    assert said.status == 2
    assert "a: no such column" in said.err


def test_rows_come_before_columns(store: Path) -> None:
    """An account after the columns may be the end of a value that should be quoted."""
    said = run("accounts", "set", 101, "notes=see", "102", store=store, env={"COLUMNS": "300"})
    assert said.status == 2
    assert (
        'expected COLUMN=VALUE, for example name=Acme, got "102". Write a value with blanks in quotes.' in said.err
    )


def test_mistakes_that_all_rows_have_are_told_once(store: Path) -> None:
    said = run("accounts", "set", 101, 102, "orig_capacity=many", "id=7", store=store)
    assert said.status == 1
    lines = said.err.splitlines()
    assert lines[0].startswith("command line: orig_capacity: expected a whole number")
    assert lines[1:] == [
        "account 101: id: the id cannot be changed from 101 to 7",
        "account 102: id: the id cannot be changed from 102 to 7",
        "3 mistakes; nothing was changed",
    ]


def test_over_a_hundred_rows_need_yes(many: Path) -> None:
    asked = run("accounts", "set", "--client", 1, "orig_tag=x", store=many)
    assert asked.status == 1
    assert "account 1 would be changed" in asked.out
    assert asked.err.splitlines()[-1] == (
        "This would change 150 accounts (1, 2, 3, 4, 5, …). Nothing was changed. Repeat with --yes to apply."
    )
    as_json = run("accounts", "set", "--client", 1, "orig_tag=x", "--json", store=many)
    assert (as_json.status, as_json.json["needs_yes"], as_json.json["version"]) == (1, True, None)
    assert len(as_json.json["changes"]) == 150
    named = [str(one) for one in range(1, 102)]
    assert run("accounts", "disable", *named, store=many).status == 1
    assert versions(many) == 1
    done("accounts", "disable", *named[:100], store=many)
    said = done("accounts", "set", "--client", 1, "orig_tag=x", "--yes", store=many)
    assert said.out.splitlines()[0] == "version 3: 150 accounts changed"
    assert said.err == "and 140 rows more. `identengine diff 2 3` shows all.\n"


@pytest.mark.parametrize(
    "selection", [("--account", "1"), ("--number", "4420794"), ("442079400000-442079400299",)]
)
def test_moving_dids_is_one_command(many: Path, selection: tuple[str, ...]) -> None:
    command = ("dids", "set", *selection, "account_id=account 2")
    tried = done(*command, "--dry-run", store=many)
    assert tried.out.splitlines()[-1] == "dry run: nothing was changed"
    assert tried.err.splitlines()[-1] == (
        "This would change 300 DIDs (442079400000, 442079400001, 442079400002, 442079400003, 442079400004, …). "
        "This needs --yes."
    )
    done(*command, "--yes", store=many)
    assert len(done("dids", "list", "--account", 2, "--json", store=many).json) == 300
    assert versions(many) == 2


def test_a_dry_run_shows_each_field_for_every_edit(store: Path) -> None:
    for command in (
        ("accounts", "set", 101, 102, "orig_tag=x"),
        ("accounts", "add", "client_id=1", "name=x", "ident_by=ip", "ident=192.0.2.200"),
        ("accounts", "disable", 101),
        ("accounts", "enable", 107),
        ("accounts", "remove", 101),
        ("accounts", "password", "generate", 101),
        ("accounts", "password", "clear", 142),
        ("clients", "block", 1),
        ("clients", "unblock", 6),
        ("dids", "set", 442079460201, "status=blocked"),
        ("dids", "remove", 442079460201),
    ):
        tried = done(*command, "--dry-run", store=store)
        assert tried.out.splitlines()[0].split() == ["What", "Key", "Field", "Before", "After"]
        assert tried.out.splitlines()[-1] == "dry run: nothing was changed"
        as_json = done(*command, "--dry-run", "--json", store=store).json
        assert (as_json["version"], as_json["dry_run"]) == (None, True)
        assert as_json["changes"]
        assert "passwords" not in as_json
    assert versions(store) == 1


def test_changes_and_loosening_as_json(store: Path) -> None:
    done("accounts", "set", 101, "orig_capacity=5", "src_policy=reject", store=store)
    changed = done("accounts", "set", 101, "orig_capacity=", "src_policy=allow_any", "--json", store=store).json
    assert changed["changes"] == done("diff", 2, 3, "--json", store=store).json
    assert changed["loosens"] == [
        {"table": "account", "key": 101, "field": "src_policy", "before": "reject", "after": "allow_any"},
        {"table": "account", "key": 101, "field": "orig_capacity", "before": 5, "after": None},
    ]
    done("accounts", "set", 101, "orig_capacity=5", store=store)
    assert (
        'loosens: account 101: orig_capacity "5" -> "6"'
        in done("accounts", "set", 101, "orig_capacity=6", store=store).out
    )


def test_items_of_lists(store: Path) -> None:
    done("accounts", "set", 101, 102, "ident+=192.0.2.99", "gateways+=gw1;gw2", store=store)
    assert account(store, 101)["ident"] == ["192.0.2.10", "192.0.2.99"]
    assert account(store, 102)["gateways"] == ["gw1", "gw2"]
    again = done("accounts", "set", 101, "ident+=192.0.2.99/32", "gateways+=GW1", store=store)
    assert again.out == "nothing to change\n"
    assert 'ident: account 101 has "192.0.2.99" already' in again.err
    assert 'gateways: account 101 has "gw1" already' in again.err
    done("accounts", "set", 101, "ident-=192.0.2.99", store=store)
    some = done("accounts", "set", 101, 102, "ident-=192.0.2.99/32", store=store)
    assert "account 101" not in some.out, "an item that some of the accounts have is no mistake"
    loosened = done("accounts", "set", 101, "gateways-=gw1;gw2", store=store)
    assert 'loosens: account 101: gateways "gw1;gw2" -> not set' in loosened.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((101, "ident-=192.0.2.77"), 'ident: account 101 does not have "192.0.2.77". It has "192.0.2.10".'),
        ((101, "gateways-=gw"), 'gateways: account 101 does not have "gw". It has no gateways.'),
        ((101, 102, "ident-=192.0.2.77"), 'ident: none of the 2 accounts has "192.0.2.77"'),
        ((101, "ident-=192.0.2.10"), '"192.0.2.10" is the last item. Use ident=V to replace it'),
        ((101, "ident+="), 'expected an item after ident+=, got ""'),
        ((101, "ident+=10.1"), "command line: ident: expected an IPv4 address"),
    ],
)
def test_items_that_cannot_be_changed(store: Path, arguments: tuple[object, ...], said: str) -> None:
    result = run("accounts", "set", *arguments, store=store)
    assert result.status == 1
    assert said in result.err
    assert versions(store) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("accounts", "set", 101, "notes+=x"), 'expected notes=VALUE, got "notes+=x" (only ident and gateways'),
        (("accounts", "set", 101, "gateways=a", "gateways+=b"), "expected either a whole list or items"),
        (("accounts", "set", 101, "gateways-=a", "gateways=b"), "expected either a whole list or items"),
        (("clients", "set", 1, "notes+=x"), "only accounts have lists"),
    ],
)
def test_items_of_columns_that_are_no_lists(store: Path, arguments: tuple[object, ...], said: str) -> None:
    result = run(*arguments, store=store, env={"COLUMNS": "300"})
    assert result.status == 2
    assert said in result.err


def test_generated_passwords_are_shown_once(store: Path) -> None:
    shown = done("accounts", "password", "generate", 141, 142, "--json", store=store).json
    assert [(one["account_id"], one["account_name"]) for one in shown["passwords"]] == [
        (141, "Pennyfield Leeds floor 1"),
        (142, "Pennyfield Leeds dialler"),
    ]
    assert "password" not in shown
    for one in shown["passwords"]:
        assert done("accounts", "password", "show", one["account_id"], store=store).out == f"{one['password']}\n"
    table = done("accounts", "password", "generate", "--client", 5, store=store).out.splitlines()
    assert table[0].split() == ["ID", "Account", "Password"]
    assert len(table) == 1 + 3
    only = done("accounts", "password", "generate", 141, "--json", store=store).json
    assert only["password"] == only["passwords"][0]["password"]
    done("accounts", "password", "clear", 141, 142, store=store)
    assert account(store, 142)["password"] is False


def test_an_edit_from_a_file_changes_its_columns_alone(store: Path, tmp_path: Path) -> None:
    before = account(store, 102)
    file = tmp_path / "caps.csv"
    file.write_bytes("sep=;\r\nID;Orig Capacity;client_id\r\n101;7;\r\n102;;Pennyfield Leeds\r\n".encode("utf-16"))
    said = run("accounts", "edit", "--from", file, store=store)
    assert (said.status, said.err.splitlines()[0]) == (1, f"{file}:3: client_id: a value is required")
    file.write_text("ID\tOrig Capacity\tclient_id\n101\t7\t1\n102\t\tPennyfield Leeds\n")
    done("accounts", "edit", "--from", file, store=store)
    assert account(store, 101)["orig_capacity"] == 7
    after = account(store, 102)
    assert after == before | {
        key: after[key] for key in ("client_id", "client_name", "inherited", "resellers", "last_change")
    }
    assert after["client_id"] == 5
    assert done("accounts", "edit", "--from", file, store=store).out == "nothing to change\n"


def test_an_edit_from_a_file_adds_no_rows_and_lists_every_mistake(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "caps.csv"
    file.write_text("id,orig_capacity\n101,7\n999,8\n101,9\nx,1\n,2\n102,many\n")
    said = run("accounts", "edit", "--from", file, store=store)
    assert said.status == 1
    assert said.err.splitlines() == [
        f"{file}:3: id: no account 999 in the book. An edit adds no rows.",
        f"{file}:4: id: 101 is already on line 2",
        f'{file}:5: id: expected the id of an account, got "x"',
        f"{file}:6: id: a value is required",
        f"{file}:7: orig_capacity: expected a whole number from 0 (no calls) up or an empty cell (no limit), "
        'got "many"',
        "5 mistakes; nothing was changed",
    ]
    assert versions(store) == 1


def test_an_edit_from_standard_input(store: Path) -> None:
    rows = '{"id": 101, "gateways": ["a", "b"]}\n{"id": 102, "notes": "x"}\n'
    changed = done("accounts", "edit", "--from", "-", "--json", store=store, stdin=rows).json
    assert [list(one["fields"]) for one in changed["changes"]] == [["gateways"], ["notes"]]
    assert done("clients", "edit", "--from", "-", store=store, stdin="id,capacity\n3,9\n").out.startswith(
        "version 3\n"
    )
    moved = done(
        "dids", "edit", "--from", "-", store=store, stdin="number,account_id\n442079460201-442079460205,182\n"
    )
    assert moved.out.count("changed: account_id") == 5
    said = run("dids", "edit", "--from", "-", store=store, stdin="number,account_id\n442079460201,9999\n")
    assert said.err.splitlines()[0] == "standard input:2: account_id: no account 9999 in the book. Add it first."


def test_passwords_from_a_file(store: Path) -> None:
    done("accounts", "edit", "--from", "-", store=store, stdin="id,password\n141,new one\n142,-\n")
    assert done("accounts", "password", "show", 141, store=store).out == "new one\n"
    assert account(store, 142)["password"] is False


@pytest.mark.parametrize(
    ("content", "said"),
    [("id\n101\n", "expected columns to change next to id, got none"), ("nam,id\nx,101\n", "no such column")],
)
def test_a_file_that_cannot_be_an_edit(store: Path, content: str, said: str) -> None:
    result = run("accounts", "edit", "--from", "-", store=store, stdin=content)
    assert result.status == 1
    assert said in result.err


def test_a_missing_file(store: Path, tmp_path: Path) -> None:
    said = run("accounts", "edit", "--from", tmp_path / "none.csv", store=store)
    assert (said.status, said.err.splitlines()[0]) == (1, f"{tmp_path / 'none.csv'}: no such file")


def test_resellers_change_together(store: Path) -> None:
    """A file may turn a chain of resellers round, and names the clients of a loop."""
    turned = done("clients", "edit", "--from", "-", store=store, stdin="id,parent_id\n3,5\n4,3\n5,\n")
    assert turned.out.count("changed: parent_id") == 2, "client 4 is below client 3 already"
    said = run("clients", "edit", "--from", "-", store=store, stdin="id,parent_id\n5,4\n")
    assert said.err.splitlines()[0] == "standard input:2: parent_id: reseller loop: 5 → 4 → 3 → 5"


def test_a_reseller_is_removed_with_its_clients(store: Path) -> None:
    for number, parent in ((201, ""), (202, "201"), (203, "202")):
        done("clients", "add", f"id={number}", f"name=c{number}", f"parent_id={parent}", store=store)
    said = run("clients", "remove", 201, 202, 3, "--yes", store=store)
    assert said.status == 1
    assert "2 clients of these cannot be removed" in said.err
    done("clients", "remove", 201, 202, 203, "--yes", store=store)
    assert run("clients", "show", 202, store=store).status == 1


def test_what_a_person_closed_by_an_edit_stays_closed(store: Path, tmp_path: Path) -> None:
    book = tmp_path / "book"
    done("export", book, store=store)
    done("accounts", "edit", "--from", "-", store=store, stdin="id,orig_enabled\n101,no\n")
    done("accounts", "disable", "--client", "Pennyfield Leeds", store=store)
    done("clients", "block", 1, 3, store=store)
    held = done("import", book, "--json", store=store).json["held_closed"]
    assert {(one["table"], one["key"]) for one in held} >= {("account", 101), ("account", 141), ("client", 3)}
