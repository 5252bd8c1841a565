"""The chain of the audit log (engine.md 8.4): each version and event carries the hash of the record before.

The hash of a record covers its key and its value as stored, and thus the hash that the record itself carries. A
version also carries a hash of its sums, and so of all its rows (:mod:`identengine.store.sums`). The hash of the
newest record is in ``meta``. Rule: the chain begins at the first record with a hash, since earlier programs wrote
none.

A key rotation writes the passwords of all versions again, and with them their sums. Its event therefore carries a
hash of the sums of all versions, which replaces the hashes that these versions carry.

The chain reveals any change of a record, unless all later records and the hash of the newest are changed too. An
operator who keeps the hash of the newest record elsewhere can notice even that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from identengine.errors import DamagedError
from identengine.store.format import (
    EVENTS,
    META_CHAIN,
    SUMS,
    VERSIONS,
    Event,
    VersionInfo,
    encode,
    event_row,
    info_row,
    number_bytes,
)
from identengine.store.keys import head_of, newest, put_newest
from identengine.store.sums import Sums, packed
from identengine.store.transaction import Txn

GENESIS = "0" * 64
"""The hash that the first record of a store carries."""


class SystemUser(NamedTuple):
    """The user of the operating system who changes the store."""

    uid: int
    sudo_user: str | None
    """The user who called ``sudo``, as the environment names it."""


class Broken(msgspec.Struct, frozen=True):
    """The first record that does not match the chain."""

    row: str
    """``version 3`` or ``event 2``."""
    version: int | None
    event: int | None
    what: str
    """The mismatch as a clause."""


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check of the chain."""

    rows: int
    """Number of versions and events."""
    chained: int
    """Number of those that carry a hash, up to the first broken one."""
    newest_hash: str | None = None
    """The hash of the newest record, or None if no record carries a hash."""
    broken: Broken | None = None


class _Record(NamedTuple):
    table: bytes
    number: int
    value: bytes | None
    """None if the record is missing or damaged."""
    what: str
    """The damage, if any."""

    @property
    def key(self) -> bytes:
        return self.table + number_bytes(self.number)

    @property
    def name(self) -> str:
        return f"{'version' if self.table == VERSIONS else 'event'} {self.number}"

    def content(self) -> VersionInfo | Event:
        value = self.value or b""
        return info_row(value) if self.table == VERSIONS else event_row(value)

    def hash(self) -> str:
        return _hash(self.key, self.value or b"")

    def broken(self, what: str) -> Broken:
        is_version = self.table == VERSIONS
        return Broken(self.name, self.number if is_version else None, None if is_version else self.number, what)


def system_user() -> SystemUser:
    """Return the user of this process, and the user who called ``sudo``."""
    return SystemUser(os.getuid(), os.environ.get("SUDO_USER") or None)


def content_hash(sums: Sums) -> str:
    """Return the hash of the sums of a version."""
    return blake2b(packed(sums), digest_size=32).hexdigest()


def all_contents_hash(txn: Txn, last: int) -> str:
    """Return the hash of the sums of all versions up to ``last``."""
    hashed = blake2b(digest_size=32)
    for version in range(1, last + 1):
        hashed.update(_value(txn, SUMS + number_bytes(version)) or b"")
    return hashed.hexdigest()


def previous_hash(txn: Txn) -> str:
    """Return the hash of the newest record, which the next record carries. Raise DamagedError."""
    if (known := txn.get(META_CHAIN)) is not None:
        return known.decode("ascii")
    numbers = newest(txn)
    if numbers.event:
        key = EVENTS + number_bytes(numbers.event)
        value = txn.get(key)
        if value is not None and event_row(value).version == numbers.version:
            return _hash(key, value)
    key = VERSIONS + number_bytes(numbers.version)
    value = txn.get(key) if numbers.version else None
    return GENESIS if value is None else _hash(key, value)


def put_version(txn: Txn, info: VersionInfo, sums: Sums) -> VersionInfo:
    """Write the record of a version with its hashes and its author, and return it."""
    uid, sudo_user = system_user()
    signed = msgspec.structs.replace(
        info,
        uid=uid,
        sudo_user=sudo_user,
        content_hash=content_hash(sums),
        previous_hash=previous_hash(txn),
    )
    _put(txn, VERSIONS + number_bytes(info.version), encode(signed))
    put_newest(txn, newest(txn)._replace(version=info.version))
    return signed


def put_event(txn: Txn, event: Event) -> None:
    """Write an event with the hash of the record before and its author, as the newest event."""
    numbers = newest(txn)
    uid, sudo_user = system_user()
    signed = msgspec.structs.replace(
        event, version=numbers.version, uid=uid, sudo_user=sudo_user, previous_hash=previous_hash(txn)
    )
    _put(txn, EVENTS + number_bytes(numbers.event + 1), encode(signed))
    put_newest(txn, numbers._replace(event=numbers.event + 1))


def is_chained(txn: Txn) -> bool:
    """Return True if the newest version carries a hash. Raise DamagedError."""
    return bool(head_of(txn).previous_hash)


def check_chain(txn: Txn) -> ChainReport:
    """Check the chain. It says nothing about the rows of the book, which the sums of each version protect."""
    return _Check(txn).run()


