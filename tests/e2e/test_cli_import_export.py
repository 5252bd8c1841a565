"""``identengine import``, ``export`` and ``copy``."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from support.cli import BOOK, config_with, demo_store, done, run

from identengine.store.vault import Vault


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return demo_store(tmp_path)


def book(folder: Path, *, drop: int = 0, **tables: str) -> Path:
    """Return a copy of the demo's book without the last ``drop`` accounts and their DIDs, and with ``files``."""
    target = folder / "book"
    shutil.copytree(BOOK, target)
    if drop:
        lines = (target / "accounts.csv").read_text().splitlines()
        gone = {line.partition(",")[0] for line in lines[-drop:]}
        (target / "accounts.csv").write_text("\n".join(lines[:-drop]) + "\n")
        dids = (target / "dids.csv").read_text().splitlines()
        (target / "dids.csv").write_text("\n".join(line for line in dids if line.split(",")[1] not in gone) + "\n")
    for name, text in tables.items():
        (target / f"{name}.csv").write_text(text)
    return target


def test_import_creates_store_and_key_and_reports_its_changes(tmp_path: Path) -> None:
    store = tmp_path / "new"
    said = done("import", BOOK, store=store)
    assert said.out.splitlines() == ["clients: 28 added", "accounts: 68 added", "dids: 63 added", "version 1"]
    warnings = [line for line in said.err.splitlines() if "accounts.csv:" in line]
    assert len(warnings) == 3  # those of the demo book
    assert said.err.splitlines()[:3] == warnings
    assert all(line.startswith(("error: ", "warning: ")) for line in said.err.splitlines()[3:])  # findings of lint
    key = tmp_path / "new.key"
    assert key.stat().st_mode & 0o777 == 0o600
    again = done("import", BOOK, store=store)
    assert again.out.splitlines()[-1] == "nothing to change"


def test_import_as_json(tmp_path: Path) -> None:
    report = done("import", BOOK, "--json", store=tmp_path / "new").json
    assert (report["version"], report["accounts"]["added"], report["warning_count"]) == (1, 68, 3)


def test_dry_run_changes_nothing_and_makes_no_store(tmp_path: Path, store: Path) -> None:
    said = done("import", BOOK, "--dry-run", store=tmp_path / "never")
    assert said.out.splitlines()[-1] == "dry run: nothing was changed"
    assert "68 added" in said.out
    assert not (tmp_path / "never").exists()
    assert not (tmp_path / "never.key").exists()
    smaller = book(tmp_path, drop=2)
    said = done("import", smaller, "--dry-run", store=store)
    assert "disabled: 2 (213, 214)" in said.out
    assert len(done("versions", "--json", store=store).json) == 1


def test_mistakes_are_all_located_and_nothing_changes(tmp_path: Path, store: Path) -> None:
    broken = book(
        tmp_path,
        clients="id,name,status\n1,Northwind,aktiv\n0,Nobody,\n",
        dids="number,account_id\n+44 20 7946 0999,4711\n",
    )
    said = run("import", broken, store=store)
    assert said.status == 1
    lines = said.err.splitlines()
    assert any(
        line.startswith(f'{broken}/clients.csv:2: status: expected "active" or "blocked", got "aktiv"')
        for line in lines
    )
    assert any(line.startswith(f"{broken}/clients.csv:3: id: ") for line in lines)
    assert any(line.startswith(f"{broken}/dids.csv:2: account_id: no account 4711 ") for line in lines)
    assert lines[-1] == f"{len(lines) - 1} mistakes; nothing was changed"
    assert len(done("versions", "--json", store=store).json) == 1


def test_skip_bad_takes_the_good_rows(tmp_path: Path, store: Path) -> None:
    mixed = book(tmp_path, dids="number,account_id,status\n+44 20 7946 0201,181,gone\n+44 20 7946 0998,181,\n")
    said = done("import", mixed, "--skip-bad", "--yes", store=store)
    assert f"skipped: {mixed}/dids.csv:2: status: expected " in said.err
    assert done("dids", "show", "442079460998", "--json", store=store).json["account_id"] == 181


