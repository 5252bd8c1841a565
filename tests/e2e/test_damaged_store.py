"""A damaged store under a running server: the version in use stays, and a roll back ends the alarm."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from support.books import put_rows
from support.damage import make_deadly
from support.server import Server, serving
from support.versions import CLIENT, GOOD, accounts_of, looks_again, still_serves
from support.waiting import wait_for

from identengine.store.format import ACCOUNTS, id_key, stamp_of


def identengine(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "identengine", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def account_key(account: int, version: int) -> bytes:
    return id_key(ACCOUNTS, account) + stamp_of(version)


def damage_row(data: Path) -> None:
    content = data.read_bytes()
    data.write_bytes(content.replace(b"\xa2v2", b"\xa2v3"))  # the tag of each account


def damage_page(data: Path) -> None:
    make_deadly(data, account_key(17, 2))


def publish(server: Server, damage: Callable[[Path], None]) -> None:
    """Make version 2 in a copy of the store, damage it, and put it in the place of the store at once."""
    other = server.folder / "other"
    shutil.copytree(server.store, other)
    put_rows(other, accounts_of(2, 50))
    damage(other / "data.mdb")
    (server.store / "lock.mdb").unlink()
    (other / "data.mdb").replace(server.store / "data.mdb")


def test_a_damaged_version_is_not_taken_up_and_a_rollback_ends_the_alarm(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", accounts_of(1, 50), [CLIENT])
    with serving(tmp_path) as server:
        publish(server, damage_row)
        server.logged("the store is damaged: account 1 as written by version 2 does not match its checksum")
        server.logged("version 1 stays in use")
        looks_again(server)
        still_serves(server)
        assert server.authorize(**GOOD)["tag"] == "v1"
        checked = identengine("store", "check", "--store", server.store)
        assert checked.returncode == 1
        assert "identengine rollback 1 --store" in checked.stderr
        assert identengine("rollback", 1, "--store", server.store).returncode == 0
        server.logged("the alarm about the book is over")
        wait_for(lambda: server.version() == 3)
        assert server.authorize(**GOOD)["tag"] == "v1"
        put_rows(server.store, accounts_of(4, 50))
        wait_for(lambda: server.version() == 4)
        assert server.authorize(**GOOD)["tag"] == "v4"


def test_a_page_that_kills_its_reader_kills_neither_server_nor_check(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", accounts_of(1, 50), [CLIENT])
    with serving(tmp_path) as server:
        decider = server.decider
        publish(server, damage_page)
        server.logged(f"signal {signal.SIGBUS} killed its reader, as a damaged or truncated file does")
        looks_again(server)
        still_serves(server)
        assert server.decider == decider
        for command in (
            ["accounts", "list"],
            ["export", tmp_path / "out"],
            ["rollback", 1],
            ["identify", "src_ip=::1"],
        ):
            crashed = identengine(*command, "--store", server.store)
            assert crashed.returncode == 1, crashed
            assert crashed.stderr.splitlines()[-1] == (
                f"the store {server.store} is damaged: reading it crashed this command (SIGBUS). "
                f"Nothing was changed. Run `identengine store check --store {server.store}`."
            )
        checked = identengine("store", "check", "--store", server.store)
        assert checked.returncode == 1
        assert "a damaged page killed the process that read it (SIGBUS)" in " ".join(checked.stdout.split())
        still_serves(server)
