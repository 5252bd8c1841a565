"""Counters in one mapped file that outlives the process that counts: for ``stats``, ``top`` and metrics.

``counters`` beside the set of calls has a fixed size, taken when it is made (on a full tmpfs a mapped page that is
not there yet would be SIGBUS). Each of its 8-byte numbers is written in place by one process, so that it survives
``kill -9`` as it was at that moment: nearly all by the decider, which maps the file, a few by the supervisor
(:func:`bump`). Anybody else takes a copy by reading the file once: no lock, nothing open or mapped, so a reader
that is stopped holds up nobody.

:data:`REGISTRY` is the one list of what is counted. An entry is one number for a person (``stats``), and as many
cells of the file as it has series for Prometheus (:mod:`identengine.stats.metrics`): rejects by interface and
direction, say. :data:`HISTOGRAMS` are cells as well.

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
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Literal, NamedTuple, Self

import msgspec

from identengine.errors import StoreError
from identengine.model.reasons import Reason
from identengine.model.records import INTERFACES, Direction, Interface
from identengine.stats.heavyhitters import Counts

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

METHODS = ("authorize", "identify", "explain", "start", "update", "stop", "sync", "switch_up", "switch_down")
UNKNOWN_WAY = "unknown"
WAYS = (*(way.value for way in Direction), UNKNOWN_WAY)
"""Of an authorization; of a reject it may be unknown."""
CONNECTED: tuple[Interface, ...] = ("tcp", "tls", "http", "resp")
"""Interfaces with connections."""
PROCESSES = ("decider", "standby", "front")
DROPPED = ("unknown_peer", "too_old")
"""Why a datagram is dropped undecided."""
REFUSED = ("unknown_peer", "too_many", "too_many_of_switch", "tls_handshake")
"""Why a connection is not let in."""


class Family(NamedTuple):
    """What Prometheus calls a metric: one name, one explanation, one set of labels."""

    name: str
    """Without what all begin with; it ends in its unit, and a counter in ``_total``."""
    kind: Literal["counter", "gauge"]
    what: str
    labels: tuple[str, ...] = ()
    unit: float = 1.0
    """What 1 in the file is worth in the unit of the name."""


class Known(NamedTuple):
    """One number for a person, and its cells."""

    name: str
    kind: Literal["counter", "gauge"]
    """A counter only grows, over restarts too; a gauge is what was so a moment ago."""
    what: str
    """A line of explanation."""
    family: str | None
    """The family that its cells are series of; None: it is none for Prometheus."""
    series: tuple[tuple[str, ...], ...] = ((),)
    """The values of the family's labels, of each cell."""