def test_disabling_many_accounts_needs_yes(tmp_path: Path, store: Path) -> None:
    smaller = book(tmp_path, drop=14)
    said = run("import", smaller, store=store)
    assert said.status == 1
    assert said.err.splitlines()[-1].endswith(" …). Nothing was changed. Repeat with --yes to apply.")
    as_json = run("import", smaller, "--json", store=store)
    assert as_json.status == 1
    assert as_json.json["needs_yes"]
    tried = run("import", smaller, "--dry-run", store=store)
    assert (tried.status, tried.out.splitlines()[-1]) == (1, "dry run: nothing was changed")
    assert tried.err.splitlines()[-1].endswith(" This needs --yes.")
    tried = done("import", smaller, "--dry-run", "--yes", store=store)
    assert (tried.out.splitlines()[-1], "--yes" in tried.err) == ("dry run: nothing was changed", False)
    assert len(done("versions", "--json", store=store).json) == 1
    done("import", smaller, "--yes", store=store)
    assert done("accounts", "show", 214, "--json", store=store).json["term_enabled"] is False


@pytest.mark.parametrize(
    ("missing", "word"), [("keep", "not in the book, kept: 2"), ("remove", "removed: 2 (213, 214)")]
)
def test_missing_accounts(tmp_path: Path, store: Path, missing: str, word: str) -> None:
    assert word in done("import", book(tmp_path, drop=2), "--missing", missing, store=store).out


@pytest.mark.parametrize("options", [(), ("--format", "jsonl"), ("--gz",), ("--format", "jsonl", "--gz")])
def test_export_imports_again_to_the_same_book(tmp_path: Path, store: Path, options: tuple[str, ...]) -> None:
    said = done("export", tmp_path / "out", *options, store=store)
    assert said.out.startswith("version 1: 28 clients, 68 accounts, 63 DIDs\n")
    assert done("import", tmp_path / "out", store=store).out.splitlines()[-1] == "nothing to change"
    again = run("export", tmp_path / "out", *options, store=store)
    assert (again.status, again.out, "--overwrite" in again.err) == (1, "", True)
    done("export", tmp_path / "out", *options, "--overwrite", store=store)


def test_times_have_an_offset(store: Path) -> None:
    done("accounts", "set", 101, "notes=x", store=store)
    for command in (("versions",), ("audit",), ("accounts", "show", 101)):
        said = run(*command, store=store, env={"TZ": "UTC"}).out
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d\b", said)


def test_export_of_an_earlier_version(tmp_path: Path, store: Path) -> None:
    done("accounts", "set", 101, "name=Renamed", store=store)
    files = done("export", tmp_path / "out", "--version", 1, "--json", store=store).json["files"]
    assert "Northwind London," in Path(files["accounts"]).read_text()
    said = run("export", tmp_path / "other", "--version", 9, store=store)
    assert said.status == 1
    assert "9" in said.err


@pytest.mark.parametrize("name", ["copied.mdb", "copied"])
def test_copy_is_a_store_with_its_history(tmp_path: Path, store: Path, name: str) -> None:
    done("accounts", "set", 101, "name=Renamed", store=store)
    done("copy", tmp_path / name, store=store)
    assert [info["version"] for info in done("versions", "--json", store=tmp_path / name).json] == [2, 1]
    assert run("copy", tmp_path / name, store=store).status == 1


def test_rotating_the_key(store: Path, tmp_path: Path) -> None:
    key = tmp_path / "store.key"
    old = key.read_text()
    said = done("key", "rotate", store=store)
    assert said.out.startswith("10 passwords encrypted again") or "passwords encrypted again" in said.out
    assert key.read_text() != old
    assert done("accounts", "password", "show", 161, store=store).out == "resin&needles-3\n"
    new = f"{Vault.from_file(key).key_ids[0]}"
    assert "key rotated" in done("audit", store=store).out
    assert new not in done("audit", store=store).out


def test_rotating_a_key_of_the_environment(store: Path, tmp_path: Path) -> None:
    old = (tmp_path / "store.key").read_text().strip()
    Vault.from_file(tmp_path / "new.key", create=True)
    new = (tmp_path / "new.key").read_text().strip()
    show = ("accounts", "password", "show", 161)
    assert run("key", "rotate", store=store, env={"IDENTENGINE_KEY": f"{new},{old}"}).status == 0
    assert run(*show, store=store, env={"IDENTENGINE_KEY": new}).out == "resin&needles-3\n"
    assert run(*show, store=store, env={"IDENTENGINE_KEY": old}).status == 1


