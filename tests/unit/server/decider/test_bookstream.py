"""The stream of a book from the store to the decider: complete, in order, or refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.books import ip_account, put_rows

from identengine.config.schema import StoreConfig
from identengine.engine.core import Engine
from identengine.errors import IdentengineError, StoreError, WireError
from identengine.identify.dids import Packed, pack
from identengine.identify.index import Book
from identengine.model.options import IdentifyOptions
from identengine.model.records import Client, Did, DidStatus
from identengine.server.decider import bookfollower, bookreader, bookstream
from identengine.server.decider.bookfollower import BookFollower, Origin
from identengine.server.decider.bookstream import Accounts, Clients, Dids, End, FrameReader, Header
from identengine.store.versions import Store

CLIENTS = [Client(id=n, name=f"client {n}", notes="private") for n in range(1, 301)]
ACCOUNTS = [ip_account(n, f"10.0.{n >> 8}.{n & 255}", notes="private" if n % 2 else None) for n in range(1, 501)]
DIDS = [
    *(Did(number=f"44207{n:06}", account_id=n % 3 + 1) for n in range(9000)),
    Did(number="*77", account_id=1),
    Did(number="00331", account_id=7),
    Did(number="00332", account_id=7, status=DidStatus.ON_HOLD),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bookstream") / "store"
    put_rows(path, ACCOUNTS[:1], CLIENTS[:1])
    put_rows(path, ACCOUNTS, CLIENTS, DIDS)
    return path


def streamed(store: Path, version: int | None = None, prefixes: tuple[str, ...] = (), served: int = 0) -> bytes:
    pieces: list[bytes] = []
    bookstream.stream(store, version, prefixes, pieces.append, served=served)
    return b"".join(pieces)


def frames_of(data: bytes) -> list[Any]:
    return [bookstream.decode(payload) for payload in FrameReader().feed(data)]


def test_everything_arrives_in_order(store: Path) -> None:
    frames = frames_of(streamed(store))
    kinds = [type(frame) for frame in frames]
    assert kinds[0] is Header
    assert kinds[-1] is End
    order: list[object] = [Clients, Accounts, Dids]
    assert kinds[1:-1] == sorted(kinds[1:-1], key=order.index)
    assert frames[0].version == 2
    with Store.open(store, readonly=True) as opened:
        assert frames[0].hash_key == opened.hash_key
        assert frames[0].at == opened.versions()[-1].at
    clients = [row for frame in frames if isinstance(frame, Clients) for row in frame.rows]
    accounts = [row for frame in frames if isinstance(frame, Accounts) for row in frame.rows]
    runs = [run for frame in frames if isinstance(frame, Dids) for run in frame.runs]
    assert [client.id for client in clients] == [client.id for client in CLIENTS]
    assert [account.id for account in accounts] == [account.id for account in ACCOUNTS]
    assert not any(client.notes for client in clients)
    assert not any(account.notes for account in accounts)
    assert frames[-1] == End(300, 500, len(runs))


def test_active_dids_by_account(store: Path) -> None:
    runs = [run for frame in frames_of(streamed(store)) if isinstance(frame, Dids) for run in frame.runs]
    assert [account_id for account_id, _ in runs] == sorted(account_id for account_id, _ in runs)
    for account_id in (1, 2, 3, 7):
        wanted = pack(
            did.number for did in DIDS if did.account_id == account_id and did.status is DidStatus.ACTIVE
        )
        mine = [packed for owner, packed in runs if owner == account_id]
        assert b"".join(packed.codes for packed in mine) == wanted.codes
        assert tuple(text for packed in mine for text in packed.texts) == wanted.texts
    assert len(runs) > 4  # the numbers of one account are split into several runs


def test_international_prefixes_are_taken_off(store: Path) -> None:
    runs = [
        run
        for frame in frames_of(streamed(store, prefixes=("0", "00")))
        if isinstance(frame, Dids)
        for run in frame.runs
    ]
    assert (7, pack(["331"])) in runs


def test_an_older_version(store: Path) -> None:
    frames = frames_of(streamed(store, 1))
    assert frames[0].version == 1
    assert frames[-1] == End(1, 1, 0)


def test_an_empty_store(tmp_path: Path) -> None:
    Store.open(tmp_path / "store", create=True).close()
    frames = frames_of(streamed(tmp_path / "store"))
    assert (frames[0].version, frames[1]) == (0, End(0, 0, 0))


def test_frames_byte_by_byte(store: Path) -> None:
    data = streamed(store)[:20_000]
    whole = list(FrameReader().feed(data))
    reader = FrameReader()
    assert [payload for at in range(len(data)) for payload in reader.feed(data[at : at + 1])] == whole
    assert reader.pending


def test_a_frame_that_is_too_long() -> None:
    with pytest.raises(WireError, match="bytes"):
        list(FrameReader().feed(b"\xff\xff\xff\xff"))


def run_reader(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "identengine.server.decider.bookstream", *arguments],
        capture_output=True,
        check=False,
    )


def test_the_process(store: Path) -> None:
    assert run_reader(str(store), "head", "0").stdout == streamed(store)
    assert run_reader(str(store), "1", "2", "00").stdout == streamed(store, 1, ("00",), 2)


def test_the_process_reports_errors(tmp_path: Path, store: Path) -> None:
    missing = run_reader(str(tmp_path / "nowhere"), "head", "0")
    assert missing.returncode == 1
    assert b"there is no store" in missing.stderr
    assert missing.stdout == b""
    assert b"no version 99" in run_reader(str(store), "99", "0").stderr


def test_the_process_ends_quietly_if_its_reader_closes(store: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "identengine.server.decider.bookstream", str(store), "head", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


# The book that the decider builds of a stream ----------------------------------------------------------------


def built(*pieces: bytes, serving: Header | None = None) -> Book | None:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    engine = Engine()
    follower = BookFollower(engine, StoreConfig(path=Path("store")), IdentifyOptions())
    if serving is not None:
        follower._in_use = Origin(serving, IdentifyOptions(), None, set())
    return asyncio.run(follower._build(chunks()))


def framed(*frames: Any) -> bytes:
    payloads = [bookstream._encode(frame) for frame in frames]
    return b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)


HEADER = Header(5, bytes(32), 50.0, None)
ONE_CLIENT = Clients(CLIENTS[:1])
TWO_ACCOUNTS = Accounts(ACCOUNTS[:2])


@pytest.mark.parametrize("size", [7, 1000, 1 << 20])
def test_a_book_is_built_however_the_stream_is_cut(store: Path, size: int) -> None:
    data = streamed(store)
    book = built(*(data[at : at + size] for at in range(0, len(data), size)))
    assert book is not None
    assert (book.version, len(book.accounts), len(book.dids)) == (2, 500, 9002)
    assert book.dids.of(7).has("00331")
    assert not book.dids.of(7).has("00332")


def test_a_stream_that_breaks_off_is_no_book(store: Path) -> None:
    data = streamed(store)
    for size in (0, 3, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(StoreError, match="is incomplete"):
            built(data[:size])


@pytest.mark.parametrize(
    "frames",
    [
        [ONE_CLIENT, HEADER, End(1, 0, 0)],
        [HEADER, HEADER, End(0, 0, 0)],
        [HEADER, End(0, 0, 0), ONE_CLIENT],
        [HEADER, ONE_CLIENT, TWO_ACCOUNTS, End(1, 3, 0)],
        [HEADER, ONE_CLIENT, End(0, 0, 0)],
        [HEADER, ONE_CLIENT, TWO_ACCOUNTS, Dids([(1, Packed(b""))]), End(1, 2, 0)],
        [HEADER, TWO_ACCOUNTS, End(0, 2, 0)],
    ],
)
def test_a_stream_out_of_order_or_count_is_no_book(frames: list[Any]) -> None:
    with pytest.raises(IdentengineError):
        built(framed(*frames))


def test_only_a_newer_version_of_the_served_store_is_built() -> None:
    rows = framed(ONE_CLIENT, TWO_ACCOUNTS, End(1, 2, 0))
    newer = built(framed(Header(6, bytes(32), 60.0, 50.0)) + rows, serving=HEADER)
    assert newer is not None
    assert newer.version == 6
    assert built(framed(Header(5, bytes(32), 50.0, 50.0)), serving=HEADER) is None
    assert built(framed(HEADER) + rows) is not None


@pytest.mark.parametrize(
    "other",
    [
        Header(4, bytes(32), 40.0, None),
        Header(5, b"another key", 50.0, 50.0),
        Header(6, b"another key", 60.0, 50.0),
        Header(5, bytes(32), 51.0, 51.0),
        Header(7, bytes(32), 70.0, 51.0),
        Header(7, b"another key", 70.0, 51.0),
    ],
    ids=["older", "other store", "newer of another", "restored, edited", "restored, edited twice", "all differs"],
)
def test_another_store_is_refused_with_any_version(other: Header) -> None:
    with pytest.raises(
        StoreError, match=f"was replaced: its newest version is {other.version}, and it does not hold"
    ):
        built(framed(other, ONE_CLIENT, TWO_ACCOUNTS, End(1, 2, 0)), serving=HEADER)


def test_an_empty_store_is_refused() -> None:
    with pytest.raises(StoreError, match="became empty"):
        built(framed(Header(0, bytes(32), 0.0, None)), serving=HEADER)
    with pytest.raises(StoreError, match="is empty"):
        built(framed(Header(0, bytes(32), 0.0, None)))


def test_the_header_has_the_served_version_as_the_store_has_it(store: Path, tmp_path: Path) -> None:
    served: Header = frames_of(streamed(store, 1))[0]
    with Store.open(store, readonly=True) as opened:
        opened.copy(tmp_path / "copy.mdb")
        first, second = (version.at for version in opened.versions())
    for each in (store, tmp_path / "copy.mdb"):
        header: Header = frames_of(streamed(each, served=1))[0]
        assert (header.at, header.served_at) == (second, first)
        assert header.continues(served)
    assert frames_of(streamed(store, served=3))[0].served_at is None
    put_rows(tmp_path / "other", ACCOUNTS[:1], CLIENTS[:1])
    assert not frames_of(streamed(tmp_path / "other", served=1))[0].continues(served)


def test_a_reader_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookreader, "READER_SECONDS", 0.2)
    hanging = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(hanging, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        monkeypatch.setattr(bookfollower, "start_reader", lambda *_: process)
        put_rows(tmp_path / "store", ACCOUNTS[:1], CLIENTS[:1])
        following = BookFollower(Engine(), StoreConfig(path=tmp_path / "store"), IdentifyOptions())
        following._seen = following._look()
        with pytest.raises(StoreError, match="its reader made no progress"):
            asyncio.run(following._read())
        assert process.returncode == -9


def test_an_account_of_a_hundred_thousand_addresses(tmp_path: Path) -> None:
    addresses = tuple(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000))
    rows = [ip_account(1, "192.0.2.1"), ip_account(2, "", ident=addresses), ip_account(3, "192.0.2.3")]
    put_rows(tmp_path / "store", rows)
    data = streamed(tmp_path / "store")
    reader = FrameReader()
    frames = [
        bookstream.decode(payload)
        for at in range(0, len(data), 65536)
        for payload in reader.feed(data[at : at + 65536])
    ]
    some = [frame.rows for frame in frames if isinstance(frame, Accounts)]
    assert [row for each in some for row in each] == rows
    assert len(some) == 2  # the large account fills its frame


def test_steps_grow_with_what_is_decided_between_them(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    following = BookFollower(Engine(), StoreConfig(path=store), IdentifyOptions())

    async def run() -> tuple[int, int]:
        """Return how often 0.2 s of work yielded to other tasks, idle and under load."""
        nonlocal now
        counts = []
        for load in (0.0, 0.02):
            yields = 0

            async def others(load: float = load) -> None:
                nonlocal yields, now
                while True:
                    yields += 1
                    now += load  # the time of decisions in the loop
                    await asyncio.sleep(0)

            task = asyncio.create_task(others())
            following._step_began = now
            for _ in range(400):
                now += 0.0005  # work on the book
                await following._breathe()
            counts.append(yields)
            task.cancel()
        return counts[0], counts[1]

    idle, loaded = asyncio.run(run())
    assert loaded * 3 < idle
