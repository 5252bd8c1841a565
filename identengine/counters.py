"""Counters in one mapped file that outlives the process that counts: for ``stats``, ``top`` and metrics.

``counters`` beside the set of calls has a fixed size, taken when it is made (on a full tmpfs a mapped page that is
not there yet would be SIGBUS). One process, the decider, writes 8-byte numbers in place, so that each survives
``kill -9`` as it was at that moment; anybody else takes a copy by reading the file once: no lock, nothing open or
mapped, so a reader that is stopped holds up nobody.

The addresses that are rejected most stand behind the numbers, in two areas that are written in turn about once a
second, each with a checksum: whoever reads while one is being written, or after a death in the middle of it, takes
the other. What came in the last second before a ``kill -9`` is therefore missing in *them*. (Two areas and not a
number that tells a torn copy: a reader never needs to try again, nor does the next decider find nothing.)
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple, Self

import msgspec

from identengine.errors import StoreError
from identengine.frequent import Counts
from identengine.reasons import Reason

FILE = "counters"
FORMAT = 1
AREA_BYTES = 160 * 1024
"""Room for the addresses: 2,000 of them, of at most 39 characters, take 110 KiB."""
WRITE_SECONDS = 1.0
"""Between two copies of the addresses."""

_MAGIC = b"identengine/cnt\n"
_HEADER = struct.Struct("=16sI12s")
"""Magic, format, and a hash of the names: another list of counters is another format."""
_AREA = struct.Struct("=QII")
"""Number of the copy (0: none was made), bytes, checksum of number and bytes."""
_FIRST_CELL = 64
_FIRST_AREA = 4096
SIZE = _FIRST_AREA + 2 * AREA_BYTES


class Known(NamedTuple):
    """One number of the file."""

    name: str
    kind: Literal["counter", "gauge"]
    """A counter only grows, over restarts too; a gauge is what was so a moment ago."""
    what: str
    """A line of explanation."""


METHODS = ("authorize", "identify", "explain", "start", "update", "stop", "sync", "switch_up", "switch_down")

REGISTRY: tuple[Known, ...] = (
    *(Known(f"requests_{method}", "counter", f"requests of the method {method}") for method in METHODS),
    Known("accepted", "counter", "authorizations that were accepted"),
    *(Known(f"rejected_{reason}", "counter", f"authorizations rejected as {reason}") for reason in Reason),
    Known("retransmissions", "counter", "authorizations that were answered as before, without a second slot"),
    Known("unreserved", "counter", "accepted calls without a slot, since they came without call_id"),
    Known("wrong_parameters", "counter", "starts, updates, stops and syncs with a parameter that cannot be used"),
    Known("overcommits", "counter", "calls that exist and were counted over a limit"),
    Known("unknown_starts", "counter", "starts of calls that are not held"),
    Known("unknown_updates", "counter", "updates of calls that are not held"),
    Known("unknown_stops", "counter", "stops of calls that are not held"),
    Known("missing_calls", "counter", "calls in complete lists of switches that are not held"),
    Known("freed_by_stop", "counter", "legs freed by a stop"),
    Known("freed_by_sync", "counter", "legs freed since two complete lists of their switch lacked them"),
    Known("freed_by_switch", "counter", "legs freed by switch_up and switch_down"),
    Known("freed_by_operator", "counter", "legs freed by `calls end`"),
    Known("lapsed_reserved", "counter", "reservations that lapsed without a start"),
    Known("lapsed_active", "counter", "active legs that lapsed without a stop"),
    Known("strangers_refused", "counter", "datagrams and connections that were not let in"),
    Known("wrong_tokens", "counter", "tokens shown that are no switch's at that address"),
    Known(
        "datagrams_too_old", "counter", "messages dropped since their datagrams had waited too long in the socket"
    ),
    Known("messages_shed", "counter", "messages over connections that had waited too long and were not decided"),
    Known("answers_unsent", "counter", "answers that the system did not take over UDP"),
    Known("deciders_started", "counter", "times that a process began to decide"),
    Known("began", "gauge", "when these counters were begun, Unix seconds"),
    Known("started", "gauge", "when the process that decides began, Unix seconds"),
    Known("noted", "gauge", "when gauges were written last, Unix seconds"),
    Known("pid", "gauge", "of the process that decides, or did last"),
    Known("book_version", "gauge", "version of the book in use; 0: none"),
    Known("held", "gauge", "legs that hold slots"),
    Known("remembered", "gauge", "lapsed legs that can be revived"),
    Known("max_legs", "gauge", "legs that the set of calls has room for"),
    Known("mirror_used_bytes", "gauge", "bytes of the mirror that are in use"),
    Known("mirror_bytes", "gauge", "size of the mirror"),
)
"""Every number, in its place; one that is added or moved is another format."""

PLACE = {known.name: place for place, known in enumerate(REGISTRY)}
"""Where each stands in :attr:`CounterFile.cells`."""

_NAMES = blake2b("\n".join(known.name for known in REGISTRY).encode(), digest_size=12).digest()
_decode = msgspec.msgpack.Decoder(Counts).decode
_encode = msgspec.msgpack.Encoder().encode


class Snapshot(NamedTuple):
    """The file at a moment."""

    values: dict[str, int]
    addresses: Counts
    """Rejected authorizations by ``src_ip``."""


class CounterFile:
    """The file, open for the one process that writes it; a context manager."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        """Map ``folder/counters``, which is made where it is missing.

        One of another format, damaged or cut short is replaced, and ``warn`` is told. Raises StoreError where it
        cannot be made.
        """
        self.path = folder / FILE
        problem = _problem(self.path)
        try:
            if problem is not None:
                if problem:
                    warn(f"the counters {self.path} begin anew: {problem}")
                _make(self.path)
            # Nothing but this program shortens the file, and it never does: it puts another one in its place.
            with self.path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), SIZE)
        except OSError as error:
            raise StoreError(f"the counters {self.path} cannot be kept: {error.strerror}") from error
        self._view = memoryview(self._map)
        self.cells = self._view[_FIRST_CELL : _FIRST_CELL + 8 * len(REGISTRY)].cast("Q")
        """The numbers of :data:`REGISTRY`, in place."""
        if not self.cells[PLACE["began"]]:
            self.cells[PLACE["began"]] = int(time.time())
        self._copy = max(_area(self._map, place)[0] for place in (0, 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file; it stays."""
        self.cells.release()
        self._view.release()
        self._map.close()

    def addresses(self) -> Counts:
        """Return the addresses of the last whole copy."""
        return _addresses(self._map)

    def write_addresses(self, addresses: Counts) -> None:
        """Keep a copy of the addresses, over the older of the two."""
        raw = _encode(addresses)
        if len(raw) > AREA_BYTES - _AREA.size:
            return  # cannot be: 2,000 addresses in normal form; rather none than a torn one
        self._copy += 1
        begin = _FIRST_AREA + self._copy % 2 * AREA_BYTES
        self._map[begin + _AREA.size : begin + _AREA.size + len(raw)] = raw
        _AREA.pack_into(self._map, begin, self._copy, len(raw), _checksum(self._copy, raw))


