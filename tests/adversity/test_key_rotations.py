"""Concurrent rotations of the passwords' key: in any order, every password stays readable."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from support.books import ip_account

from identengine.model.records import Client
from identengine.store.draft import Draft
from identengine.store.vault import Vault, default_key_file
from identengine.store.versions import Store

ROTATE = """
import sys
from pathlib import Path
from identengine.store.versions import Store
with Store.open(Path(sys.argv[1])) as store:
    store.rotate(Path(sys.argv[2]))
"""
COUNT = 2000


def rotation(store: Path, key_file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", ROTATE, str(store), str(key_file)], stderr=subprocess.DEVNULL)


def test_rotations_that_meet_and_are_interrupted_lose_no_password(tmp_path: Path) -> None:
    path = tmp_path / "store"
    key_file = default_key_file(path)
    vault = Vault.from_file(key_file, create=True)

    def fill(draft: Draft) -> None:
        draft.put_client(Client(id=1, name="c"))
        for number in range(1, COUNT + 1):
            draft.put_account(ip_account(number, "10.0.0.1", password=vault.encrypt(f"secret {number}")))

    with Store.open(path, create=True) as store:
        store.change("test", "fill", fill)
    for delay in (0.15, 0.2, 0.25, 0.3):
        running = [rotation(path, key_file) for _ in range(4)]
        time.sleep(delay)  # some wait, one may be running
        running[1].send_signal(signal.SIGINT)
        running[2].kill()
        for process in running:
            process.wait()
        assert running[0].returncode == running[3].returncode == 0
        now = Vault.from_file(key_file)
        with Store.open(path) as store, store.read() as book:
            assert all(now.decrypt(a.password or "") == f"secret {a.id}" for a in book.accounts())
