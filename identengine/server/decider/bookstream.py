"""One version of the book as a stream of frames, from the store to the process that decides.

``python -m identengine.server.decider.bookstream STORE VERSION|head SERVED [PREFIX…]`` opens the store for
reading, writes the frames to standard output and exits. SERVED is the version that the decider serves, or 0. The
PREFIXes are the international prefixes that are dropped from DIDs.

The reader is a process of its own for two reasons. A store that is truncated while it is mapped kills its reader
(SIGBUS), and the version in use must survive that (engine.md 8.2). The reader also sorts and packs the DIDs, which
would otherwise take the decider's time.

A frame is 4 bytes of length, big-endian, and a MessagePack array whose first item names the kind of frame. A
stream holds one :class:`Header`, all :class:`Clients`, all :class:`Accounts`, all :class:`Dids` and one
:class:`End`, in this order. Rule: a stream without its End, or with other counts than its End has, is not a book.
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
"""Clients or accounts in a frame: about 30 KiB, decoded in a fraction of a millisecond."""
IDENTS = 1024
"""Idents of the accounts in a frame after which the frame is full. One account may have a hundred thousand."""
_DID_BYTES = 16384
_LARGEST_FRAME = 64 * 1024 * 1024  # far more than 128 accounts with thousands of addresses each

Row = TypeVar("Row", Client, Account)


class Header(msgspec.Struct, frozen=True, array_like=True, tag="header"):
    """The identity of a version, and of the store that holds it."""

    version: int
    hash_key: bytes
    """The store's key for the choice of numbers (engine.md 4.3). A copy of the store has the same key."""
    at: float
    """Creation time of the version, in Unix seconds."""
    served_at: float | None
    """Creation time of the version SERVED as this store has it, or None if this store has no such version."""

    def continues(self, served: Header) -> bool:
        """Return True if this store holds the version ``served`` in its history (D20).

        Version numbers alone do not show this: a restored backup that was edited has another version of the same
        number.
        """
        return self.hash_key == served.hash_key and self.served_at == served.at


class Clients(msgspec.Struct, frozen=True, array_like=True, tag="clients"):
    """Some of the clients. Their notes decide nothing and are left out."""

    rows: list[Client]


class Accounts(msgspec.Struct, frozen=True, array_like=True, tag="accounts"):
    """Some of the accounts, without their notes."""

    rows: list[Account]


class Dids(msgspec.Struct, frozen=True, array_like=True, tag="dids"):
    """Active DIDs: pairs of an account id and a run of the account's numbers. An account's runs are in order."""

    runs: list[tuple[int, Packed]]


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The number of clients, accounts and runs of DIDs that the stream holds."""

    clients: int
    accounts: int
    did_runs: int


Frame = Header | Clients | Accounts | Dids | End
decode = msgspec.msgpack.Decoder(Frame).decode
_encode = msgspec.msgpack.Encoder().encode


class FrameReader:
    """Cuts the stream into frames, independent of the sizes in which it arrives."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def pending(self) -> bool:
        """True if an incomplete frame is buffered."""
        return bool(self._rest)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each frame that ``data`` completes, undecoded. Raise WireError if a frame is too long."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= 4:
            size = int.from_bytes(self._rest[at : at + 4], "big")
            if size > _LARGEST_FRAME:
                raise WireError(
                    f"book stream: expected frames of at most {_LARGEST_FRAME} bytes, got {size} bytes"
                )
            if len(self._rest) - at - 4 < size:
                break
            yield bytes(memoryview(self._rest)[at + 4 : at + 4 + size])
            at += 4 + size
        del self._rest[:at]


def stream(
    store: Path, version: int | None, prefixes: Iterable[str], write: Callable[[bytes], object], *, served: int = 0
) -> None:
    """Write one version (None: the newest) as frames.

    ``served`` is the version that the decider serves, or 0. Raise StoreError if the store cannot be read, or if
    its rows do not match the recorded counts.
    """

    def send(frame: Frame) -> None:
        payload = _encode(frame)
        write(len(payload).to_bytes(4, "big") + payload)

    with Store.open(store, readonly=True) as opened, opened.read(version) as book:
        send(Header(book.version, book.hash_key, book.info.at, _created(opened, served)))
        clients = accounts = runs = 0
        for some_clients in _some(book.clients()):
            clients += len(some_clients)
            send(Clients(some_clients))
        for some_accounts in _some(book.accounts()):
            accounts += len(some_accounts)
            send(Accounts(some_accounts))
        if (clients, accounts) != (book.counts.clients, book.counts.accounts):
            raise StoreError(
                f"the store {store} is damaged: version {book.version}: expected {book.counts.clients} clients "
                f"and {book.counts.accounts} accounts, got {clients} and {accounts}. Import the book again."
            )
        for some_runs in _dids(book.active_numbers(), longest_first(prefixes)):
            runs += len(some_runs)
            send(Dids(some_runs))
        send(End(clients, accounts, runs))


def _created(store: Store, version: int) -> float | None:
    """Return the creation time of a version, or None if the store has no such version."""
    if version > store.head():
        return None
    with store.read(version) as book:
        return book.info.at


def _some(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield the rows in lists, one list for each frame."""
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
    """Yield the runs of DIDs in lists, one list for each frame. ``numbers`` must be grouped by account."""
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
    """Run the reader process and return its exit status: 1, with a line on standard error, if the store is bad."""
    store, version, served, *prefixes = arguments
    chosen = None if version == "head" else int(version)
    try:
        stream(Path(store), chosen, prefixes, sys.stdout.buffer.write, served=int(served))
        sys.stdout.flush()
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BrokenPipeError:  # the decider serves this version already, or it has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes at exit
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
