"""``identengine store``, and commands on a damaged store."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import demo_store, done, run
from support.oldstores import store_of_format_1


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store with two versions. Only the second has the tag ``goldfish``."""
    store = demo_store(tmp_path)
    done("accounts", "set", 101, "orig_tag=goldfish", store=store)
    return store


def damage(store: Path) -> None:
    data = store / "data.mdb"
    content = data.read_bytes()
    assert content.count(b"goldfish") == 1
    data.write_bytes(content.replace(b"goldfish", b"goldfisi"))


def test_a_sound_store(store: Path) -> None:
    checked = done("store", "check", store=store)
    assert checked.out == f"{store}: no damage found. The newest version is 2.\n"
    assert done("store", "check", "--json", store=store).json == {
        "format": 2,
        "version": 2,
        "damaged": [],
        "newest_sound": 2,
        "damage": [],
        "total": 0,
        "crashed": False,
    }


def test_the_description_of_a_store(store: Path) -> None:
    lines = dict(line.split(maxsplit=1) for line in done("store", "info", store=store).out.splitlines()[:3])
    assert lines == {"Store": str(store), "Format": "2", "Size": f"{(store / 'data.mdb').stat().st_size:,} bytes"}
    described = done("store", "info", "--json", store=store).json
    assert (described["format"], described["newest"]["version"], described["events"]) == (2, 2, 0)
    assert described["bytes"] == (store / "data.mdb").stat().st_size


def test_an_old_store(tmp_path: Path) -> None:
    old = store_of_format_1(tmp_path / "old")
    checked = done("store", "check", store=old)
    assert "no damage found" in checked.out
    assert "format 1 has no checksums" in checked.err
    assert "Format                   1" in done("store", "info", store=old).out
    done("clients", "set", 1, "notes=x", store=old)
    assert "Format                   2" in done("store", "info", store=old).out


def test_no_store(tmp_path: Path) -> None:
    for command in ("check", "info"):
        missing = run("store", command, store=tmp_path / "nothing")
        assert missing.status == 1
        assert "there is no store at" in missing.err
    (tmp_path / "text.mdb").write_text("hello " * 1000)
    assert run("store", "check", store=tmp_path / "text.mdb").status == 1


def test_a_damaged_store(store: Path, tmp_path: Path) -> None:
    damage(store)
    checked = run("store", "check", store=store)
    assert checked.status == 1
    assert "account 101 as written by version 2" in checked.out
    assert "its checksum does not match" in checked.out
    assert "damaged versions: 2" in checked.err
    assert f"`identengine rollback 1 --store {store}` restores it" in checked.err.replace("\n", " ")
    report = run("store", "check", "--json", store=store)
    assert (report.status, report.json["newest_sound"], report.json["damaged"]) == (1, 1, [2])
    assert report.json["damage"][0] == {
        "version": 2,
        "table": "accounts",
        "row": "account 101 as written by version 2",
        "what": "its checksum does not match",
    }
    for command in (
        ["export", tmp_path / "out"],
        ["copy", tmp_path / "copy"],
        ["diff", 1, 2],
        ["rollback", 2],
        ["accounts", "list"],
        ["accounts", "show", 101],
        ["identify", "src_ip=192.0.2.10", "dst_number=1"],
        ["accounts", "set", 101, "orig_tag=silver"],
    ):
        failed = run(*command, store=store)
        assert failed.status == 1, command
        assert "the store is damaged: " in failed.err, command
        assert "Nothing was changed" in failed.err
    assert not (tmp_path / "copy").exists()
    assert not list((tmp_path / "out").iterdir())
    assert "damaged" in done("audit", store=store).out
    assert run("versions", store=store).status == 0

    rolled = done("rollback", 1, store=store)
    assert rolled.out.startswith("version 3 restores version 1: ")
    assert done("accounts", "show", 101, store=store).status == 0
    copied = done("copy", tmp_path / "copy", store=store)
    assert "earlier versions are damaged in the store and the copy: 2" in copied.err
    assert run("store", "check", store=store).status == 1
    assert done("audit", "--last", 1, "--json", store=store).json[0]["version"] == 3
