"""``identengine versions``, ``diff`` and ``audit``."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import demo_store, done, run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = demo_store(tmp_path)
    done("accounts", "set", 101, "orig_tag=gold", "orig_capacity=7", "--who", "alice", store=store)
    done("accounts", "password", "set", 142, "--who", "bob", store=store, stdin="another one\n")
    done("accounts", "disable", 106, store=store)
    return store


def test_versions(store: Path) -> None:
    lines = done("versions", store=store).out.splitlines()
    assert lines[0].split() == ["Version", "When", "Who", "What", "Clients", "Accounts", "DIDs", "Changes"]
    assert [line.split()[0] for line in lines[1:]] == ["4", "3", "2", "1"]
    assert "alice" in lines[3]
    assert "clients +28, accounts +68, DIDs +63" in lines[4]
    assert [info["version"] for info in done("versions", "--limit", 2, "--json", store=store).json] == [4, 3]


def test_diff_is_field_by_field(store: Path) -> None:
    lines = [line.split() for line in done("diff", 1, 4, store=store).out.splitlines()[1:]]
    assert lines == [
        ["account", "changed", "101", "orig_tag", "wholesale", "gold"],
        ["orig_capacity", "7"],
        ["account", "disabled", "106", "orig_enabled", "true", "false"],
        ["account", "changed", "142", "password", "set", "changed"],
    ]
    (change,) = done("diff", 1, 2, "--json", store=store).json
    assert change == {
        "table": "account",
        "key": 101,
        "change": "changed",
        "fields": {
            "orig_tag": {"before": "wholesale", "after": "gold"},
            "orig_capacity": {"before": None, "after": 7},
        },
    }
    assert len(done("diff", 0, 1, "--json", store=store).json) == 28 + 68 + 63
    same = done("diff", 4, 4, store=store)
    assert (same.out, same.err) == ("", "versions 4 and 4 are equal\n")
    assert run("diff", 1, 99, store=store).status == 1
    assert run("diff", 1, store=store).status == 2


def test_audit(store: Path) -> None:
    log = done("audit", "--account", 101, store=store).out.splitlines()
    assert log[-2].split()[2:] == [
        "alice",
        "2",
        "accounts",
        "set",
        "101",
        "account",
        "101",
        "orig_tag",
        "wholesale",
        "gold",
    ]
    of_client = done("audit", "--client", 5, "--json", store=store).json
    assert {entry["change"]["key"] for entry in of_client if entry["change"]["table"] == "account"} == {
        141,
        142,
        214,
    }
    assert done("audit", "--client", "northwind telecom", "--json", store=store).json == (
        done("audit", "--client", 1, "--json", store=store).json
    )
    assert 'no account "nowhere" in the book' in run("audit", "--account", "nowhere", store=store).err
    newest = done("audit", "--last", 1, "--json", store=store).json
    assert [entry["version"] for entry in newest] == [4]
    done("accounts", "remove", 101, "--yes", store=store)
    removed = done("audit", "--account", 101, "--json", store=store).json
    assert removed[-1]["what"] == "accounts remove 101", "the id of a removed account still selects its entries"
    nothing = done("audit", "--account", 4711, store=store)
    assert (nothing.out, nothing.err) == ("", "the audit log has no matching entries\n")
