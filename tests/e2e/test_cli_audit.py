"""``identengine audit``: filters, the system's user, and the chain of hashes (engine.md 8.4)."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import lmdb
import pytest
from support.cli import demo_store, done, run
from support.oldstores import store_without_a_chain

from identengine.store.format import VERSIONS, number_bytes

NUMBER = "442079460100"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = demo_store(tmp_path_factory.mktemp("audit"))
    done("accounts", "set", 101, "orig_tag=gold", "--who", "Alice", store=store)
    done("dids", "set", NUMBER, "status=blocked", "--who", "bob", store=store)
    done("clients", "block", 5, "--who", "bob", store=store)
    done("accounts", "password", "show", 142, "--who", "Alice", store=store)
    return store


def found(store: Path, *options: object) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = done("audit", *options, "--json", store=store).json
    return entries


def versions(store: Path, *options: object) -> list[object]:
    return [entry["version"] for entry in found(store, *options)]


def test_entries_by_author(store: Path) -> None:
    assert versions(store, "--by", "alice") == [2, None]
    assert versions(store, "--by", "bob") == [3, 4]
    nothing = done("audit", "--by", "carol", store=store)
    assert (nothing.out, nothing.err) == ("", "the audit log has no matching entries\n")


def test_entries_by_version(store: Path) -> None:
    assert versions(store, "--version", 3) == [3]
    assert versions(store, "--version", 3, "--by", "alice") == []
    assert "there is no version 99. The newest is 4." in run("audit", "--version", 99, store=store).err


def test_entries_by_number_in_any_spelling(store: Path) -> None:
    assert versions(store, "--did", NUMBER) == [1, 3]
    assert versions(store, "--did", "+44 20 7946 0100") == [1, 3]
    assert versions(store, "--did", NUMBER, "--version", 3) == [3]
    (entry,) = found(store, "--did", NUMBER, "--by", "bob")
    assert (entry["number"], entry["account"]) == (NUMBER, 101)
    assert versions(store, "--did", NUMBER, "--account", 101) == [1, 3]
    assert versions(store, "--did", NUMBER, "--account", 106) == []
    wrong = run("audit", "--did", "", store=store)
    assert wrong.status == 2
    assert "--did" in wrong.err


def test_entries_by_time(store: Path) -> None:
    at = float(str(found(store, "--version", 3)[0]["at"]))
    assert versions(store, "--since", f"{at - 0.001:.6f}", "--until", f"{at + 0.001:.6f}", "--version", 3) == [3]
    assert versions(store, "--since", "1h", "--by", "bob") == [3, 4]
    assert versions(store, "--since", datetime.now().date(), "--until", datetime.now().date(), "--by", "bob") == [
        3,
        4,
    ]
    assert versions(store, "--until", "1h") == []
    wrong = run("audit", "--since", "1h", "--until", "2h", store=store)
    assert wrong.status == 2
    assert "expected a time after --since" in wrong.err
    wrong = run("audit", "--since", "soon", store=store)
    assert wrong.status == 2
    assert 'expected a time such as 2h, "yesterday 14:00"' in " ".join(wrong.err.split())


def test_rows_name_what_they_are_about(store: Path) -> None:
    by_row = {
        (entry["version"], entry["client"], entry["account"], entry["number"])
        for entry in found(store)
        if entry["version"] != 1
    }
    assert by_row == {(2, 1, 101, None), (3, None, 101, NUMBER), (4, 5, None, None), (None, None, 142, None)}
    shown = done("audit", "--last", 4, store=store).out
    for row in ("account 101", f"did {NUMBER}", "client 5", "account 142"):
        assert row in shown


def test_the_newest_entries_are_the_end_of_the_log(store: Path) -> None:
    everything = found(store)
    for last in (1, 2, 4, 10, len(everything), len(everything) + 5):
        assert found(store, "--last", last) == everything[-last:]


def test_the_system_user_is_recorded(tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    words = ("accounts", "disable", 106, "--who", "free text")
    assert run(*words, store=store, env={"SUDO_USER": "root-s-friend"}).status == 0
    (entry,) = found(store, "--last", 1)
    assert (entry["who"], entry["uid"], entry["sudo_user"]) == ("free text", os.getuid(), "root-s-friend")
    assert versions(store, "--by", "ROOT-S-FRIEND") == [2]
    assert f"uid {os.getuid()}, sudo by root-s-friend" in done("audit", "--users", "--last", 1, store=store).out


def test_a_log_is_verified(store: Path, tmp_path: Path) -> None:
    said = done("audit", "--verify", store=store)
    assert said.out.startswith("the audit log is intact: 5 rows, newest hash ")
    assert done("audit", "--verify", "--json", store=store).json["intact"] is True
    assert run("audit", "--verify", "--by", "bob", store=store).status == 2
    old = store_without_a_chain(tmp_path / "old")
    said = done("audit", "--verify", store=old)
    assert said.out == "no row of the audit log carries a hash yet. The next change begins the chain.\n"
    done("accounts", "disable", 1, "--term", store=old)
    done("accounts", "set", 1, "notes=x", store=old)
    said = done("audit", "--verify", store=old)
    assert "intact: 1 row," in said.out
    assert said.err == "5 earlier rows carry no hash and cannot be checked.\n"


def test_the_first_broken_row_is_named(tmp_path: Path) -> None:
    store = demo_store(tmp_path)
    for tag in "abc":
        done("accounts", "set", 101, f"orig_tag={tag}", store=store)
    with lmdb.open(str(store)) as env, env.begin(write=True) as txn:
        assert txn.delete(VERSIONS + number_bytes(3))
    broken = run("audit", "--verify", store=store)
    assert (broken.status, broken.out) == (1, "the audit log is broken at version 3: it is missing\n")
    assert broken.err == "The rows before it are intact.\n"
    found = run("audit", "--verify", "--json", store=store)
    assert (found.status, found.json["broken"]["version"], found.json["chained"]) == (1, 3, 2)