def with_damage(report: ChainReport, damaged: list[int]) -> ChainReport:
    """Return the report of an intact chain, with the first version whose rows are damaged as its broken row."""
    if not damaged:
        return report
    first = min(damaged)
    broken = Broken(f"version {first}", first, None, "its rows do not match their checksums")
    return msgspec.structs.replace(report, newest_hash=None, broken=broken)


class _Check:
    """One check of the chain."""

    def __init__(self, txn: Txn) -> None:
        self._txn = txn
        numbers = newest(txn)
        self._rows = numbers.version + numbers.event
        self._chained = 0
        self._rotation = _rotation(txn)
        self._rotated = _event_version(txn, self._rotation) if self._rotation else 0
        """The version at the time of the newest key rotation."""

    def run(self) -> ChainReport:
        last: _Record | None = None
        for record in _records(self._txn):
            if record.value is None:
                if self._chained or _is_chained_later(self._txn, record):
                    return self._report(record.broken(record.what))
                last = None
                continue
            found = record.content()
            if found.previous_hash:
                broken = self._link(record, found, last) or self._content(record, found)
                if broken is not None:
                    return self._report(broken)
                self._chained += 1
            elif self._chained:
                what = "it carries no hash: an older program wrote it, or its hash was removed"
                return self._report(record.broken(what))
            last = record
        return self._closed(last)

    def _link(self, record: _Record, found: VersionInfo | Event, last: _Record | None) -> Broken | None:
        """Return the mismatch between the hash that a record carries and the record before, or None."""
        if last is None:
            is_first = found.previous_hash == GENESIS
            return None if is_first else record.broken("it carries the hash of an earlier row, which is missing")
        if found.previous_hash != last.hash():
            return last.broken(f"it differs from the hash that {record.name} carries")
        return None

    def _content(self, record: _Record, found: VersionInfo | Event) -> Broken | None:
        """Return the mismatch between the hash of rows that a record carries and the sums, or None."""
        if isinstance(found, Event):
            is_newest = found.content_hash and record.number == self._rotation
            if is_newest and found.content_hash != all_contents_hash(self._txn, found.version):
                return record.broken("rows of versions before this key rotation were changed after it")
        elif record.number > self._rotated:
            sums = _value(self._txn, SUMS + number_bytes(record.number))
            if sums is None or blake2b(sums, digest_size=32).hexdigest() != found.content_hash:
                return record.broken("its rows differ from the hash that it carries")
        return None

    def _closed(self, last: _Record | None) -> ChainReport:
        """Return the report of a chain whose records match. Check the newest against the hash in ``meta``."""
        known = _value(self._txn, META_CHAIN)
        if last is None:
            return self._report(None)
        if not self._chained:
            what = "it carries no hash, although the store has the hash of the newest row"
            return self._report(last.broken(what) if known else None)
        if known is None:
            return self._report(last.broken("the hash of the newest row is missing"))
        if known != last.hash().encode():
            return self._report(last.broken("it differs from the hash of the newest row"))
        return self._report(None, last.hash())

    def _report(self, broken: Broken | None, newest_hash: str | None = None) -> ChainReport:
        return ChainReport(rows=self._rows, chained=self._chained, newest_hash=newest_hash, broken=broken)


def _records(txn: Txn) -> Iterator[_Record]:
    """Yield all records in the order in which they were written."""
    numbers = newest(txn)
    event = 1
    for version in range(1, numbers.version + 1):
        while event <= numbers.event and _event_version(txn, event) < version:
            yield _record(txn, EVENTS, event)
            event += 1
        yield _record(txn, VERSIONS, version)
    for number in range(event, numbers.event + 1):
        yield _record(txn, EVENTS, number)


def _record(txn: Txn, table: bytes, number: int) -> _Record:
    key = table + number_bytes(number)
    try:
        value = txn.get(key)
    except DamagedError:
        return _Record(table, number, None, "it does not match its checksum")
    if value is None:
        return _Record(table, number, None, "it is missing")
    record = _Record(table, number, value, "")
    try:
        record.content()
    except DamagedError:
        return _Record(table, number, None, "it cannot be read")
    return record


def _event_version(txn: Txn, number: int) -> int:
    """Return the version that preceded an event, or 0 if the event is damaged."""
    value = _record(txn, EVENTS, number).value
    return 0 if value is None else event_row(value).version


def _is_chained_later(txn: Txn, damaged: _Record) -> bool:
    """Return True if a record after a damaged one carries a hash, so that the damage breaks the chain."""
    passed = False
    for record in _records(txn):
        if passed and record.value is not None:
            return bool(record.content().previous_hash)
        passed = passed or record.key == damaged.key
    return _value(txn, META_CHAIN) is not None


def _rotation(txn: Txn) -> int:
    """Return the number of the newest event that carries a hash of all versions, or 0."""
    for number in range(newest(txn).event, 0, -1):
        value = _record(txn, EVENTS, number).value
        if value is not None and event_row(value).content_hash:
            return number
    return 0


def _put(txn: Txn, key: bytes, value: bytes) -> None:
    txn.put(key, value)
    txn.put(META_CHAIN, _hash(key, value).encode())


def _hash(key: bytes, value: bytes) -> str:
    return blake2b(key + value, digest_size=32).hexdigest()


def _value(txn: Txn, key: bytes) -> bytes | None:
    """Return a value, or None if it is missing or damaged."""
    try:
        return txn.get(key)
    except DamagedError:
        return None
