"""The check of a whole store: every row, the sums of every version, and the order of the rows.

A damaged page can kill the process that reads it (SIGSEGV, SIGBUS). Rule: :func:`check_store` therefore reads in a
child process, ``python -m identengine.store.verify STORE [VERSION]``, and reports its death as damage.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import msgspec

from identengine.errors import DamagedError, StoreError
from identengine.store.chain import is_chained
from identengine.store.check import run_module
from identengine.store.file import close_file, open_file, require
from identengine.store.format import (
    CHANGES,
    EVENTS,
    FORMAT,
    FORMAT_UNSEALED,
    META,
    META_CHAIN,
    META_FORMAT,
    META_HASH_KEY,
    META_HEAD,
    META_RETIRED,
    ROOM_NAMES,
    STAMP_BYTES,
    STAMPED,
    SUMS,
    VERSIONS,
    row_name,
    version_of,
)
from identengine.store.keys import lifetimes, missing_lists, newest, record_of
from identengine.store.salvage import readable_rows
from identengine.store.seals import SEAL_BYTES, is_sealed
from identengine.store.snapshot import Snapshot
from identengine.store.sums import History, Sums, row_hash, sums_of
from identengine.store.transaction import Txn

LISTED = 100
"""Most items of damage that a report lists. It counts all."""
_TRIED = 20
"""Most versions that are tried one by one after the check of the whole store died."""


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One item of damage."""

    version: int | None = None
    """The version that is damaged or wrote the damaged row, or None if it is not known."""
    table: str | None = None
    row: str | None = None
    what: str
    """The damage as a sentence without its full stop."""


class Report(msgspec.Struct, kw_only=True):
    """The result of a check."""

    format: int
    version: int | None = None
    """Number of the newest version, or None if it is not known."""
    damaged: list[int] = []
    """The versions that are damaged."""
    newest_sound: int | None = None
    """The newest version that is sound, or None."""
    damage: list[Damage] = []
    """The first :data:`LISTED` items of damage."""
    total: int = 0
    """Number of all items of damage."""
    crashed: bool = False
    """True if a damaged page killed the check. A roll back would die as well."""


def check_store(path: Path) -> Report:
    """Check the store at ``path`` in a child process. Raise StoreError if it cannot be opened."""
    require(path)
    done = run_module(__name__, str(path))
    reports = [msgspec.json.decode(line, type=Report) for line in done.stdout.splitlines() if line.endswith(b"}")]
    if done.returncode == 0:
        return reports[-1]
    if done.returncode > 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise StoreError(lines[-1] if lines else f"the check exited with status {done.returncode}")
    report = reports[0] if reports else Report(format=int(FORMAT))
    signalled = signal.Signals(-done.returncode).name
    report.damage = [Damage(what=f"a damaged page killed the process that read it ({signalled})")]
    report.total = 1
    report.newest_sound, report.crashed = None, True
    head = report.version or 0
    for version in range(head, max(0, head - _TRIED), -1):
        if not run_module(__name__, str(path), str(version)).returncode:
            report.newest_sound = version
            break
        report.damaged.append(version)
    return report


def examine(txn: Txn, hash_key: bytes) -> Report:
    """Check all rows and versions that a transaction sees. A store of format 1 has no checksums to check."""
    report = _empty(txn)
    if txn.sealed:
        _Examination(txn, hash_key, report).run()
    return report


def examine_copy(data: Path, hash_key: bytes) -> Report:
    """Check a new data file that no other process uses."""
    with (
        lmdb.open(str(data), subdir=False, map_size=0, readonly=True, lock=False, create=False) as env,
        env.begin() as raw,
    ):
        return examine(Txn(raw, env.begin), hash_key)


def _empty(txn: Txn) -> Report:
    try:
        head = newest(txn).version
    except DamagedError:
        head = None
    form = FORMAT if txn.sealed else FORMAT_UNSEALED
    return Report(format=int(form), version=head, newest_sound=head or None)


