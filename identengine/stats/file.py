"""The file of the counters, which outlives the process that counts: for ``stats``, ``top`` and metrics.

The file ``counters`` is in the folder of the set of calls. Its size is fixed, and all its pages are allocated when
it is created: on a full tmpfs, a mapped page that is not allocated would cause SIGBUS. Each 8-byte number is
written in place by one process, so it survives ``kill -9`` with its latest value. The decider maps the file and
writes nearly all numbers; the supervisor writes a few (:func:`bump`). Other processes read the whole file once and
keep nothing open, mapped or locked. So a stopped reader delays no other process. :mod:`identengine.stats.registry`
lists the numbers.

Three tables (:class:`Tables`) follow the numbers. They are written about once a second, alternately into one of
two areas with a checksum each. If one area is incomplete, because a write is in progress or was killed, readers
use the other. So a ``kill -9`` loses the last second of the tables. Because there are two areas, a reader never
has to retry, and the next decider always finds a complete copy.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from identengine.errors import StoreError
from identengine.stats.heavyhitters import Counts
from identengine.stats.malformed import CountsBySwitch, RejectsBySwitch
from identengine.stats.registry import CELLS, HISTOGRAMS, PLACE, REGISTRY, SUMS
from identengine.stats.upgrade import earlier

FILE = "counters"
FORMAT = 3
AREA_BYTES = 240 * 1024
"""Size of an area, in bytes. 2,000 long addresses take 110 KiB, 258 switches with the longest names 115 KiB,
and the rejects of 129 switches 10 KiB."""
WRITE_SECONDS = 1.0
"""Time between two copies of the tables, in seconds."""

_MAGIC = b"identengine/cnt\n"
_HEADER = struct.Struct("=16sI12s")
"""Magic, format, and a hash of the names: a file with another list of counters is not read."""
_AREA = struct.Struct("=QII")
"""Number of the copy (0 in an empty area), length in bytes, checksum of number and bytes."""
_NUMBER = struct.Struct("=Q")
_FIRST_CELL = 64
_FIRST_AREA = 16384
SIZE = _FIRST_AREA + 2 * AREA_BYTES

_NAMES = blake2b(
    "\n".join([*(f"{known.name} {known.series}" for known in REGISTRY), *map(str, HISTOGRAMS)]).encode(),
    digest_size=12,
).digest()
_END = _FIRST_CELL + 8 * CELLS


class Tables(msgspec.Struct, frozen=True):
    """The tables, whose rows are not known in advance."""

    addresses: Counts = Counts()
    """Rejected authorizations by ``src_ip``."""
    malformed: CountsBySwitch = {}
    """Malformed messages by switch and error code."""
    rejected: RejectsBySwitch = {}
    """Rejected authorizations by switch."""


_decode = msgspec.msgpack.Decoder(Tables).decode
_encode = msgspec.msgpack.Encoder().encode


class Snapshot(NamedTuple):
    """A copy of the file."""

    values: dict[str, int]
    """The sum of the cells of each number, by the names of :data:`REGISTRY` and :data:`SUMS`."""
    cells: tuple[int, ...]
    addresses: Counts
    """Rejected authorizations by ``src_ip``."""
    malformed: CountsBySwitch
    """Malformed messages by switch and error code."""
    rejected: RejectsBySwitch
    """Rejected authorizations by switch."""


class CounterFile:
    """The file, mapped by the one process that writes it. A context manager."""

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        """Map ``folder/counters``. Create the file if it is missing.

        A file that is damaged or of another format is replaced, and ``warn`` is called with the reason. Raise
        StoreError if the file cannot be created.
        """
        self.path = folder / FILE
        try:
            _convert(self.path)
            problem = _problem(self.path)
            if problem is not None:
                if problem:
                    warn(f"the counters start again from zero: {self.path} {problem}")
                _make(self.path)
            # A truncated file would cause SIGBUS. This program only replaces the file, and no other writes it.
            self._use(self._opened())
        except OSError as error:
            raise StoreError(f"cannot create the counters {self.path}: {error.strerror}") from error
        if not self.cells[PLACE["began"]]:
            self.cells[PLACE["began"]] = int(time.time())
        self._copy = max(_area(self._map, place)[0] for place in (0, 1))

    def _opened(self) -> tuple[mmap.mmap, tuple[int, int]]:
        """Return the mapped file, with its device and inode."""
        with self.path.open("r+b") as file:
            found = os.fstat(file.fileno())
            return mmap.mmap(file.fileno(), SIZE), (found.st_dev, found.st_ino)

    def _use(self, opened: tuple[mmap.mmap, tuple[int, int]]) -> None:
        self._map, self._identity = opened
        self._view = memoryview(self._map)
        self.cells = self._view[_FIRST_CELL:_END].cast("Q")
        """The mapped numbers of :data:`REGISTRY` and :data:`HISTOGRAMS`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the file. It remains in its folder."""
        self.cells.release()
        self._view.release()
        self._map.close()

    def lost(self) -> bool:
        """Return True if a reader would not find this file at its path."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # no one can read or replace it
            return False
        return (found.st_dev, found.st_ino) != self._identity

    def renew(self) -> memoryview:
        """Write the lost file again with the current numbers. Return its :attr:`cells`.

        If that fails, the lost file stays in use until the next attempt.
        """
        try:
            _make(self.path, bytes(self._map))
            opened = self._opened()
        except OSError:
            return self.cells
        self.close()
        self._use(opened)
        return self.cells

    def tables(self) -> Tables:
        """Return the last complete copy of the tables."""
        return _tables(self._map)

    def write_tables(self, tables: Tables) -> None:
        """Write a copy of the tables over the older of the two copies."""
        raw = _encode(tables)
        if len(raw) > AREA_BYTES - _AREA.size:
            return  # not possible, since all tables are bounded; no copy is better than a torn one
        self._copy += 1
        begin = _FIRST_AREA + self._copy % 2 * AREA_BYTES
        self._map[begin + _AREA.size : begin + _AREA.size + len(raw)] = raw
        _AREA.pack_into(self._map, begin, self._copy, len(raw), _checksum(self._copy, raw))


