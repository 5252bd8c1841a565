"""Faults of the file of the set of calls: too little space, another size, damage (engine.md 5.8)."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import pytest
from support.books import ip_account, put_rows
from support.disk import fill, mounted
from support.server import Server, serving
from support.switch import request

from identengine.model.records import Client

COUNT = 200
IDS = [f"call {number}" for number in range(COUNT)]


def calls(max_legs: int = 1000, path: Path | str = "calls") -> str:
    return f'[calls]\npath = "{path}"\nmax_legs = {max_legs}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    return tmp_path


@pytest.fixture
def killed(folder: Path) -> Path:
    """Return the folder of a set whose server was killed, with 200 calls, half of them active."""
    hold_and_kill(folder, calls())
    return folder / "calls"


def hold_and_kill(folder: Path, config: str) -> None:
    server = Server(folder, config)
    with server.switch() as switch:
        known = {"src_ip": "10.0.0.1", "dst_number": "44"}
        asked = (request("authorize", n, call_id=call_id, **known) for n, call_id in enumerate(IDS))
        assert all(answer["accepted"] for answer in switch.burst(asked))
        switch.burst(request("start", n, call_id=call_id) for n, call_id in enumerate(IDS[::2]))
    server.kill()


def held(server: Server) -> int:
    with server.switch() as switch:
        stops = (request("stop", n, call_id=call_id) for n, call_id in enumerate(IDS))
        return sum(answer["freed"] for answer in switch.burst(stops))


# ---- space -------------------------------------------------------------------------------------------------


def test_too_little_space_is_an_error_at_start_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 16) as disk:
        server = Server(folder, calls(100_000, disk), ready=False)
        assert server.ended() == 1
        assert "105 MiB" in server.log
        assert "Free space there, or set a smaller [calls] max_legs" in server.log
        assert "Traceback" not in server.log
        assert sum(file.stat().st_size for file in disk.rglob("*") if file.is_file()) == 0
        with serving(folder, calls(1000, disk)) as again:
            assert held(again) == 0


def test_too_little_space_to_grow_leaves_the_set_unchanged(folder: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 16) as disk:
        hold_and_kill(folder, calls(1000, disk))
        server = Server(folder, calls(100_000, disk), ready=False)
        assert server.ended() == 1
        assert "MiB" in server.log
        with serving(folder, calls(1000, disk)) as again:
            assert held(again) == COUNT


def test_a_disk_that_fills_up_later_takes_no_space_from_the_set(folder: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 16) as disk:
        server = Server(folder, calls(3000, disk))
        with server.switch() as switch:
            fill(disk)
            asked = (
                request("authorize", n, call_id=f"{n} {'x' * 200}", src_ip="10.0.0.1", dst_number="44")
                for n in range(3000)
            )
            assert all(answer["accepted"] for answer in switch.burst(asked))
            assert switch.ask("switch_down")["freed"] == 3000
        assert server.stop() == 0, server.log


@pytest.mark.parametrize("max_legs", [100_000, 250, 200, 100, 1])
def test_a_set_of_another_size(folder: Path, killed: Path, max_legs: int) -> None:
    """No call is lost. Calls above the new size are kept, and no call is admitted until there are fewer."""
    for _ in range(2):
        server = Server(folder, calls(max_legs))
        with server.switch() as switch:
            answer = switch.authorize("more")
            assert answer["accepted"] is (max_legs > COUNT), answer
            switch.ask("stop", call_id="more")
        server.kill()
        alarms = [line for line in server.log.splitlines() if "ALARM" in line]
        assert all("the set of calls is full" in alarm for alarm in alarms), alarms
    with serving(folder, calls(max_legs)) as server:
        assert held(server) == COUNT
        with server.switch() as switch:
            assert switch.authorize("more")["accepted"]


# ---- damage ------------------------------------------------------------------------------------------------

PAGE = 4096


def cut(file: Path, size: int) -> None:
    with file.open("r+b") as opened:
        opened.truncate(size)


def overwrite(file: Path, first: int, pages: int, filler: Callable[[int], bytes]) -> None:
    with file.open("r+b") as opened:
        opened.seek(first * PAGE)
        opened.write(b"".join(filler(PAGE) for _ in range(pages)))


def other_format(file: Path) -> None:
    """Change the format number where this program stores its own."""
    with lmdb.open(str(file), map_size=file.stat().st_size, subdir=False, lock=False, max_dbs=5) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            kept = msgspec.msgpack.decode(txn.get(b"beat", db=meta) or b"")
            txn.put(b"beat", msgspec.msgpack.encode([kept[0] + 1, {"what": "ever"}]), db=meta)


RANDOM = random.Random(5)
DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut within the header": lambda file: cut(file, 1000),
    "cut behind the header": lambda file: cut(file, 2 * PAGE),
    "cut in the middle": lambda file: cut(file, 20 * PAGE),
    "a header of garbage": lambda file: overwrite(file, 0, 2, RANDOM.randbytes),
    "a header of zeros": lambda file: overwrite(file, 0, 2, bytes),
    "all garbage": lambda file: overwrite(file, 0, 2000, RANDOM.randbytes),
    "something else": lambda file: file.write_bytes(b"this is no set of calls\n" * 100),
    "another format": other_format,
}


@pytest.mark.parametrize("damage", [*DAMAGE])
def test_a_damaged_set_is_renamed(folder: Path, killed: Path, damage: str) -> None:
    is_renamed(folder, killed, damage)


def test_a_second_damaged_set_is_renamed_next_to_the_first(folder: Path, killed: Path) -> None:
    is_renamed(folder, killed, "a header of zeros")
    hold_and_kill(folder, calls())
    is_renamed(folder, killed, "a header of zeros")


def is_renamed(folder: Path, killed: Path, damage: str) -> None:
    DAMAGE[damage](killed / "calls.mdb")
    content = (killed / "calls.mdb").read_bytes()
    before = set(killed.iterdir())
    with serving(folder, calls()) as server:
        (aside,) = set(killed.iterdir()) - before
        assert aside.read_bytes() == content, "the renamed file is unchanged"
        assert server.log.count("ALARM") == server.log.count("renamed to") == len([*killed.glob("calls.mdb.*")])
        assert f"renamed to {aside.name}" in server.log
        assert held(server) == 0
        assert server.authorize(call_id="new", src_ip="10.0.0.1", dst_number="44")["accepted"]


def test_an_empty_file_is_reported_too(folder: Path, killed: Path) -> None:
    cut(killed / "calls.mdb", 0)
    with serving(folder, calls()) as server:
        assert held(server) == 0
        assert "ALARM" in server.log


FILLERS: dict[str, Callable[[int], bytes]] = {
    "garbage": RANDOM.randbytes,
    "zeros": bytes,
    "ones": lambda size: b"\xff" * size,
}


def pages_of_legs(file: Path, first: int, last: int) -> list[int]:
    """Return the pages that hold some of these legs, none of the first hundred, and no other data."""
    content = file.read_bytes()
    pages = {page: content[page * PAGE : (page + 1) * PAGE] for page in range(2, 100)}
    others = (b"rows", b"beat", *(f"call {number}".encode() for number in range(90, 110)))
    return [
        page
        for page, text in pages.items()
        if any(f"call {number}".encode() in text for number in range(first, last))
        and not any(other in text for other in others)
    ]


@pytest.mark.parametrize(
    ("filler", "which"),
    [
        *(pytest.param(filler, "every page") for filler in FILLERS),
        pytest.param("garbage", "later pages of legs"),
        pytest.param("ones", "later pages of legs"),
        pytest.param("zeros", "later pages of legs"),
    ],
)
def test_garbage_after_a_valid_header(folder: Path, killed: Path, filler: str, which: str) -> None:
    """All calls survive or the file is renamed, but the server never crashes."""
    file = killed / "calls.mdb"
    later = pages_of_legs(file, 110, COUNT)
    assert later
    for page in range(2, 100) if which == "every page" else later:
        overwrite(file, page, 1, FILLERS[filler])
    with serving(folder, calls()) as server:
        there = held(server)
        assert there == (0 if "ALARM" in server.log else COUNT)
        assert server.authorize(call_id="new", src_ip="10.0.0.1", dst_number="44")["accepted"]


def test_valid_pages_at_the_wrong_position(folder: Path, killed: Path) -> None:
    """A misdirected write leaves valid pages, but calls are missing."""
    file = killed / "calls.mdb"
    content = file.read_bytes()
    source, *_ = pages_of_legs(file, 130, 140)
    for page in pages_of_legs(file, 180, COUNT):
        overwrite(file, page, 1, lambda size: content[source * PAGE : source * PAGE + size])
    with serving(folder, calls()) as server:
        assert held(server) == (0 if "ALARM" in server.log else COUNT)
