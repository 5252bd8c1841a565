"""The mirror of the set of calls: LMDB in a file on tmpfs that outlives the process (engine.md 5.8).

One process writes, and reads once when it starts; nobody else opens the file, so no reader can make it grow. It is
made as large as ``max_legs`` need, and all of it is taken at once: with a writable map a full tmpfs would kill the
process (SIGBUS). A transaction per batch makes a batch whole or not there, whenever the process dies.

Legs are keyed by their slot. Slots are used again, the last freed first, so that the pages that are written stay
few however many legs there are.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

import lmdb
import msgspec

from identengine.calls.legs import Leg
from identengine.calls.lists import Note
from identengine.calls.memory import Changes, MirrorFullError
from identengine.calls.stops import Row
from identengine.errors import StoreError

FORMAT = 1
LEG_BYTES = 1024
"""Room for one leg: one reserved takes some 600 bytes, an active one 200, and pages are never full."""
_BASE_BYTES = 8 * 1024 * 1024
_BEAT_SECONDS = 1.0
_FILE = "calls.mdb"

_place = struct.Struct("=I").pack
_serial = struct.Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode
_NOTHING = _encode(None)
_decode_leg = msgspec.msgpack.Decoder(Leg).decode
_decode_row = msgspec.msgpack.Decoder(Row).decode
_decode_note = msgspec.msgpack.Decoder(float | tuple[str, ...]).decode


class _Beat(msgspec.Struct, array_like=True):
    """When the file was last written: it tells how long a machine was down."""

    format: int
    boot: str
    now: float
    """By the set's clock, which begins anew with each boot."""
    wall: float
    """Unix seconds."""


_decode_beat = msgspec.msgpack.Decoder(_Beat).decode


class InUseError(StoreError):
    """Another process decides on this set of calls."""