class Histogram(NamedTuple):
    """How often a value was how large. Its cells: one for each bound, one for what is larger, and the sum."""

    name: str
    what: str
    bounds: tuple[float, ...]
    """A value counts where it is no larger than the bound, and larger than the one before."""
    unit: float
    """What 1 in the cell of the sum is worth."""

    @property
    def cells(self) -> int:
        """How many it has."""
        return len(self.bounds) + 2


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("requests_total", "counter", "Requests that were decided.", ("interface", "method")),
        Family("accepted_total", "counter", "Authorizations that were accepted.", ("interface", "direction")),
        Family(
            "rejected_total",
            "counter",
            "Authorizations that were rejected.",
            ("interface", "direction", "reason"),
        ),
        Family("retransmissions_total", "counter", "Authorizations that were answered as before."),
        Family("unreserved_total", "counter", "Accepted calls without a slot, since they came without call_id."),
        Family("wrong_parameters_total", "counter", "Life-cycle messages with a parameter that cannot be used."),
        Family("overcommits_total", "counter", "Calls that exist and were counted over a limit."),
        Family("unknown_calls_total", "counter", "Life-cycle messages of calls that are not held.", ("method",)),
        Family("missing_calls_total", "counter", "Calls in complete lists of switches that are not held."),
        Family("freed_legs_total", "counter", "Legs that were freed before their lease lapsed.", ("by",)),
        Family("lapsed_legs_total", "counter", "Legs whose lease lapsed.", ("state",)),
        Family("datagrams_dropped_total", "counter", "Datagrams that were dropped undecided.", ("why",)),
        Family("connections_refused_total", "counter", "Connections that were not let in.", ("why",)),
        Family("wrong_tokens_total", "counter", "Requests and connections with a wrong token."),
        Family(
            "messages_shed_total", "counter", "Messages that were answered overload, undecided.", ("interface",)
        ),
        Family("answers_unsent_total", "counter", "Answers over UDP that the system did not take."),
        Family("faults_total", "counter", "Faults of the program, of requests or beside them."),
        Family("log_lines_dropped_total", "counter", "Log lines of the decider that nobody read in time."),
        Family("restarts_total", "counter", "Processes that died and were replaced.", ("process",)),
        Family("decider_starts_total", "counter", "Times that a process began to decide."),
        Family("decider_cpu_seconds_total", "counter", "CPU time of the processes that decided.", unit=1e-6),
        Family("book_loads_total", "counter", "Versions of the book that were taken up."),
        Family("counters_began_timestamp_seconds", "gauge", "When these counters were begun."),
        Family("decider_start_timestamp_seconds", "gauge", "When the process that decides began."),
        Family("noted_timestamp_seconds", "gauge", "When the decider noted its gauges last."),
        Family("decider_resident_memory_bytes", "gauge", "Memory of the process that decides."),
        Family("connections", "gauge", "Connections that are open.", ("interface",)),
        Family("book_version", "gauge", "Version of the book in use; 0: none."),
        Family("book_made_timestamp_seconds", "gauge", "When the version in use was made; 0: there is none."),
        Family("book_taken_up_timestamp_seconds", "gauge", "When the version in use was taken up; 0: none is."),
        Family("book_load_seconds", "gauge", "How long the version in use took to load.", unit=1e-6),
        Family("book_load_pause_seconds", "gauge", "Longest pause for requests while it was loaded.", unit=1e-6),
        Family("legs_held", "gauge", "Legs that hold slots: the reserved and the active ones."),
        Family("legs", "gauge", "Legs that are known.", ("state",)),
        Family("legs_max", "gauge", "Legs that the set of calls has room for."),
        Family("mirror_used_bytes", "gauge", "Bytes of the mirror that are in use."),
        Family("mirror_size_bytes", "gauge", "Size of the mirror."),
    )
}


def _counter(name: str, what: str, family: str, *series: tuple[str, ...]) -> Known:
    return Known(name, "counter", what, family, series or ((),))


def _gauge(name: str, what: str, family: str | None, *series: tuple[str, ...]) -> Known:
    return Known(name, "gauge", what, family, series or ((),))


def _rejected(reason: Reason) -> Known:
    series = ((interface, way, reason.value) for interface in INTERFACES for way in WAYS)
    return _counter(f"rejected_{reason}", f"authorizations rejected as {reason}", "rejected_total", *series)


def _requests(method: str) -> Known:
    series = ((interface, method) for interface in INTERFACES)
    return _counter(f"requests_{method}", f"requests of the method {method}", "requests_total", *series)


def _each(values: Iterable[str], name: str, what: str, family: str) -> Iterable[Known]:
    """Return a counter for each value of a family's one label."""
    return (_counter(name.format(one), what.format(one.replace("_", " ")), family, (one,)) for one in values)


