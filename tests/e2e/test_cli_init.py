"""``identengine init``: an empty store and its key; what exists stays as it is."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest
from support.cli import BOOK, config_with, demo_store, done, run

from identengine.store.vault import Vault

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
NOT_ROOT = 65534


def test_an_empty_store_and_its_key_are_created_and_named(tmp_path: Path) -> None:
    store, key = tmp_path / "new" / "store", tmp_path / "new" / "store.key"
    result = done("init", store=store)
    assert result.out == f"created an empty store: {store}\ncreated its key file: {key}\n"
    assert key.stat().st_mode & 0o777 == 0o600
    assert done("versions", "--json", store=store).json == []
    done("clients", "add", "id=1", "name=Customer", store=store)
    assert len(done("versions", "--json", store=store).json) == 1


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    store, key = demo_store(tmp_path), tmp_path / "store.key"
    before = (key.read_bytes(), (store / "data.mdb").read_bytes())
    result = done("init", store=store)
    assert result.out == f"the store exists: {store}\nits key file exists: {key}\n"
    assert (key.read_bytes(), (store / "data.mdb").read_bytes()) == before
    assert done("init", "--json", store=store).json == {
        "store": str(store),
        "store_created": False,
        "key_file": str(key),
        "key_created": False,
        "warnings": [],
    }


def test_an_existing_key_becomes_the_key_of_a_new_store(tmp_path: Path) -> None:
    store, key = tmp_path / "store", tmp_path / "store.key"
    Vault.from_file(key, create=True)
    before = key.read_bytes()
    assert "its key file exists" in done("init", store=store).out
    assert key.read_bytes() == before


def test_a_key_that_cannot_be_used_leaves_no_store_behind(tmp_path: Path) -> None:
    store, key = tmp_path / "store", tmp_path / "store.key"
    for content, mode, message in ((b"nonsense\n", 0o600, "line 1"), (b"", 0o644, "chmod 600")):
        key.write_bytes(content)
        key.chmod(mode)
        result = run("init", store=store)
        assert result.status == 1
        assert message in result.err
        assert key.read_bytes() == content
        assert not store.exists()
        key.unlink()


def test_a_store_without_its_key_gets_a_new_one_only_if_no_password_needs_the_old_one(tmp_path: Path) -> None:
    store, key = tmp_path / "empty", tmp_path / "empty.key"
    done("init", store=store)
    key.unlink()
    assert f"created its key file: {key}" in done("init", store=store).out
    store, key = demo_store(tmp_path), tmp_path / "store.key"
    key.unlink()
    result = run("init", store=store)
    assert result.status == 1
    assert f"the key file {key}" in result.err
    assert "restore it" in result.err
    assert not key.exists()


def test_a_folder_of_other_files_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "book"
    shutil.copytree(BOOK, folder)
    before = sorted(folder.iterdir())
    result = run("init", store=folder)
    assert (result.status, result.out) == (1, "")
    assert f"{folder} is not a store: the folder holds other files" in result.err
    assert (sorted(folder.iterdir()), list(tmp_path.glob("*.key"))) == (before, [])


def test_the_key_may_be_in_the_folder_of_the_store(tmp_path: Path) -> None:
    store = tmp_path / "volume"
    for _ in range(2):
        done("init", "--key-file", store / "key", store=store)
    assert (store / "key").exists()
    done("import", BOOK, "--key-file", store / "key", store=store)


def test_a_file_in_the_place_of_the_store_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a note")
    assert run("init", store=tmp_path / "store").status == 1
    assert (tmp_path / "store").read_text() == "a note"


def test_the_config_names_store_and_key(tmp_path: Path) -> None:
    config = tmp_path / "identengine.toml"
    config.write_text('[store]\npath = "book"\nkey_file = "keys/key"\n')
    result = done("init", "--config", config)
    assert f"created an empty store: {tmp_path / 'book'}\n" in result.out
    assert f"created its key file: {tmp_path / 'keys' / 'key'}\n" in result.out


def test_a_key_in_the_environment_makes_no_file(tmp_path: Path) -> None:
    source = tmp_path / "source.key"
    Vault.from_file(source, create=True)
    keys = {"IDENTENGINE_KEY": source.read_text().strip()}
    result = run("init", store=tmp_path / "store", env=keys)
    assert (result.status, result.out.splitlines()[1]) == (0, "its key comes from $IDENTENGINE_KEY")
    config = config_with(tmp_path, 'key = { env = "BOOK_KEY" }\n')
    result = run("init", "--config", config, env={"BOOK_KEY": keys["IDENTENGINE_KEY"]})
    assert result.out == f"the store exists: {tmp_path / 'store'}\nits key comes from the config ([store] key)\n"
    assert run("init", store=tmp_path / "other", env={"IDENTENGINE_KEY": "no key"}).status == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["identengine.toml", "source.key", "store"]


@AS_ROOT
def test_root_creates_both_for_the_owner_of_the_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOT_ROOT, NOT_ROOT)
    for folder in (tmp_path, *tmp_path.parents[:3]):  # pytest's folders are closed to others
        if folder.stat().st_uid == os.getuid() and folder.name:
            folder.chmod(folder.stat().st_mode | 0o011)
    result = done("init", "--key-file", tmp_path / "etc" / "key", store=home / "store")
    assert result.err == ""
    for path in (home / "store", home / "store" / "data.mdb", tmp_path / "etc" / "key"):
        assert (path.stat().st_uid, path.stat().st_gid) == (NOT_ROOT, NOT_ROOT)
    assert os.geteuid() == 0


@AS_ROOT
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_without_the_rights_nothing_is_created(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode)
    for above in (tmp_path, *tmp_path.parents[:3]):
        if above.stat().st_uid == os.getuid() and above.name:
            above.chmod(above.stat().st_mode | 0o011)
    run("init", store=tmp_path / "first")  # imports what a user without rights may not read
    os.seteuid(NOT_ROOT)
    try:
        result = run("init", store=folder / "store")
    finally:
        os.seteuid(0)
    assert (result.status, result.out) == (1, "")
    assert str(folder / "store") in result.err
    assert "Permission denied" in result.err
    assert list(folder.iterdir()) == []


@AS_ROOT
def test_root_is_warned_of_files_that_a_server_cannot_read(tmp_path: Path) -> None:
    assert "belong to root" in run("init", store=tmp_path / "store").err
    os.chown(tmp_path / "store.key", NOT_ROOT, NOT_ROOT)
    name = pwd.getpwuid(NOT_ROOT).pw_name
    (warning,) = done("init", "--json", store=tmp_path / "store").json["warnings"]
    assert warning.startswith(f"the store belongs to root, its key file to {name}.")