def read(folder: Path) -> Snapshot:
    """Return a copy of the counters in ``folder``. Raise StoreError if they are missing or cannot be read."""
    path = folder / FILE
    try:
        raw = _current(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"no counters at {path}, since no server has run there yet. Start one with "
            f'`identengine serve --config FILE` and [calls] path = "{folder}".'
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read the counters {path}: {error.strerror}") from error
    if problem := _wrong(raw):
        raise StoreError(f"cannot read the counters: {path} {problem}")
    cells = tuple(memoryview(raw)[_FIRST_CELL:_END].cast("Q"))
    values = {
        known.name: sum(cells[PLACE[known.name] : PLACE[known.name] + len(known.series)]) for known in REGISTRY
    }
    for name, (_, parts) in SUMS.items():
        values[name] = sum(values[part] for part in parts)
    tables = _tables(raw)
    return Snapshot(values, cells, tables.addresses, tables.malformed, tables.rejected)


def bump(folder: Path, name: str) -> None:
    """Add 1 to a number that the process that maps the file does not write.

    Do nothing if there is no such number or no usable file. The file is not mapped, since the supervisor, which
    calls this, must not die of SIGBUS.
    """
    if name not in PLACE:
        return
    place = _FIRST_CELL + 8 * PLACE[name]
    with suppress(OSError):
        file = os.open(folder / FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not _wrong(os.pread(file, SIZE + 1, 0)):
                (count,) = _NUMBER.unpack(os.pread(file, _NUMBER.size, place))
                os.pwrite(file, _NUMBER.pack(count + 1), place)
        finally:
            os.close(file)


def _problem(path: Path) -> str | None:
    """Return the reason why a file cannot be used: ``""`` if it is missing, None if it can be used."""
    try:
        raw = path.read_bytes() if path.stat().st_size <= SIZE else b""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return _wrong(raw)


def _wrong(raw: bytes) -> str | None:
    """Return the reason why the bytes of a file cannot be used, or None if they can."""
    if len(raw) < _HEADER.size or not raw.startswith(_MAGIC):
        return "is damaged, or belongs to another program"
    _, format_, names = _HEADER.unpack_from(raw)
    if (format_, names) != (FORMAT, _NAMES):
        return "was written by another version of this program"
    if len(raw) != SIZE:
        return f"is damaged: expected {SIZE} bytes, got {len(raw)}"
    return None


def _convert(path: Path) -> None:
    """Replace a file of an earlier format by one of the current format with the same counts."""
    try:
        raw = path.read_bytes() if path.stat().st_size <= SIZE else b""
    except OSError:
        return
    current = _current(raw)
    if current is not raw:
        _make(path, current)


def _current(raw: bytes) -> bytes:
    """Return the bytes of a file in the current format; ``raw`` itself if it is not of a known earlier format."""
    found = earlier(raw)
    if found is None:
        return raw
    image = bytearray(SIZE)
    _HEADER.pack_into(image, 0, _MAGIC, FORMAT, _NAMES)
    cells = {known.name: len(known.series) for known in REGISTRY} | {one.name: one.cells for one in HISTOGRAMS}
    for name, values in found.cells.items():
        if cells.get(name) == len(values):
            struct.pack_into(f"={len(values)}Q", image, _FIRST_CELL + 8 * PLACE[name], *values)
    body = _encode(Tables(found.addresses))
    _AREA.pack_into(image, _FIRST_AREA, 1, len(body), _checksum(1, body))
    image[_FIRST_AREA + _AREA.size : _FIRST_AREA + _AREA.size + len(body)] = body
    return bytes(image)


def _make(path: Path, content: bytes = b"") -> None:
    """Replace the file by a new one in one step, since another process may still map the old one."""
    new = path.with_name(f"{FILE}.new")
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(file, 0, SIZE)
        os.pwrite(file, content or _HEADER.pack(_MAGIC, FORMAT, _NAMES), 0)
    except OSError:
        new.unlink()
        raise
    finally:
        os.close(file)
    new.replace(path)


def _area(raw: bytes | mmap.mmap, place: int) -> tuple[int, bytes | None]:
    """Return the number and the bytes of the copy in an area, or 0 and None if it is incomplete or missing."""
    begin = _FIRST_AREA + place * AREA_BYTES
    number, length, checksum = _AREA.unpack_from(raw, begin)
    if not number or length > AREA_BYTES - _AREA.size:
        return 0, None
    body = bytes(raw[begin + _AREA.size : begin + _AREA.size + length])
    return (number, body) if _checksum(number, body) == checksum else (0, None)


def _tables(raw: bytes | mmap.mmap) -> Tables:
    """Return the newest complete copy, or empty tables if both areas are empty or damaged."""
    for _, body in sorted((_area(raw, place) for place in (0, 1)), key=lambda found: -found[0]):
        if body is not None:
            try:
                return _decode(body)
            except msgspec.MsgspecError:
                continue
    return Tables()


def _checksum(number: int, body: bytes) -> int:
    return zlib.crc32(body, number & 0xFFFFFFFF)
