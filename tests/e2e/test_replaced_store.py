"""Stores in place of the served one: older, different or restored stores, and copies (engine.md 8.2)."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.books import put_rows
from support.server import Server, serving
from support.switch import request
from support.versions import CLIENT, GOOD, accounts_of, looks_again, still_serves
from support.waiting import wait_for

from identengine.store.versions import Store

STANDBY = '[listen]\nstandby = true\nudp = ["127.0.0.1:0"]\ntcp = ["127.0.0.1:0"]\n'


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    put_rows(tmp_path / "store", accounts_of(1, 50), [CLIENT])
    with serving(tmp_path) as server:
        yield server


def test_an_empty_store_does_not_replace_a_book(served: Server) -> None:
    shutil.rmtree(served.store)
    Store.open(served.store, create=True).close()
    served.logged("became empty")
    still_serves(served)


def put_back(served: Server) -> None:
    """Wait for version 2, then put the store as it was at version 1 in its place."""
    older = served.folder / "older"
    shutil.copytree(served.store, older)
    put_rows(served.store, accounts_of(2, 50))
    wait_for(lambda: served.version() == 2)
    shutil.rmtree(served.store)
    older.rename(served.store)
    served.logged("was replaced: its newest version is 1")


def test_an_older_store_does_not_replace_a_book(served: Server) -> None:
    put_back(served)
    still_serves(served, 2)


def test_a_restored_store_stays_refused_after_any_number_of_edits(served: Server) -> None:
    original = served.folder / "original"
    shutil.copytree(served.store, served.folder / "backup")
    put_rows(served.store, accounts_of(2, 50))
    wait_for(lambda: served.version() == 2)
    served.store.rename(original)
    (served.folder / "backup").rename(served.store)
    served.logged("was replaced: its newest version is 1")
    for version in (2, 3, 4):
        assert put_rows(served.store, accounts_of(version + 10, 50)) == version
        served.logged(f"was replaced: its newest version is {version}")
    with Store.open(served.store) as store:
        store.rollback(1, "ann")
    served.logged("was replaced: its newest version is 5")
    assert served.authorize(**GOOD)["tag"] == "v2"
    assert "alarm about the book is over" not in served.log

    # The original store is followed when it is put back, with the edits that were made meanwhile.
    put_rows(original, accounts_of(3, 50))
    served.store.rename(served.folder / "restored")
    original.rename(served.store)
    wait_for(lambda: served.version() == 3)
    assert served.authorize(**GOOD)["tag"] == "v3"
    served.logged("the alarm about the book is over")


def test_a_standby_keeps_the_version_that_it_has_loaded(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", accounts_of(1, 50), [CLIENT])
    with serving(tmp_path, STANDBY, patient=True) as server:
        assert server.standby != server.decider
        server.logged("book version 1 is in use")
        wait_for(lambda: server.log.count("book version 1 is in use") == 2)
        other = tmp_path / "other"
        for version in (1, 2):
            put_rows(other, accounts_of(version + 10, 50), [CLIENT])
        shutil.rmtree(server.store)
        other.rename(server.store)
        wait_for(lambda: server.log.count("was replaced: its newest version is 2") == 2)
        os.kill(server.decider, signal.SIGKILL)
        assert server.ask_udp(request("authorize", 1, **GOOD))["result"]["tag"] == "v1"


@pytest.mark.parametrize("edits", [1, 2, 5])
def test_another_store_is_refused_until_a_restart(served: Server, edits: int) -> None:
    put_rows(served.store, accounts_of(2, 50))
    wait_for(lambda: served.version() == 2)
    other = served.folder / "other"
    for version in range(edits):
        put_rows(other, accounts_of(version + 10, 50), [CLIENT])
    shutil.rmtree(served.store)
    other.rename(served.store)
    served.logged(f"was replaced: its newest version is {edits}")
    put_rows(served.store, accounts_of(20, 50))
    put_rows(served.store, accounts_of(21, 50))
    served.logged(f"was replaced: its newest version is {edits + 2}")
    served.signal(signal.SIGHUP)
    looks_again(served)
    assert served.authorize(**GOOD)["tag"] == "v2"
    served.stop()
    with serving(served.folder) as again:
        assert again.authorize(**GOOD)["tag"] == "v21"


def test_an_empty_store_stays_refused_after_an_import(served: Server) -> None:
    shutil.rmtree(served.store)
    for version in (1, 2):
        assert put_rows(served.store, accounts_of(version + 10, 50), [CLIENT]) == version
    served.logged("was replaced: its newest version is 2")
    still_serves(served)


def test_a_rollback_in_the_served_store_is_a_new_version(served: Server) -> None:
    put_rows(served.store, accounts_of(2, 50))
    with Store.open(served.store) as store:
        assert store.rollback(1, "ann").version == 3
    wait_for(lambda: served.version() == 3)
    assert served.authorize(**GOOD)["tag"] == "v1"


def test_a_copy_put_back_is_the_served_store(served: Server) -> None:
    """A restore onto another disk: the copy has the version that is served, and later versions follow it."""
    with Store.open(served.store, readonly=True) as store:
        store.copy(served.folder / "copy")
    shutil.rmtree(served.store)
    served.logged("there is no store")
    (served.folder / "copy").rename(served.store)
    served.logged("the alarm about the book is over")
    assert put_rows(served.store, accounts_of(2, 50)) == 2
    wait_for(lambda: served.version() == 2)
    assert served.authorize(**GOOD)["tag"] == "v2"


def test_a_copy_in_place_of_the_store(served: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(served.store, other)
    put_rows(other, accounts_of(2, 50))
    with Store.open(other, readonly=True) as store:
        store.copy(tmp_path / "copy.mdb")
    (tmp_path / "copy.mdb").replace(served.store / "data.mdb")
    wait_for(lambda: served.version() == 2)
