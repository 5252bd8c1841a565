"""New versions of the book under load, and stores that are missing or damaged."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.books import ip_account, put_rows
from support.processes import reaped
from support.server import Server, serving
from support.switch import request
from support.versions import CLIENT, GOOD, accounts_of, looks_again, still_serves
from support.waiting import wait_for

from identengine.errors import StoreError
from identengine.model.records import Account, Client, Did, IdentBy, SrcPolicy
from identengine.store.vault import Vault, default_key_file
from identengine.store.versions import Store


class Caller:
    """Sends some thousand requests a second over UDP and keeps the answers."""

    def __init__(self, server: Server, count: int) -> None:
        self.asked = 0
        self.answers: list[dict[str, Any]] = []
        self.slowest = 0.0
        self._server = server
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def has_met(self, version: int) -> bool:
        """Return True if the last answer was decided by a version."""
        return bool(self.answers) and self.answers[-1]["result"]["version"] == version

    def _run(self) -> None:
        with self._server.udp() as udp:
            while not self._stop.is_set():
                began = time.perf_counter()
                for _ in range(8):
                    self.asked += 1
                    n = self.asked * 7919 % self._count + 1
                    source = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
                    udp.send(request("authorize", n, src_ip=source, dst_number="44"))
                for _ in range(8):
                    self.answers.append(udp.receive())
                self.slowest = max(self.slowest, time.perf_counter() - began)
                time.sleep(0.002)  # leaves time for the server, which shares the machine with the tests


def serves_version(server: Server, version: int) -> bool:
    return server.version() == version


def test_a_new_version_is_served_within_a_second_and_nothing_is_lost_or_misanswered(tmp_path: Path) -> None:
    count = 10_000
    put_rows(tmp_path / "store", accounts_of(1, count), [CLIENT])
    with serving(tmp_path) as server:
        taken: list[float] = []
        with Caller(server, count) as caller:
            # The limit is a second. The machine may be busy with other tests, so one load of a few must meet it.
            while not taken or (min(taken) > 1.0 and len(taken) < 5):
                version = put_rows(tmp_path / "store", accounts_of(len(taken) + 2, count))
                committed = time.monotonic()
                wait_for(partial(serves_version, server, version))
                taken.append(time.monotonic() - committed)
                wait_for(partial(caller.has_met, version))
        print(f"loaded after {taken} s, slowest answer {caller.slowest * 1000:.1f} ms, {caller.asked} requests")
        assert len(caller.answers) == caller.asked
        seen = []
        for answer in caller.answers:
            result = answer["result"]
            assert result["account_id"] == answer["id"]
            assert result["tag"] == f"v{result['version']}"
            seen.append(result["version"])
        assert seen == sorted(seen)
        assert set(seen) == set(range(1, len(taken) + 2))
        assert min(taken) < 3.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    put_rows(tmp_path / "store", accounts_of(1, 50), [CLIENT])
    with serving(tmp_path) as server:
        yield server


def data_of(server: Server) -> Path:
    return server.store / "data.mdb"


@pytest.mark.parametrize("size", [0, 100, 4096, 12288])
def test_a_store_that_is_cut_off(served: Server, size: int) -> None:
    kept = data_of(served).read_bytes()
    os.truncate(data_of(served), size)
    served.logged("ALARM")
    still_serves(served)
    # After the repair, the server follows the store again.
    data_of(served).write_bytes(kept)
    served.logged("the alarm about the book is over")
    assert put_rows(served.store, accounts_of(2, 50)) == 2
    wait_for(lambda: served.version() == 2)


def test_a_store_overwritten_by_garbage(served: Server) -> None:
    data_of(served).write_bytes(os.urandom(200_000))
    served.logged("ALARM")
    still_serves(served)


def test_pages_overwritten_by_garbage(served: Server) -> None:
    size = data_of(served).stat().st_size
    with data_of(served).open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))
    served.logged("ALARM")
    still_serves(served)


def test_a_store_that_disappears_and_returns(served: Server) -> None:
    moved = served.folder / "moved"
    served.store.rename(moved)
    served.logged("there is no store")
    still_serves(served)
    moved.rename(served.store)
    served.logged("the alarm about the book is over")


def test_rows_that_are_damaged_raise_an_alarm(served: Server) -> None:
    content = data_of(served).read_bytes()
    assert b"10.0.0.1" in content
    other = served.folder / "damaged"
    other.write_bytes(content.replace(b"10.0.0.1", b"10.0.0.x"))
    other.replace(data_of(served))
    put_rows(served.store, clients=[Client(id=51, name="c")])  # the new version has damaged rows
    served.logged("account 1 as written by version 1 does not match its checksum")
    assert served.log.count("ALARM") == 1
    still_serves(served)
    with pytest.raises(StoreError, match="the store is damaged: account 1 "):
        put_rows(served.store, accounts_of(3, 50))
    other.write_bytes(content)
    other.replace(data_of(served))
    put_rows(served.store, accounts_of(3, 50))
    wait_for(lambda: served.version() == 2)
    served.logged("the alarm about the book is over")


def test_a_chain_of_resellers_that_is_too_deep_raises_an_alarm(served: Server) -> None:
    """An older program has accepted it."""
    version = served.version()
    clients = [Client(id=n, name="c", parent_id=n + 1 if n < 133 else None) for n in range(101, 134)]
    put_rows(served.store, [ip_account(77, "10.9.9.9", client_id=101)], clients)
    served.logged("account 77: expected a chain of at most 32 clients, got more (101 → 102 →")
    assert served.version() == version
    assert served.authorize(src_ip="10.9.9.9", dst_number="44")["reason"] == "unknown_source"
    put_rows(served.store, clients=[Client(id=110, name="c")])
    wait_for(lambda: served.authorize(src_ip="10.9.9.9", dst_number="44")["accepted"])


def test_an_alarm_is_logged_once(served: Server) -> None:
    for content in (b"x" * 5000, b"y" * 5000):
        data_of(served).write_bytes(content)
        served.logged("ALARM")
        looks_again(served, 3)
    assert served.log.count("ALARM") == 1


def test_no_store_yet(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert "no book yet: calls are rejected as not_ready" in server.lines
        assert server.version() is None
        assert server.authorize(**GOOD)["reason"] == "not_ready"
        server.logged("there is no store")
        put_rows(tmp_path / "store", accounts_of(1, 5), [CLIENT])
        wait_for(lambda: server.version() == 1)
        assert server.authorize(**GOOD)["account_id"] == 1


def test_audit_notes_make_no_new_book(served: Server) -> None:
    before = reaped(served.decider)
    with Store.open(served.store) as store:
        store.note("test", "looked")
    wait_for(lambda: reaped(served.decider) > before)  # the server has read the store
    still_serves(served)
    # An effect of the notes would be in the log before the next version.
    put_rows(served.store, accounts_of(2, 50))
    served.logged("book version 2 is in use")
    assert served.log.count("is in use") == 2


def test_rows_of_all_kinds_arrive(tmp_path: Path) -> None:
    clients = [Client(id=1, name="one", rate_table="r1"), Client(id=2, name="two", parent_id=1)]
    accounts = [
        ip_account(5, "10.0.0.5", client_id=2, src_policy=SrcPolicy.REJECT, notes="n" * 5000),
        Account(id=6, client_id=2, name="ani", ident_by=IdentBy.ANI, ident=("442070001",)),
    ]
    dids = [Did(number=number, account_id=5) for number in ("4420", "0044210", "*77")]
    put_rows(tmp_path / "store", accounts, clients, dids)
    with serving(tmp_path, '[identify]\ninternational_prefixes = ["00"]') as server:
        for shown in ("4420", "004420", "44210", "*77"):
            result = server.authorize(src_ip="10.0.0.5", src_number=shown, dst_number="1")
            assert result["accepted"], result
            assert result["rate_table"] == "r1"
        result = server.authorize(src_ip="10.0.0.5", src_number="4421", dst_number="1")
        assert result["reason"] == "src_not_allowed"
        assert server.authorize(src_ip="10.0.0.6", src_number="00442070001", dst_number="1")["account_id"] == 6


def named(vault: Vault, password: str) -> Account:
    return Account(
        id=9, client_id=1, name="nine", ident_by=IdentBy.NAME, ident=("acme",), password=vault.encrypt(password)
    )


def test_passwords_and_their_keys(tmp_path: Path) -> None:
    key_file = default_key_file(tmp_path / "store")
    vault = Vault.from_file(key_file, create=True)
    put_rows(tmp_path / "store", [named(vault, "first"), ip_account(1, "10.0.0.1")], [CLIENT])
    hidden = tmp_path / "hidden"
    key_file.rename(hidden)
    with serving(tmp_path) as server:

        def reason(password: str) -> str | None:
            result = server.authorize(name="acme", password=password, dst_number="1")
            assert result["accepted"] != ("reason" in result)
            found: str | None = result.get("reason")
            return found

        server.logged("store.key is missing")
        assert reason("first") == "internal_error"
        assert server.authorize(**GOOD)["account_id"] == 1
        looks_again(server)
        assert "alarm about the book is over" not in server.log
        hidden.rename(key_file)
        wait_for(lambda: reason("first") is None, 30)
        assert reason("wrong") == "bad_password"
        server.logged("the alarm about the book is over")

        # A rotation: first the same version, then a new one under the new key.
        with Store.open(tmp_path / "store") as store:
            store.rotate(key_file)
        assert reason("first") is None
        put_rows(tmp_path / "store", [named(Vault.from_file(key_file), "second")])
        wait_for(lambda: server.version() == 2)
        assert reason("second") is None
        assert reason("first") == "bad_password"


def test_a_wrong_key_raises_an_alarm_and_the_book_is_not_loaded_repeatedly(tmp_path: Path) -> None:
    key_file = default_key_file(tmp_path / "store")
    put_rows(tmp_path / "store", [named(Vault.from_file(key_file, create=True), "first")], [CLIENT])
    right = key_file.read_bytes()
    key_file.unlink()
    Vault.from_file(key_file, create=True)
    with serving(tmp_path) as server:

        def reason() -> object:
            return server.authorize(name="acme", password="first", dst_number="1").get("reason")

        server.logged("under a key that is missing")
        assert reason() == "internal_error"
        looks_again(server, 3)
        assert server.log.count("is in use with") == 1
        # The password of another account is under the new key. Then the correct key is added to the file.
        wrong = key_file.read_bytes()
        key_file.write_bytes(right)
        wait_for(lambda: reason() is None, 30)
        # The key is lost again: the key in memory stays in use, and a book that needs both keys has both.
        key_file.write_bytes(wrong)
        other = msgspec.structs.replace(named(Vault.from_file(key_file), "second"), id=77, ident=("bert",))
        put_rows(tmp_path / "store", [other])
        wait_for(lambda: server.version() == 2)
        assert reason() is None
        assert server.authorize(name="bert", password="second", dst_number="1")["account_id"] == 77
        key_file.unlink()
        server.logged("with the key in its memory only")
        assert reason() is None


def test_a_reader_that_is_killed(served: Server) -> None:
    stop = threading.Event()

    def kill_readers() -> None:
        while not stop.is_set():
            for child in Path(f"/proc/{served.decider}/task/{served.decider}/children").read_text().split():
                if b"identengine.server.decider.bookstream" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_readers)
    killer.start()
    try:
        put_rows(served.store, accounts_of(2, 50))
        served.logged("signal 9 killed its reader")
        still_serves(served)
    finally:
        stop.set()
        killer.join()
    wait_for(lambda: served.version() == 2)