def test_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    store = tmp_path / "nowhere"
    for command in (
        ("accounts", "list"),
        ("clients", "set", 1, "notes=x"),
        ("versions",),
        ("export", tmp_path / "out"),
        ("identify", "src_ip=192.0.2.1"),
        ("accounts", "password", "generate", 1),
    ):
        said = run(*command, store=store)
        assert said.status == 1
        assert f"there is no store at {store}. `identengine init` with the same options" in said.err
        as_json = run(*command, "--json", store=store)
        assert (as_json.status, as_json.out) == (1, "")
        assert "identengine init" in json.loads(as_json.err)["error"]["message"]
    assert not store.exists()


def test_an_import_that_fails_makes_neither_key_nor_store(tmp_path: Path) -> None:
    store = tmp_path / "place" / "store"
    assert run("import", tmp_path / "nowhere", store=store).status == 1
    assert not (tmp_path / "place").exists()
    bad = book(tmp_path, dids="number,account_id\n1,1\n")
    for failing in (("import", bad), ("import", bad, "--json"), ("import", bad, "--dry-run")):
        assert run(*failing, store=store).status == 1
        assert not (tmp_path / "place").exists()


def test_a_dry_run_makes_no_key(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    (good / "clients.csv").write_text("id,name\n1,one\n")
    done("import", good, store=tmp_path / "first")
    (tmp_path / "first.key").unlink()
    done("import", good, "--dry-run", store=tmp_path / "first")
    assert not (tmp_path / "first.key").exists()


def test_a_key_that_another_store_uses_stays_when_an_import_fails(tmp_path: Path) -> None:
    key = tmp_path / "shared.key"
    for name, accounts in (("good", "1,1,a,name,a,secret\n"), ("bad", "1,9,a,name,a,secret\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clients.csv").write_text("id,name\n1,one\n")
        header = "id,client_id,name,ident_by,ident,password\n"
        (tmp_path / name / "accounts.csv").write_text(header + accounts)
    assert run("import", tmp_path / "bad", "--key-file", key, store=tmp_path / "a").status == 1
    assert not key.exists()
    done("import", tmp_path / "good", "--key-file", key, store=tmp_path / "b")
    assert run("import", tmp_path / "bad", "--key-file", key, store=tmp_path / "a").status == 1
    shown = done("accounts", "password", "show", 1, "--key-file", key, store=tmp_path / "b")
    assert "secret" in shown.out


def test_what_was_there_before_stays_when_an_import_fails(tmp_path: Path, store: Path) -> None:
    key = tmp_path / "other.key"
    Vault.from_file(key, create=True)
    assert run("import", tmp_path / "nowhere", "--key-file", key, store=tmp_path / "new").status == 1
    assert key.exists()
    assert run("import", tmp_path / "nowhere", store=store).status == 1
    assert len(done("versions", "--json", store=store).json) == 1
    assert (tmp_path / "store.key").exists()


def test_a_folder_of_other_files_is_no_place_for_a_store(tmp_path: Path) -> None:
    folder = book(tmp_path)
    before = sorted(folder.iterdir())
    for command in (("import", folder), ("accounts", "list"), ("accounts", "password", "generate", 1)):
        said = run(*command, store=folder)
        assert said.status == 1
        files = "accounts.csv, clients.csv, dids.csv"
        assert said.err == (
            f"{folder} is not a store: the folder holds other files ({files}). Choose an empty or new folder.\n"
        )
    assert (sorted(folder.iterdir()), list(tmp_path.glob("*.key"))) == (before, [])
    (tmp_path / "mounted" / "lost+found").mkdir(parents=True)
    done("import", folder, store=tmp_path / "mounted")


def test_mistakes_that_are_not_listed_are_counted(tmp_path: Path, store: Path) -> None:
    rows = "".join(f"{number},\n" for number in range(1, 151))
    said = run("import", book(tmp_path, clients=f"id,name\n{rows}"), store=store)
    assert (said.status, len(said.err.splitlines())) == (1, 101)
    assert said.err.splitlines()[-1] == "150 mistakes, 50 of them not listed; nothing was changed"


def test_who_is_of_at_most_255_characters(store: Path) -> None:
    change = ("accounts", "set", 101, "notes=x", "--who")
    assert run(*change, "x" * 256, store=store).status == 2
    done(*change, "x" * 255, store=store)


def test_a_file_that_is_not_a_store_or_damaged(tmp_path: Path, store: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "data.mdb").write_text("this is no store\n" * 1000)
    data = store / "data.mdb"
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 3])
    for folder in (text, store):
        for command in (("accounts", "list"), ("import", BOOK), ("rollback", 1)):
            said = run(*command, store=folder)
            assert said.status == 1
            assert str(folder) in said.err
            assert "Traceback" not in said.err