REGISTRY: tuple[Known, ...] = (
    *(_requests(method) for method in METHODS),
    _counter(
        "accepted",
        "authorizations that were accepted",
        "accepted_total",
        *((interface, way.value) for interface in INTERFACES for way in Direction),
    ),
    *(_rejected(reason) for reason in Reason),
    _counter(
        "retransmissions",
        "authorizations that were answered as before, without a second slot",
        "retransmissions_total",
    ),
    _counter("unreserved", "accepted calls without a slot, since they came without call_id", "unreserved_total"),
    _counter(
        "wrong_parameters",
        "starts, updates, stops and syncs with a parameter that cannot be used",
        "wrong_parameters_total",
    ),
    _counter("overcommits", "calls that exist and were counted over a limit", "overcommits_total"),
    *_each(("start", "update", "stop"), "unknown_{}s", "{}s of calls that are not held", "unknown_calls_total"),
    _counter("missing_calls", "calls in complete lists of switches that are not held", "missing_calls_total"),
    _counter("freed_by_stop", "legs freed by a stop", "freed_legs_total", ("stop",)),
    _counter(
        "freed_by_sync",
        "legs freed since two complete lists of their switch lacked them",
        "freed_legs_total",
        ("sync",),
    ),
    _counter("freed_by_switch", "legs freed by switch_up and switch_down", "freed_legs_total", ("switch",)),
    _counter("freed_by_operator", "legs freed by `calls end`", "freed_legs_total", ("operator",)),
    _counter("lapsed_reserved", "reservations that lapsed without a start", "lapsed_legs_total", ("reserved",)),
    _counter("lapsed_active", "active legs that lapsed without a stop", "lapsed_legs_total", ("active",)),
    *_each(DROPPED, "datagrams_dropped_{}", "datagrams dropped undecided: {}", "datagrams_dropped_total"),
    *_each(REFUSED, "connections_refused_{}", "connections that were not let in: {}", "connections_refused_total"),
    _counter("wrong_tokens", "requests and connections with a wrong token", "wrong_tokens_total"),
    *_each(INTERFACES, "messages_shed_{}", "messages by {} answered overload, undecided", "messages_shed_total"),
    _counter("answers_unsent", "answers that the system did not take over UDP", "answers_unsent_total"),
    _counter("faults", "faults of the program, of requests or beside them", "faults_total"),
    _counter("log_lines_dropped", "log lines of the decider that nobody read in time", "log_lines_dropped_total"),
    _counter("deciders_started", "times that a process began to decide", "decider_starts_total"),
    *_each(PROCESSES, "restarts_{}", "times that a {} died and was replaced", "restarts_total"),
    _counter("book_loads", "versions of the book that were taken up", "book_loads_total"),
    _counter("cpu_microseconds", "CPU time of the processes that decided", "decider_cpu_seconds_total"),
    _gauge("began", "when these counters were begun, Unix seconds", "counters_began_timestamp_seconds"),
    _gauge("started", "when the process that decides began, Unix seconds", "decider_start_timestamp_seconds"),
    _gauge("noted", "when gauges were written last, Unix seconds", "noted_timestamp_seconds"),
    _gauge("pid", "of the process that decides, or did last", None),
    _gauge("resident_bytes", "memory of the process that decides", "decider_resident_memory_bytes"),
    *(
        _gauge(f"connections_{one}", f"connections by {one} that are open", "connections", (one,))
        for one in CONNECTED
    ),
    _gauge("book_version", "version of the book in use; 0: none", "book_version"),
    _gauge("book_made", "when that version was made, Unix seconds", "book_made_timestamp_seconds"),
    _gauge("book_taken_up", "when it was taken up, Unix seconds", "book_taken_up_timestamp_seconds"),
    _gauge("book_load_microseconds", "how long it took to load", "book_load_seconds"),
    _gauge("book_pause_microseconds", "longest pause for requests meanwhile", "book_load_pause_seconds"),
    _gauge("held", "legs that hold slots", "legs_held"),
    _gauge("reserved", "legs that are reserved", "legs", ("reserved",)),
    _gauge("active", "legs that are active", "legs", ("active",)),
    _gauge("remembered", "lapsed legs that can be revived", "legs", ("remembered",)),
    _gauge("max_legs", "legs that the set of calls has room for", "legs_max"),
    _gauge("mirror_used_bytes", "bytes of the mirror that are in use", "mirror_used_bytes"),
    _gauge("mirror_bytes", "size of the mirror", "mirror_size_bytes"),
)
"""Every number, in its place; one that is added or moved is another format."""

HISTOGRAMS: tuple[Histogram, ...] = (
    Histogram(
        "decide_seconds",
        "Time that a request waited for its decision, from when its batch was read to when the batch was decided.",
        (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        1e-9,
    ),
    Histogram(
        "batch_requests",
        "Requests that were decided together.",
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
        1.0,
    ),
)
"""They stand behind the numbers."""

SUMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "strangers_refused": (
        "datagrams and connections that were not let in",
        ("datagrams_dropped_unknown_peer", *(f"connections_refused_{why}" for why in REFUSED)),
    ),
    "messages_shed": (
        "messages over connections that had waited too long and were not decided",
        tuple(f"messages_shed_{interface}" for interface in INTERFACES),
    ),
}
"""Numbers for a person that are sums of others: what each is, and of which."""


def _places() -> tuple[dict[str, int], int]:
    """Return the first cell of everything, and how many cells there are."""
    places: dict[str, int] = {}
    cells = 0
    for known in REGISTRY:
        places[known.name] = cells
        cells += len(known.series)
    for histogram in HISTOGRAMS:
        places[histogram.name] = cells
        cells += histogram.cells
    return places, cells


PLACE, CELLS = _places()
"""Where the first cell of each stands in :attr:`CounterFile.cells`, and how many cells there are."""

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
