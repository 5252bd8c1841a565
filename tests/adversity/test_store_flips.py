"""Random flips of single bits in the pages of a store: none is silent.

A flip changes nothing that is read, or the reader reports it, or it kills the reader. The process that waits for
the reader reports its death. LMDB prints its failed assertions to standard error.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.books import ip_account
from support.thorough import times

from identengine.errors import StoreError
from identengine.model.records import Client, Did
from identengine.server.decider import bookstream
from identengine.store.draft import Draft
from identengine.store.verify import Report, examine
from identengine.store.versions import Store

PARTS = 4
FLIPS = times(600, 160) // PARTS
PAGE = 4096
FIRST_DATA_PAGE = 2
ACCOUNTS = 300
DIDS = 600

Edit = Callable[[Draft], None]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return the path of a store with eight versions, seven events, and pages that are free."""
    dice = random.Random(8)

    def first(draft: Draft) -> None:
        for n in range(1, 21):
            draft.put_client(Client(id=n, name=f"client {n}"))
        for n in range(1, ACCOUNTS + 1):
            draft.put_account(ip_account(n, f"10.0.{n >> 8}.{n & 255}", client_id=n % 20 + 1))
        for n in range(1, DIDS):
            draft.put_did(Did(number=f"4420{n:06}", account_id=n % ACCOUNTS + 1))

    def later(draft: Draft) -> None:
        for _ in range(60):
            n = dice.randrange(1, ACCOUNTS + 1)
            draft.put_account(ip_account(n, f"10.{draft.version}.{n >> 8}.{n & 255}", client_id=n % 20 + 1))
            draft.put_did(Did(number=f"4420{dice.randrange(1, DIDS):06}", account_id=dice.randrange(1, ACCOUNTS)))
        for _ in range(5):
            draft.delete_account(dice.randrange(1, ACCOUNTS))
            draft.delete_did(f"4420{dice.randrange(1, DIDS):06}")

    path = tmp_path / "store"
    with Store.open(path, create=True) as store:
        store.change("ann", "1", first)
        for version in range(2, 8):
            store.change("ann", str(version), later)
            store.note("ann", "password shown", version)
        store.rollback(4, "bob")
        store.note("ann", "password shown", 1)
    return path


def outcome(work: Callable[[], object]) -> str:
    """Run ``work`` in a child. Return ``= RESULT``, ``error: TEXT`` or the name of the signal that killed it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        text = "uncaught"
        try:
            text = f"= {work()}"
        except StoreError as error:
            text = f"error: {error}"
        finally:
            os.write(writing, text.encode()[: 1 << 16])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return text if not status else signal.Signals(-status).name


def book(path: Path, version: int | None = None) -> str:
    """Return a hash of what the server gets, all but the header."""
    pieces: list[bytes] = []
    bookstream.stream(path, version, (), pieces.append)
    return hashlib.sha256(b"".join(pieces[1:])).hexdigest()


def report(path: Path) -> str:
    with Store.open(path, readonly=True) as store, store._opened().reading() as txn:
        return msgspec.json.encode(examine(txn, store.hash_key)).decode()


def rolled_back(path: Path, version: int) -> int:
    with Store.open(path) as store:
        return store.rollback(version, "cyd").version


def used(path: Path) -> str:
    """Use a repaired store in every way."""
    with Store.open(path) as store:
        store.change("dan", "edit", lambda draft: draft.put_client(Client(id=77, name="new")) and None)
        store.note("dan", "shown", 1)
        assert len(store.versions()) == store.head()
        list(store.audit())
        with store.read() as snapshot:
            snapshot.verify()
    return "used"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_flip_is_silent(made: Path, part: int) -> None:
    data = made / "data.mdb"
    good = data.read_bytes()
    intact, sound = outcome(lambda: book(made)), outcome(lambda: report(made))
    assert intact.startswith("= ")
    assert msgspec.json.decode(sound[2:], type=Report).total == 0
    books = {version: outcome(lambda version=version: book(made, version)) for version in range(1, 9)}  # type: ignore[misc]
    dice = random.Random(9 + part)
    counted: Counter[tuple[str, str]] = Counter()
    for number in range(FLIPS):
        page, offset = dice.randrange(FIRST_DATA_PAGE, len(good) // PAGE), dice.randrange(PAGE)
        if number % 4 == 0:
            offset = dice.randrange(64)  # the header and the places of the rows
        place, bit = page * PAGE + offset, 1 << dice.randrange(8)
        data.write_bytes(good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :])
        loaded, checked = outcome(lambda: book(made)), outcome(lambda: report(made))
        where = f"byte {place}, bit {bit}: {loaded}; {checked}"
        assert loaded == intact or not loaded.startswith("= "), where
        assert "uncaught" not in (loaded, checked), where
        assert loaded == intact or checked != sound, where
        counted[loaded.split()[0].rstrip(":") if loaded != intact else "same", checked[:1]] += 1
        found = msgspec.json.decode(checked[2:], type=Report) if checked.startswith("= ") else None
        if found is not None and found.total and found.newest_sound is not None:
            version = found.newest_sound
            where += f"; rollback to {version}"
            assert outcome(lambda version=version: rolled_back(made, version)).startswith("= "), where  # type: ignore[misc]
            assert outcome(lambda: book(made)) == books[version], where
            assert outcome(lambda: used(made)) == "= used", where
    assert sum(many for (loaded, _), many in counted.items() if loaded == "error") > FLIPS / 20, counted
