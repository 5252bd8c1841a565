"""The state of the server as HTTP reports it, from the control socket of a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.books import ip_account, put_rows
from support.server import serving
from support.waiting import wait_for

from identengine.model.records import Client
from identengine.server.http.statuscache import Everything, Readiness, StatusCache


def test_no_decider(tmp_path: Path) -> None:
    async def look() -> tuple[Readiness, Everything]:
        watch = StatusCache(tmp_path)
        return await watch.readiness(), await watch.everything()

    readiness, everything = asyncio.run(look())
    assert not readiness.ready
    assert readiness.reasons == ("the folder of the set of calls has no control socket",)
    (tmp_path / "control").touch()
    assert asyncio.run(look())[0].reasons == ("the decider does not answer",)
    assert everything == Everything()


def test_a_server_that_stops_or_has_no_book_is_not_ready(tmp_path: Path) -> None:
    async def look() -> tuple[Readiness, Readiness]:
        watch = StatusCache(tmp_path / "calls")
        first = await watch.readiness()
        watch.draining = True
        return first, await watch.readiness()

    with serving(tmp_path):
        first, second = asyncio.run(look())
    assert not first.ready
    assert first.reasons == ("no book",), "without the path of the store"
    assert second.reasons == ("the server is stopping", "no book")


def test_an_unreadable_store_is_reported_in_fixed_words(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])

    def reasons() -> tuple[str, ...]:
        return asyncio.run(StatusCache(tmp_path / "calls").readiness()).reasons

    with serving(tmp_path):
        assert reasons() == ()
        (tmp_path / "other").write_bytes(b"no store" * 4096)
        (tmp_path / "other").replace(tmp_path / "store" / "data.mdb")
        wait_for(lambda: reasons() == ("the store cannot be read",))


def test_the_fullest_are_read_at_most_once_a_second(tmp_path: Path) -> None:
    accounts = [ip_account(number, f"10.0.0.{number}", orig_capacity=10) for number in range(1, 30)]
    put_rows(tmp_path / "store", accounts, [Client(id=1, name="one", capacity=100)])

    async def look() -> list[Everything]:
        watch = StatusCache(tmp_path / "calls")
        return await asyncio.gather(*[watch.everything() for _ in range(20)])

    with serving(tmp_path) as server:
        for number in range(1, 30):
            for call in range(9 if number == 17 else 1):
                assert server.authorize(call_id=f"{number} {call}", src_ip=f"10.0.0.{number}", dst_number="1")[
                    "accepted"
                ]
        first, *others = asyncio.run(look())
    assert all(other is first for other in others)
    assert first.status is not None
    assert first.status.held == 37
    assert len(first.accounts) == 20
    assert (first.accounts[0].id, first.accounts[0].held) == (17, 9)
    assert [(use.name, use.held) for use in first.clients if use.direction == "both"] == [("one", 37)]


@pytest.fixture(autouse=True)
def _(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(exist_ok=True)