def read(folder: Path) -> Snapshot:
    """Return a copy of the counters in ``folder``. Raises StoreError where there are none that can be read."""
    path = folder / FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise StoreError(
            f"there are no counters at {path}: no server has run there yet; `identengine serve --config FILE` "
            "does, with this path under [calls]"
        ) from None
    except OSError as error:
        raise StoreError(f"the counters {path} cannot be read: {error.strerror}") from error
    if problem := _wrong(raw):
        raise StoreError(f"the counters {path} cannot be read: {problem}")
    cells = memoryview(raw)[_FIRST_CELL : _FIRST_CELL + 8 * len(REGISTRY)].cast("Q")
    values = {known.name: cells[place] for place, known in enumerate(REGISTRY)}
    return Snapshot(values, _addresses(raw))


def _problem(path: Path) -> str | None:
    """Return why a file cannot be used; None where it can, empty where there is none."""
    try:
        raw = path.read_bytes() if path.stat().st_size <= SIZE else b""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return _wrong(raw)


def _wrong(raw: bytes) -> str | None:
    """Return what is wrong with the bytes of a file."""
    if len(raw) < _HEADER.size or not raw.startswith(_MAGIC):
        return "it is damaged or another program's"
    _, format_, names = _HEADER.unpack_from(raw)
    if (format_, names) != (FORMAT, _NAMES):
        return "it is of another version of this program"
    if len(raw) != SIZE:
        return f"it is damaged ({len(raw)} bytes, {SIZE} are wanted)"
    return None


def _make(path: Path) -> None:
    """Put a new file in place, whole: another process may still have the old one mapped."""
    new = path.with_name(f"{FILE}.new")
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(file, 0, SIZE)
        os.pwrite(file, _HEADER.pack(_MAGIC, FORMAT, _NAMES), 0)
    except OSError:
        new.unlink()
        raise
    finally:
        os.close(file)
    new.replace(path)


def _area(raw: bytes | mmap.mmap, place: int) -> tuple[int, bytes | None]:
    """Return the number of the copy in an area, and its bytes; None where they are torn or not there."""
    begin = _FIRST_AREA + place * AREA_BYTES
    number, length, checksum = _AREA.unpack_from(raw, begin)
    if not number or length > AREA_BYTES - _AREA.size:
        return 0, None
    body = bytes(raw[begin + _AREA.size : begin + _AREA.size + length])
    return (number, body) if _checksum(number, body) == checksum else (0, None)


def _addresses(raw: bytes | mmap.mmap) -> Counts:
    """Return the newest whole copy; nothing where there is none."""
    for _, body in sorted((_area(raw, place) for place in (0, 1)), key=lambda found: -found[0]):
        if body is not None:
            try:
                return _decode(body)
            except msgspec.MsgspecError:
                continue
    return Counts()


def _checksum(number: int, body: bytes) -> int:
    return zlib.crc32(body, number & 0xFFFFFFFF)
