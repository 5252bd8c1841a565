"""Rollback of a damaged store, which writes a new data file.

An edit cannot repair a damaged file, since its searches and its list of free pages are unreliable. Rule: the new
file gets all rows whose checksum matches, and a new version with the content of a sound version. It replaces the
old file after it has been verified. Versions that were damaged stay damaged, and all keep their numbers.
"""

from __future__ import annotations

import glob
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb

from identengine.errors import DamagedError
from identengine.store.chain import put_version
from identengine.store.file import DATA, GROWTH, StoreFile
from identengine.store.format import (
    BOOK,
    CHANGES,
    EVENTS,
    FORMAT,
    META_FORMAT,
    META_HEAD,
    META_RETIRED,
    ROOM_NAMES,
    STAMP_BYTES,
    STAMPED,
    SUMS,
    VERSIONS,
    Change,
    Changes,
    Event,
    VersionInfo,
    change_of,
    damaged,
    encode,
    event_row,
    number_bytes,
    stamp_of,
    version_of,
)
from identengine.store.history import walked_changes
from identengine.store.keys import MAX_LISTED_KEYS, Newest, missing_lists, newest, put_newest, record_of
from identengine.store.salvage import readable_rows
from identengine.store.seals import is_sealed
from identengine.store.snapshot import Snapshot
from identengine.store.sums import put_sums, sums_of
from identengine.store.transaction import Txn

_COMMIT = 200_000
"""Rows that a transaction copies. An open transaction holds its pages in memory."""
_LOST = "lost: its record was damaged"


def roll_back_into_new_file(
    file: StoreFile, version: int, who: str, inspect: Callable[[Iterator[Change]], None] | None = None
) -> VersionInfo:
    """Write a new file with a new version that has the content of ``version``. Return the new version.

    The caller must be the only writer. ``inspect`` receives the changes of the rows that are not damaged, before
    the new file replaces the old one. Raise DamagedError if ``version`` is damaged too.
    """
    prefix = f".repair-{file.data.name}-"
    for left in file.data.parent.glob(f"{glob.escape(prefix)}*"):  # a killed roll back may have left one
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=file.data.parent) as made:
        with lmdb.open(made, map_size=GROWTH * file.map_size(), sync=False, metasync=False) as env:
            with file.reading() as source:
                if not source.sealed:
                    raise damaged("it has format 1, which has no checksums, and its rows are invalid")
                numbers = _copy_rows(source, env)
            with env.begin(write=True) as raw:
                numbers = _fill_gaps(Txn(raw), numbers)
            with env.begin(write=True) as raw, env.begin() as before:
                info = _roll_back(Txn(before), Txn(raw), version, numbers, who)
            with env.begin() as raw:
                try:
                    Snapshot(Txn(raw), info, file.hash_key).verify()
                except DamagedError:
                    raise damaged(f"version {version} is damaged too") from None
            if inspect is not None:
                with env.begin() as raw:
                    inspect(_changes(Txn(raw), info.version))
            env.sync(True)
        file.replace(Path(made, DATA))
    return info


def _changes(txn: Txn, version: int) -> Iterator[Change]:
    """Yield the changes that ``version`` made to the rows which the version before has in the new file."""
    for table in BOOK:
        for raw in walked_changes(txn, table, version - 1, version):
            yield change_of(*raw)


def _copy_rows(source: Txn, env: lmdb.Environment) -> Newest:
    """Copy all rows whose checksum matches. Return the highest numbers of a version and an event."""
    versions, events = [0], [0]
    raw = env.begin(write=True)
    try:
        raw.put(META_FORMAT, FORMAT)
        for count, (key, stored) in enumerate(readable_rows(source, lambda _key: None), 1):
            if not is_sealed(key, stored) or key[:1] not in ROOM_NAMES:
                continue
            raw.put(key, stored)
            if key[:1] in STAMPED:
                versions[0] = max(versions[0], version_of(key[-STAMP_BYTES:]))
            elif key[:1] == VERSIONS:
                versions[0] = max(versions[0], int.from_bytes(key[1:], "big"))
            elif key[:1] == EVENTS:
                events[0] = max(events[0], int.from_bytes(key[1:], "big"))
            if count % _COMMIT == 0:
                raw.commit()
                raw = env.begin(write=True)
        if raw.get(META_HEAD) is not None:
            recorded = newest(Txn(raw))
            versions.append(recorded.version)
            events.append(recorded.event)
        raw.commit()
    finally:
        raw.abort()
    return Newest(max(versions), max(events))


def _fill_gaps(txn: Txn, numbers: Newest) -> Newest:
    """Replace lost records, so that the other versions and events can still be listed."""
    for version in range(1, numbers.version + 1):
        if txn.raw.get(VERSIONS + number_bytes(version)) is None:
            txn.put(
                VERSIONS + number_bytes(version), encode(VersionInfo(version=version, at=0, who="", what=_LOST))
            )
            txn.raw.delete(SUMS + number_bytes(version))  # the content of the version is unknown
        for table in missing_lists(txn, record_of(txn, version)):
            txn.put(CHANGES + number_bytes(version) + table, encode(None))  # its rows are walked instead
    before = 0
    for number in range(1, numbers.event + 1):
        value = txn.get(EVENTS + number_bytes(number))
        if value is None:
            lost = Event(at=0, who="", what=_LOST, account=None, version=before)
            txn.put(EVENTS + number_bytes(number), encode(lost))
        else:
            before = event_row(value).version
    if txn.raw.get(META_RETIRED) is None:
        txn.put(META_RETIRED, b"")
    put_newest(txn, numbers)
    return numbers


def _roll_back(before: Txn, txn: Txn, version: int, numbers: Newest, who: str) -> VersionInfo:
    """Write a new version with the content of ``version``. Return its record."""
    wanted, sums = record_of(before, version), sums_of(before, version)
    if sums is None:
        raise damaged(f"the sums of version {version} are missing")
    number = numbers.version + 1
    counts: dict[bytes, Changes] = {}
    for table in STAMPED:
        added = changed = removed = 0
        keys: list[bytes] | None = []
        for key, then, now in walked_changes(before, table, version, numbers.version):
            txn.put(key + stamp_of(number), then)
            added, changed, removed = added + (not now), changed + bool(now and then), removed + (not then)
            if keys is not None:
                keys.append(key)
                keys = keys if len(keys) <= MAX_LISTED_KEYS else None
        counts[table] = Changes(added, changed, removed)
        if table in BOOK and keys != []:
            txn.put(CHANGES + number_bytes(number) + table, encode(keys))
    info = VersionInfo(
        version=number,
        at=time.time(),
        who=who,
        what=f"rollback to version {version}",
        clients=wanted.clients,
        accounts=wanted.accounts,
        dids=wanted.dids,
        client_changes=counts[BOOK[0]],
        account_changes=counts[BOOK[1]],
        did_changes=counts[BOOK[2]],
    )
    put_sums(txn, number, sums)
    return put_version(txn, info, sums)
