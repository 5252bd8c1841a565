"""Counters in one mapped file that outlives the process that counts: for ``stats``, ``top`` and metrics.

``counters`` beside the set of calls has a fixed size, taken when it is made (on a full tmpfs a mapped page that is
not there yet would be SIGBUS). Each of its 8-byte numbers is written in place by one process, so that it survives
``kill -9`` as it was at that moment: nearly all by the decider, which maps the file, a few by the supervisor
(:func:`bump`). Anybody else takes a copy by reading the file once: no lock, nothing open or mapped, so a reader
that is stopped holds up nobody. What the numbers are is the list of :mod:`identengine.stats.registry`.

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
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from identengine.errors import StoreError
from identengine.stats.heavyhitters import Counts
from identengine.stats.registry import CELLS, HISTOGRAMS, PLACE, REGISTRY, SUMS
from identengine.stats.upgrade import earlier

FILE = "counters"
FORMAT = 2
AREA_BYTES = 160 * 1024
"""Room for the addresses: 2,000 of them, of at most 39 characters, take 110 KiB."""
WRITE_SECONDS = 1.0
"""Between two copies of the addresses."""

_MAGIC = b"identengine/cnt\n"
_HEADER = struct.Struct("=16sI12s")
"""Magic, format, and a hash of the names: another list of counters is another format."""
_AREA = struct.Struct("=QII")
"""Number of the copy (0: none was made), bytes, checksum of number and bytes."""
_NUMBER = struct.Struct("=Q")
_FIRST_CELL = 64
_FIRST_AREA = 16384
SIZE = _FIRST_AREA + 2 * AREA_BYTES

_NAMES = blake2b(
    "\n".join([*(f"{known.name} {known.series}" for known in REGISTRY), *map(str, HISTOGRAMS)]).encode(),
    digest_size=12,
).digest()
_END = _FIRST_CELL + 8 * CELLS
_decode = msgspec.msgpack.Decoder(Counts).decode
_encode = msgspec.msgpack.Encoder().encode


class Snapshot(NamedTuple):
    """The file at a moment."""

    values: dict[str, int]
    """By the names of :data:`REGISTRY` and :data:`SUMS`: of each the sum of its cells."""
    cells: tuple[int, ...]
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
        try:
            _convert(self.path)
            problem = _problem(self.path)
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
        self.cells = self._view[_FIRST_CELL:_END].cast("Q")
        """The numbers of :data:`REGISTRY` and :data:`HISTOGRAMS`, in place."""
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
        raw = _current(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"there are no counters at {path}: no server has run there yet; `identengine serve --config FILE` "
            "does, with this path under [calls]"
        ) from None
    except OSError as error:
        raise StoreError(f"the counters {path} cannot be read: {error.strerror}") from error
    if problem := _wrong(raw):
        raise StoreError(f"the counters {path} cannot be read: {problem}")
    cells = tuple(memoryview(raw)[_FIRST_CELL:_END].cast("Q"))
    values = {
        known.name: sum(cells[PLACE[known.name] : PLACE[known.name] + len(known.series)]) for known in REGISTRY
    }
    for name, (_, parts) in SUMS.items():
        values[name] = sum(values[part] for part in parts)
    return Snapshot(values, cells, _addresses(raw))


def bump(folder: Path, name: str) -> None:
    """Count one more of what only the calling process counts, and not the one that has the file mapped.

    It maps nothing, and where there is no such number or no file that can be used, nothing is counted: for the
    supervisor, which must not die of it.
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
    body = _encode(found.addresses)
    _AREA.pack_into(image, _FIRST_AREA, 1, len(body), _checksum(1, body))
    image[_FIRST_AREA + _AREA.size : _FIRST_AREA + _AREA.size + len(body)] = body
    return bytes(image)


def _make(path: Path, content: bytes = b"") -> None:
    """Put a new file in place, whole: another process may still have the old one mapped."""
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