class _Examination:
    """One check of a whole store."""

    def __init__(self, txn: Txn, hash_key: bytes, report: Report) -> None:
        self._txn = txn
        self._report = report
        self._row_hash = row_hash(hash_key)
        self._history = History()
        self._newest_stamp = 0
        self._counts = dict.fromkeys(ROOM_NAMES, 0)

    def run(self) -> None:
        """Check the rows, then the versions, and complete the report."""
        for row_key, since, until, key, stored in lifetimes(self._sealed_rows()):
            self._newest_stamp = max(self._newest_stamp, since)
            if value := stored[:-SEAL_BYTES]:
                self._history.add(key[:1], since, until, self._row_hash(row_key, value))
        self._check_meta()
        self._check_versions()

    def _sealed_rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Check each row alone. Yield the rows of versions whose checksum matches."""
        last = b""
        for key, stored in readable_rows(self._txn, self._note_gap):
            table = key[:1]
            sealed = is_sealed(key, stored)
            if table not in self._counts:
                self._note_row(key, "it belongs to no table")
                continue
            if not sealed and key != META_FORMAT:
                self._note_row(key, "its checksum does not match")
            if key <= last:
                self._note_row(key, "it is out of order")
            elif not self._is_found(key):
                self._note_row(key, "a search does not find it")
            last = key
            self._counts[table] += 1
            if sealed and table in STAMPED:
                yield key, stored

    def _is_found(self, key: bytes) -> bool:
        try:
            return self._txn.has(key)
        except DamagedError:
            return False

    def _check_meta(self) -> None:
        for key in (META_HEAD, META_RETIRED, META_HASH_KEY):
            with contextlib.suppress(DamagedError):  # noted already
                if not self._txn.has(key):
                    self._note(table=ROOM_NAMES[META], row=row_name(key), what="it is missing")
        with contextlib.suppress(DamagedError):
            if not self._txn.has(META_CHAIN) and is_chained(self._txn):
                self._note(table=ROOM_NAMES[META], row=row_name(META_CHAIN), what="it is missing")
        with contextlib.suppress(DamagedError):
            missing = newest(self._txn).event - self._counts[EVENTS]
            if missing:
                self._note(table=ROOM_NAMES[EVENTS], what=f"{missing} events of the audit log are missing")

    def _check_versions(self) -> None:
        report = self._report
        report.newest_sound = None
        last = max(report.version or 0, self._newest_stamp)
        for version, sums in self._history.each(last):
            if self._is_sound(version, sums):
                report.newest_sound = version
            else:
                report.damaged.append(version)
        report.version = last if report.version is None else report.version

    def _is_sound(self, version: int, sums: Sums) -> bool:
        try:
            info, wanted = record_of(self._txn, version), sums_of(self._txn, version)
            listless = missing_lists(self._txn, info)
        except DamagedError:
            what = "its record or its sums are damaged or missing"
            self._note(version=version, table=ROOM_NAMES[VERSIONS], what=what)
            return False
        if listless:
            self._note(version=version, table=ROOM_NAMES[CHANGES], what="a list of changes is missing")
        differing = [table for table, total in sums.items() if wanted is None or wanted[table] != total]
        for table in differing:
            what = "rows are damaged, missing or outdated: the sum of the table differs"
            self._note(version=version, table=ROOM_NAMES[table], what=what)
        return not differing

    def _note_gap(self, key: bytes) -> None:
        row = row_name(key) if key else None
        self._note(table=ROOM_NAMES.get(key[:1]), row=row, what="the rows after it are in a page that is invalid")

    def _note_row(self, key: bytes, what: str) -> None:
        version = None
        if key[:1] in STAMPED:
            version = version_of(key[-STAMP_BYTES:])
        elif key[:1] in (VERSIONS, SUMS, CHANGES):
            version = int.from_bytes(key[1:9], "big")
        if version is not None and version > (self._report.version or 0):
            version = None  # a damaged key may name any version
        self._note(version=version, table=ROOM_NAMES.get(key[:1]), row=row_name(key), what=what)

    def _note(
        self, *, what: str, version: int | None = None, table: str | None = None, row: str | None = None
    ) -> None:
        self._report.total += 1
        if len(self._report.damage) < LISTED:
            self._report.damage.append(Damage(version=version, table=table, row=row, what=what))


def main(arguments: list[str]) -> int:
    """Run the child process: check the store, or only one version. Return its exit status."""
    path, *versions = arguments
    try:
        file = open_file(Path(path), create=False, readonly=True)
        with file.reading() as txn:
            for version in map(int, versions):
                Snapshot(txn, record_of(txn, version), file.hash_key).verify()
            if not versions:
                # The first line is of use if a damaged page kills the process.
                sys.stdout.buffer.write(msgspec.json.encode(_empty(txn)) + b"\n")
                sys.stdout.flush()
                sys.stdout.buffer.write(msgspec.json.encode(examine(txn, file.hash_key)) + b"\n")
        close_file(file)
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
