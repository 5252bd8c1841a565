"""One version of the book on its way from the store to the process that decides, as a stream of frames.

``python -m identengine.server.decider.bookstream STORE VERSION|head [PREFIX…]`` opens the store for reading,
writes the frames to standard output and ends. It is a process of its own because a store that is cut off or
damaged while it is mapped kills who reads it (SIGBUS), and whatever happens to the reader, the version in use goes
on serving (engine.md 8.2). It also sorts and packs the DIDs (by the international prefixes given), which would
take the decider's time.

A frame is 4 bytes of length, big-endian, and a MessagePack array whose first item says which frame it is: one
:class:`Header`, all :class:`Clients`, all :class:`Accounts`, all :class:`Dids`, one :class:`End`. A stream without
its End, or whose counts differ from it, is no book.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from identengine.errors import StoreError, WireError
from identengine.identify.dids import Packed, pack
from identengine.model.numbers import longest_first
from identengine.model.records import Account, Client
from identengine.store.versions import Store

ROWS = 128
"""Clients or accounts in a frame: some 30 KiB, decoded in a fraction of a millisecond."""
IDENTS = 1024
"""Idents of the accounts in a frame after which it ends, since an account may have a hundred thousand."""
_DID_BYTES = 16384
_LARGEST_FRAME = 64 * 1024 * 1024  # 128 accounts of thousands of addresses each are not near it

Row = TypeVar("Row", Client, Account)


class Header(msgspec.Struct, frozen=True, array_like=True, tag="header"):
    """Which version this is.

    A store that was put back from a copy and edited again has another version under the same number: ``at``, when
    it was made (Unix time in seconds), tells the two apart.
    """

    version: int
    hash_key: bytes
    at: float


class Clients(msgspec.Struct, frozen=True, array_like=True, tag="clients"):
    """Some clients, without their notes, which decide nothing."""

    rows: list[Client]


class Accounts(msgspec.Struct, frozen=True, array_like=True, tag="accounts"):
    """Some accounts, without their notes."""

    rows: list[Account]


class Dids(msgspec.Struct, frozen=True, array_like=True, tag="dids"):
    """Active DIDs: account ids, each with a run of its numbers; the runs of one account come in order."""

    runs: list[tuple[int, Packed]]


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """How many rows of each kind came; of DIDs, how many runs."""

    clients: int
    accounts: int
    did_runs: int


Frame = Header | Clients | Accounts | Dids | End
decode = msgspec.msgpack.Decoder(Frame).decode
_encode = msgspec.msgpack.Encoder().encode


class FrameReader:
    """Cuts the stream into frames, however it arrives."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def pending(self) -> bool:
        """Whether half a frame is there."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what was read and yield each complete frame, undecoded; WireError where it is no such stream."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= 4:
            size = int.from_bytes(self._rest[at : at + 4], "big")
            if size > _LARGEST_FRAME:
                raise WireError(f"a frame of {size} bytes")
            if len(self._rest) - at - 4 < size:
                break
            yield bytes(memoryview(self._rest)[at + 4 : at + 4 + size])
            at += 4 + size
        del self._rest[:at]


def stream(store: Path, version: int | None, prefixes: Iterable[str], write: Callable[[bytes], object]) -> None:
    """Write one version (None: the newest) as frames.

    Raises StoreError where the store cannot be read or does not hold as many rows as it says.
    """

    def send(frame: Frame) -> None:
        payload = _encode(frame)
        write(len(payload).to_bytes(4, "big") + payload)

    with Store.open(store, readonly=True) as opened, opened.read(version) as book:
        send(Header(book.version, book.hash_key, book.info.at))
        clients = accounts = runs = 0
        for some_clients in _some(book.clients()):
            clients += len(some_clients)
            send(Clients(some_clients))
        for some_accounts in _some(book.accounts()):
            accounts += len(some_accounts)
            send(Accounts(some_accounts))
        if (clients, accounts) != (book.counts.clients, book.counts.accounts):
            raise StoreError(
                f"the store {store} is damaged: version {book.version} should have {book.counts.clients} clients "
                f"and {book.counts.accounts} accounts, and {clients} and {accounts} are there; import it again"
            )
        for some_runs in _dids(book.active_numbers(), longest_first(prefixes)):
            runs += len(some_runs)
            send(Dids(some_runs))
        send(End(clients, accounts, runs))


def _some(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield the rows by the frame."""
    some: list[Row] = []
    idents = 0
    for row in rows:
        some.append(msgspec.structs.replace(row, notes=None) if row.notes is not None else row)
        idents += len(row.ident) if isinstance(row, Account) else 0
        if len(some) == ROWS or idents >= IDENTS:
            yield some
            some, idents = [], 0
    if some:
        yield some


def _dids(numbers: Iterable[tuple[int, str]], prefixes: tuple[str, ...]) -> Iterator[list[tuple[int, Packed]]]:
    """Yield runs of DIDs by the frame; ``numbers`` come by account."""
    runs: list[tuple[int, Packed]] = []
    size = 0
    for account_id, owned in itertools.groupby(numbers, key=lambda pair: pair[0]):
        for run in pack((number for _, number in owned), prefixes).runs():
            runs.append((account_id, run))
            size += 32 + len(run.codes) + sum(map(len, run.texts))
            if size >= _DID_BYTES:
                yield runs
                runs, size = [], 0
    if runs:
        yield runs


def main(arguments: list[str]) -> int:
    """Be the reader process; returns its exit status, 1 with a line on standard error where the store is bad."""
    store, version, *prefixes = arguments
    try:
        stream(Path(store), None if version == "head" else int(version), prefixes, sys.stdout.buffer.write)
        sys.stdout.flush()
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BrokenPipeError:  # the decider has seen enough: it serves this version already, or ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what the interpreter flushes at exit
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