class Journal:
    """One open mirror; a context manager."""

    def __init__(self, folder: Path, max_legs: int, alarm: Callable[[str], None]) -> None:
        """Open the mirror in ``folder``, which is made where it is missing.

        Raises InUseError where another process has it, StoreError where there is no room for ``max_legs`` legs or
        it cannot be made. A file that is damaged or of another format is set aside, and ``alarm`` is told.
        """
        self.path = folder / _FILE
        self._alarm = alarm
        self._last_beat = 0.0
        self._boot = boot_id()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder / "lock")
        except OSError as error:
            raise StoreError(f"the set of calls cannot be kept in {folder}: {error.strerror}") from error
        try:
            self._open(_BASE_BYTES + max_legs * LEG_BYTES)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the mirror; it stays."""
        self._env.close()
        self._lock.close()

    def write(self, changes: Changes) -> None:
        """Keep what changed, all or nothing. Raises MirrorFullError."""
        try:
            with self._env.begin(write=True) as txn:
                for db, legs in ((self._large, changes.large), (self._small, changes.small)):
                    if legs:  # one that is gone is written as nothing: its place is used again soon
                        txn.cursor(db).putmulti(zip(map(_place, legs), map(_encode, legs.values()), strict=True))
                for serial, row in changes.stops.items():
                    if row is None:
                        txn.delete(_serial.pack(serial), db=self._stops)
                    else:
                        txn.put(_serial.pack(serial), _encode(row), db=self._stops)
                for name, note in changes.notes.items():
                    if note is None:
                        txn.delete(name.encode(), db=self._notes)
                    else:
                        txn.put(name.encode(), _encode(note), db=self._notes)
        except lmdb.MapFullError as error:
            raise MirrorFullError from error

    def used(self) -> int:
        """Return how many bytes of the file were ever written."""
        return int(self._env.info()["last_pgno"] + 1) * int(self._env.stat()["psize"])

    def beat(self, now: float) -> None:
        """Note the time, about once a second: for leases after the machine was started anew."""
        if now - self._last_beat >= _BEAT_SECONDS:
            self._last_beat = now
            with self._env.begin(write=True) as txn:
                txn.put(b"beat", _encode(_Beat(FORMAT, self._boot, now, time.time())), db=self._meta)

    def read(self, now: float) -> tuple[list[Leg], list[tuple[int, Row]], dict[str, Note]]:
        """Return what was kept: legs, rows of stops by ascending serial, notes; times by this boot's clock."""
        try:
            kept = self._read()
        except (lmdb.Error, msgspec.MsgspecError, struct.error, ValueError) as error:
            self._set_aside(f"it is damaged ({error})")
            return [], [], {}
        legs, stops, notes, beat = kept
        if beat is not None and beat.boot != self._boot:
            # The clock began anew: what was left of each lease is left now, less how long the machine was off.
            shift = now - beat.now - max(0.0, time.time() - beat.wall)
            for leg in legs:
                leg.since, leg.due = leg.since + shift, leg.due + shift
            stops = [(serial, (until + shift, rows)) for serial, (until, rows) in stops]
            notes = {name: note + shift if isinstance(note, float) else note for name, note in notes.items()}
        return legs, stops, notes

    def _read(self) -> tuple[list[Leg], list[tuple[int, Row]], dict[str, Note], _Beat | None]:
        with self._env.begin() as txn:
            beat = txn.get(b"beat", db=self._meta)
            legs = [
                _decode_leg(value)
                for db in (self._small, self._large)
                for _, value in txn.cursor(db)
                if value != _NOTHING
            ]
            stops = [(_serial.unpack(key)[0], _decode_row(value)) for key, value in txn.cursor(self._stops)]
            notes: dict[str, Note] = {k.decode(): _decode_note(v) for k, v in txn.cursor(self._notes)}
            return legs, stops, notes, None if beat is None else _decode_beat(beat)

    def _open(self, size: int) -> None:
        self._size = size
        there = self.path.stat().st_size if self.path.exists() else 0
        if there:
            problem = self._problem(there)
            if problem is not None:
                self._set_aside(problem)
                return
        self._open_env()

    def _open_env(self) -> None:
        try:
            self._env = _environment(self.path, self._size)
            with self.path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
            self._small = self._env.open_db(b"small", integerkey=True)
            self._large = self._env.open_db(b"large", integerkey=True)
            self._stops = self._env.open_db(b"stops")
            self._notes = self._env.open_db(b"notes")
            self._meta = self._env.open_db(b"meta")
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise StoreError(
                f"the set of calls needs {self._size >> 20} MiB in {self.path.parent}, and they are not there "
                f"({error.strerror}); make room, or set a smaller max_legs"
            ) from error
        except lmdb.Error as error:
            raise StoreError(f"the set of calls {self.path} cannot be opened: {error}") from error

    def _problem(self, size: int) -> str | None:
        """Return what is wrong with a file of so many bytes; None where it can be used."""
        try:
            env = _environment(self.path, max(size, self._size), readonly=True)
        except lmdb.Error as error:
            return f"it is damaged ({error})"
        with env:
            info = env.info()
            if (info["last_pgno"] + 1) * env.stat()["psize"] > size:
                return "it is cut short"
            with env.begin() as txn:
                meta = txn.get(b"meta")
                if meta is None:
                    return None
                beat = txn.get(b"beat", db=env.open_db(b"meta", txn, create=False))
        try:
            found = FORMAT if beat is None else msgspec.msgpack.decode(beat, type=list)[0]
        except (msgspec.MsgspecError, IndexError) as error:
            return f"it is damaged ({error})"
        return None if found == FORMAT else f"it is of format {found}, and this program writes {FORMAT}"

    def _set_aside(self, why: str) -> None:
        """Put the file out of the way, say so, and begin with an empty one."""
        if hasattr(self, "_env"):
            self._env.close()
        aside = self.path.with_name(f"{_FILE}.{time.time_ns()}")
        self.path.rename(aside)
        self._alarm(
            f"the set of calls {self.path} cannot be used: {why}. It was put aside as {aside.name}, and the calls "
            "in it are not counted until their switches name them (update, sync)"
        )
        self._open_env()


def boot_id() -> str:
    """Return what tells this run of the machine from others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _environment(path: Path, size: int, *, readonly: bool = False) -> lmdb.Environment:
    return lmdb.open(
        str(path),
        map_size=size,
        subdir=False,
        lock=False,  # the lock file beside it is ours; nobody else opens this one
        readonly=readonly,
        writemap=not readonly,
        sync=False,
        metasync=False,
        max_dbs=5,
        mode=0o600,
    )


def _locked(path: Path) -> IO[bytes]:
    """Return the lock file, held until it is closed or the process ends, however it ends."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InUseError(
            f"another process decides on the set of calls in {path.parent}; end it first, or give this server a "
            "path of its own ([calls] path)"
        ) from None
    return file
