"""A rotation of the passwords' key that is killed at any step: no password is lost, and no key stays behind."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.books import ip_account

from identengine.model.records import Client
from identengine.store import file as storefile
from identengine.store import vault as storevault
from identengine.store.draft import Draft
from identengine.store.vault import Vault, default_key_file
from identengine.store.verify import check_store
from identengine.store.versions import Store

STEPS: list[tuple[Any, str]] = [
    (tempfile, "mkstemp"),
    (fcntl, "flock"),
    (os, "fsync"),
    (os, "chown"),
    (Path, "replace"),
    (Path, "unlink"),
    (storevault, "sync_folder"),
    (os, "open"),
    (storefile.Writer, "commit"),
]
"""The calls of a rotation that change the disk or the store."""
PASSWORDS = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    vault = Vault.from_file(default_key_file(path), create=True)

    def fill(draft: Draft) -> None:
        draft.put_client(Client(id=1, name="c"))
        for n in range(1, PASSWORDS + 1):
            draft.put_account(ip_account(n, "10.0.0.1", password=vault.encrypt(f"secret {n}")))

    with Store.open(path, create=True) as store:
        store.change("ann", "1", fill)
    return path


def counted(call: Callable[..., Any], step: list[int], last: int, *, before: bool) -> Callable[..., Any]:
    """Return ``call``, which kills the process before or after the call with the number ``last`` of all steps."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        step[0] += 1
        mine = step[0]
        if mine == last and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **named)
        if mine == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


def killed_rotation(path: Path, last: int, *, before: bool) -> bool:
    """Rotate the key in a child that is killed at a step. Return True if the child had that many steps."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            step = [0]
            with Store.open(path) as store:
                for owner, name in STEPS:
                    setattr(owner, name, counted(getattr(owner, name), step, last, before=before))
                store.rotate(default_key_file(path))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def assert_readable(path: Path) -> None:
    vault = Vault.from_file(default_key_file(path))
    with Store.open(path) as store, store.read() as book:
        assert [vault.decrypt(row.password or "") for row in book.accounts()] == [
            f"secret {n}" for n in range(1, PASSWORDS + 1)
        ]


@pytest.mark.parametrize("before", [True, False])
def test_a_rotation_that_is_killed_leaves_nothing_behind(path: Path, before: bool) -> None:
    key_file = default_key_file(path)
    last = 1
    left = 0
    while killed_rotation(path, last, before=before):
        assert_readable(path)
        left += len(list(path.parent.glob(".store.key-*")))
        with Store.open(path) as store:
            store.rotate(key_file)
        assert len(key_file.read_text().split()) == 1
        assert sorted(found.name for found in path.parent.iterdir()) == ["store", "store.key"]
        assert_readable(path)
        assert check_store(path).total == 0
        last += 1
    assert last > 10
    assert left, "no moment left a temporary file, so that the test shows nothing"


def test_a_temporary_key_file_of_a_living_process_stays(tmp_path: Path) -> None:
    key_file = tmp_path / "store.key"
    other = tmp_path / ".store.key-old-abcd1234"  # that of another key file, `store.key-old`
    other.write_text("x")
    alive = tmp_path / ".store.key-abcd1234"
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Vault.from_file(key_file, create=True)
        assert alive.exists()
    Vault.from_file(key_file).with_new_key().save()
    assert not alive.exists()
    assert other.exists()
