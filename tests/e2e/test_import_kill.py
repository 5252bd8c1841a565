"""``kill -9`` of an import at many moments: the store has the old version or the whole new one, and works."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import statistics
import time
from pathlib import Path

from support.thorough import times

from identengine.book.importer import import_book
from identengine.store.snapshot import Snapshot
from identengine.store.vault import Vault
from identengine.store.versions import Store

MOMENTS = times(50, 15)
ACCOUNTS = 1500
VAULT = Vault.from_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")


def write_book(folder: Path, tag: str) -> Path:
    """Write a book in which every account and every DID differs from those of another tag."""
    folder.mkdir()
    (folder / "clients.csv").write_text("id,name\n1,Alpha\n")
    accounts = ["id,client_id,name,ident_by,ident,orig_tag"]
    accounts += [f"{n},1,account {n},ip,10.0.{n // 250}.{n % 250},{tag}" for n in range(1, ACCOUNTS + 1)]
    (folder / "accounts.csv").write_text("\n".join(accounts) + "\n")
    shift = len(tag)
    dids = [f"4420{n:06d},{(n + shift) % ACCOUNTS + 1}" for n in range(2 * ACCOUNTS)]
    (folder / "dids.csv").write_text("\n".join(["number,account_id", *dids]) + "\n")
    return folder


def print_of(snapshot: Snapshot) -> str:
    """Return a fingerprint of all accounts and DIDs."""
    found = hashlib.sha256()
    for account in snapshot.accounts():
        found.update(repr(account).encode())
    for did in snapshot.dids():
        found.update(repr(did).encode())
    return found.hexdigest()


def import_in_child(path: Path, book: Path, kill_after: float | None) -> tuple[float, bool]:
    """Import ``book`` in a child process. Return its running time in seconds, and True if it finished.

    The time begins when the child opens the store. The parent has its modules loaded and no store open, so that a
    fork costs milliseconds and shares nothing with LMDB.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.write(writing, b"begun")
            with Store.open(path) as store:
                import_book(store, VAULT, book, who="child", yes=True)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    try:
        assert os.read(reading, 5) == b"begun"
        begun = time.perf_counter()
        ended, _, _ = select.select([reading], [], [], kill_after)  # readable: the child closed its end
        took = time.perf_counter() - begun
        if not ended:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return took, False
    assert os.WEXITSTATUS(status) == 0
    return took, True


def print_and_life(path: Path, book: Path) -> tuple[str, float]:
    """Import a book. Return the fingerprint of the new version, and the seconds that the import took."""
    life, _ = import_in_child(path, book, None)
    with Store.open(path) as store, store.read() as snapshot:
        return print_of(snapshot), life


def test_many_moments(tmp_path: Path) -> None:
    path = tmp_path / "store"
    books = [write_book(tmp_path / "a", "a"), write_book(tmp_path / "bb", "bb")]
    small = tmp_path / "small"
    small.mkdir()

    Store.open(path, create=True).close()
    prints, lives = zip(*(print_and_life(path, book) for book in (*books, *books)), strict=True)
    assert prints[:2] == prints[2:]
    assert prints[0] != prints[1]
    life = statistics.median(lives[1:])

    now = 1  # index of the book that is in the store
    old = new = finished = 0
    for moment in range(MOMENTS):
        with Store.open(path) as store:
            head = store.head()
        other = 1 - now
        took, ended = import_in_child(path, books[other], life * (moment + 0.5) / MOMENTS)
        if ended:  # the machine is faster than before
            life = took
        with Store.open(path) as store:
            with store.read() as snapshot:
                found = print_of(snapshot)
                version = snapshot.version
            assert version in (head, head + 1), f"moment {moment}"
            assert found == prints[now if version == head else other], f"moment {moment}"
            assert len(store.versions()) == version
            assert not ended or version == head + 1
            old += version == head
            new += version > head
            finished += ended
            if version > head:
                now = other
            # The next import finds no lock that is held, and no partial version.
            (small / "clients.csv").write_text(f"id,name\n1,After moment {moment}\n")
            assert import_book(store, VAULT, small, who="test").version == version + 1
            with store.read() as snapshot:
                assert print_of(snapshot) == prints[now]
    print(f"an import takes {life * 1000:.0f} ms; old {old}, new {new}, of which {finished} ended before the kill")
    assert old >= MOMENTS // 3

    import_in_child(path, books[1 - now], None)
    with Store.open(path) as store, store.read() as snapshot:
        assert print_of(snapshot) == prints[1 - now]
    leftovers = [entry.name for entry in path.iterdir() if entry.name.startswith(".scratch")]
    assert leftovers == [], "a killed import left files behind"