def test_the_store_may_be_named_in_three_ways(tmp_path: Path, store: Path) -> None:
    config = config_with(tmp_path, "")
    for said in (
        run("versions", "--json", "--store", store),
        run("versions", "--json", env={"IDENTENGINE_STORE": str(store)}),
        run("versions", "--json", "--config", config),
    ):
        assert [info["version"] for info in said.json] == [1]
    for none in (run("versions"), run("versions", "--store", ""), run("versions", env={"IDENTENGINE_STORE": ""})):
        assert none.status == 2
        assert "--store" in none.err


def test_a_wrong_config_names_every_mistake(tmp_path: Path) -> None:
    config = config_with(tmp_path, '[identify]\nrank = "best"\n[listen]\nudp = ["127.0.0.1"]\n')
    said = run("versions", "--config", config)
    assert said.status == 1
    assert len(said.err.splitlines()) == 2
    as_json = run("serve", "--config", config, "--check", "--json")
    assert as_json.status == 1
    assert len(json.loads(as_json.err)["error"]["problems"]) == 2


NO_TEXT = os.fsdecode(b"\xff")


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("accounts", "password", "set", 142), b"\xff\xfe\n"),
        (("accounts", "show", NO_TEXT), b""),
        (("accounts", "set", 101, f"name={NO_TEXT}"), b""),
        (("accounts", "set", 101, "notes=x", "--who", NO_TEXT), b""),
        (("identify", f"src_ip={NO_TEXT}"), b""),
        (("import", f"nowhere/{NO_TEXT}"), b""),
    ],
)
def test_input_that_is_not_utf_8_is_reported(store: Path, words: tuple[object, ...], stdin: bytes) -> None:
    said = run(*words, store=store, stdin=stdin)
    assert said.status == 1
    assert said.err or said.out
    as_json = run(*words, "--json", store=store, stdin=stdin)
    assert as_json.status == 1
    assert json.loads(as_json.err)["error"]["message"]
    assert len(done("versions", "--json", store=store).json) == 1


def test_serve_checks_a_config(tmp_path: Path) -> None:
    config = config_with(tmp_path, "")
    assert done("serve", "--config", config, "--check").out == f"{config}: no mistakes found\n"
    assert run("serve", "--check").status == 2


@pytest.mark.parametrize(
    "table", ["id,name\nx,Acme\n", "id,nmae\n1,Acme\n", "", '"'], ids=["row", "column", "empty", "quote"]
)
def test_a_first_import_that_fails_leaves_nothing(tmp_path: Path, table: str) -> None:
    book = tmp_path / "book"
    book.mkdir()
    (book / "clients.csv").write_text(table)
    said = run("import", book, store=tmp_path / "deep" / "store")
    assert said.status == 1, said
    assert "Traceback" not in said.err
    assert [found.name for found in tmp_path.iterdir()] == ["book"]


def test_a_first_import_that_fails_keeps_an_existing_folder_and_key(tmp_path: Path) -> None:
    book, store = tmp_path / "book", tmp_path / "store"
    book.mkdir()
    store.mkdir()
    (book / "clients.csv").write_text("id,name\nx,Acme\n")
    assert run("import", book, store=store).status == 1
    assert list(store.iterdir()) == []
    done("init", store=store)
    assert run("import", book, store=store).status == 1
    assert done("versions", store=store).err == (
        "the store has no versions yet. Use `identengine import` to create the first.\n"
    )
    assert (tmp_path / "store.key").exists()


@pytest.mark.parametrize("command", ["accounts", "clients", "dids"])
def test_a_list_of_an_empty_store_names_the_import(tmp_path: Path, command: str) -> None:
    store = tmp_path / "store"
    done("init", store=store)
    listed = done(command, "list", store=store)
    assert listed.err == "the store has no versions yet. Use `identengine import` to create the first.\n"
    assert done(command, "list", "--json", store=store).json == []
