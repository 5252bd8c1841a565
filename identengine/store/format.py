"""The content of the store, format 2: keys and rows as bytes, and the records of its history.

All tables share one tree, distinguished by the first byte of the key. Named LMDB databases would need a handle
each. py-lmdb opens a handle in a write transaction, so that a list of accounts would wait for an import.

Every row of the book carries the version that wrote it in its key: ``row key + stamp``. The stamp is 8 bytes that
*decrease* as versions increase, so that the newest row of a key comes first. The state at version N is one seek:
the first row of the key at or after the stamp of N. A row with an empty value means that the key is deleted from
this version on. Rows are never deleted, so that every version stays readable.

The tables, each with its key and value. Ids, versions and numbers of events take 8 bytes:

- meta: ``m`` name. The format, the hash key, the ids of retired keys, and the numbers of the newest version and
  event. Also the hash of the newest record of the audit log (:mod:`identengine.store.chain`).
- clients: ``c`` id, stamp. A Client in MessagePack.
- accounts: ``a`` id, stamp. An Account in MessagePack.
- dids: ``d`` number, NUL, stamp. The account id, and the status (1 byte).
- owned: ``o`` account id, number, NUL, stamp. The status (1 byte). It holds the DIDs again, by account.
- versions: ``v`` version. A VersionInfo in MessagePack.
- sums: ``s`` version. The sums of the version's rows in the four tables above (:mod:`identengine.store.sums`).
- changes: ``h`` version, table (1 byte). The sorted row keys that the version wrote, or nil if they are too many.
- events: ``e`` number. An Event in MessagePack.

Every value but the format ends with a checksum (:mod:`identengine.store.seals`). Stores of format 1 have neither
checksums nor sums nor the numbers of the newest version and event. They are readable, and the first edit converts
them (:mod:`identengine.store.convert`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from identengine.errors import DamagedError, expected
from identengine.model.numbers import MAX_LENGTH
from identengine.model.records import Account, Client, Did, DidStatus

FORMAT = b"2"
"""Format of the tables above. Stores of :data:`FORMAT_UNSEALED` are read and converted, others are rejected."""
FORMAT_UNSEALED = b"1"
"""The format before, without checksums."""

META, CLIENTS, ACCOUNTS, DIDS, OWNED = b"m", b"c", b"a", b"d", b"o"
VERSIONS, SUMS, CHANGES, EVENTS = b"v", b"s", b"h", b"e"

META_FORMAT = META + b"format"
META_HASH_KEY = META + b"hash_key"
META_RETIRED = META + b"retired"
META_HEAD = META + b"head"
META_CHAIN = META + b"chain"

BOOK = (CLIENTS, ACCOUNTS, DIDS)
"""The three tables of the book, in the order in which changes are listed."""
STAMPED = (*BOOK, OWNED)
"""The tables whose keys end with a stamp."""

STAMP_BYTES = 8
NEWEST = bytes(STAMP_BYTES)
"""The stamp that sorts before those of all versions. A seek with it finds the newest row."""

_TOP = (1 << 64) - 1
_STATUS_BYTES = {status: bytes([index]) for index, status in enumerate(DidStatus)}
_STATUS_OF = {byte: status for status, byte in _STATUS_BYTES.items()}
_ACTIVE = _STATUS_BYTES[DidStatus.ACTIVE]

TableName = Literal["client", "account", "did"]
TABLE_NAMES: dict[bytes, TableName] = {CLIENTS: "client", ACCOUNTS: "account", DIDS: "did"}
ROOM_NAMES = {
    META: "meta",
    CLIENTS: "clients",
    ACCOUNTS: "accounts",
    DIDS: "dids",
    OWNED: "owned",
    VERSIONS: "versions",
    SUMS: "sums",
    CHANGES: "changes",
    EVENTS: "events",
}
"""The names of all tables, by the first byte of their keys."""


class Changes(msgspec.Struct, frozen=True, gc=False):
    """The numbers of rows of one table that a version added, changed and removed, compared with the one before."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def total(self) -> int:
        """Sum of the three numbers."""
        return self.added + self.changed + self.removed


class VersionInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A version of the book (engine.md 8.1): its author, time and origin, its size and its changes."""

    version: int
    """Number of the version, counted from 1. Version 0 is the empty book of a new store."""
    at: float
    """Time of creation, in seconds of Unix time."""
    who: str
    what: str
    clients: int = 0
    """Number of clients in the version."""
    accounts: int = 0
    dids: int = 0
    client_changes: Changes = Changes()
    account_changes: Changes = Changes()
    did_changes: Changes = Changes()
    uid: int | None = None
    """User id of the author in the operating system. None if an earlier program wrote the record."""
    sudo_user: str | None = None
    """The user who called ``sudo``, as the environment named it."""
    content_hash: str = ""
    """Hash of the version's rows (:mod:`identengine.store.chain`). Records of earlier programs have none."""
    previous_hash: str = ""
    """Hash of the record before this one."""

    @property
    def changes(self) -> int:
        """Number of rows added, changed and removed in all tables."""
        return self.client_changes.total + self.account_changes.total + self.did_changes.total


EMPTY = VersionInfo(version=0, at=0.0, who="", what="")


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change of one row. An added row has no ``before``, and a removed row has no ``after``.

    ``key`` is the id of a client or account, or the number of a DID. The ``password`` of an account is a token of
    the vault, never the plain password. Use :func:`field_changes` to show a change to users.
    """

    table: TableName
    key: int | str
    before: Client | Account | Did | None
    after: Client | Account | Did | None


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that changed no row (engine.md 1.7: a password was shown)."""

    at: float
    who: str
    what: str
    account: int | None
    version: int = 0
    """Newest version at the time of the event."""
    client: int | None = None
    number: str | None = None
    """The DID that the event is about."""
    uid: int | None = None
    sudo_user: str | None = None
    content_hash: str = ""
    """Hash of the rows of all versions, after an event that changed their passwords."""
    previous_hash: str = ""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry of the audit log (engine.md 8.4): a change by a version, or an event.

    An event has neither ``version`` nor ``change``.
    """

    at: float
    who: str
    what: str
    version: int | None = None
    change: Change | None = None
    account: int | None = None
    """The account that the entry is about. A DID is about its account, too."""
    client: int | None = None
    """The client that the entry is about. An account is about its client, too."""
    number: str | None = None
    """The DID that the entry is about."""
    uid: int | None = None
    """User id of the author in the operating system, or None if it is not known."""
    sudo_user: str | None = None
    """The user who called ``sudo``, as the environment named it."""
    previous_hash: str = ""
    """Hash of the record before that of the entry. All changes of a version have one record."""


def field_changes(change: Change) -> list[tuple[str, object, object]]:
    """Return the fields that differ, as (name, before, after) in the order of the model (engine.md 8.3, 8.4).

    For a row that was added or removed, these are the fields with a value. The other side holds None. A password
    appears only as ``set``, ``not set`` or ``changed``.
    """
    row = change.after if change.before is None else change.before
    if row is None:
        return []
    fields = []
    for name in row.__struct_fields__:  # msgspec.structs.fields() takes 0.3 ms, and a diff may be long
        before = getattr(change.before, name, None)
        after = getattr(change.after, name, None)
        if before == after or not (_set(before) or _set(after)):
            continue
        if name == "password":
            changed = _set(before) and _set(after)
            before, after = _password(before), "changed" if changed else _password(after)
        fields.append((name, before, after))
    return fields


def _set(value: object) -> bool:
    return value is not None and value != ()


def _password(token: object) -> str:
    return "not set" if token is None else "set"


def change_counts(info: VersionInfo) -> str:
    """Return the changes of a version in brief: ``clients +1, accounts ~3 -2``."""
    tables = (("clients", info.client_changes), ("accounts", info.account_changes), ("DIDs", info.did_changes))
    return ", ".join(f"{name} {_signs(found)}" for name, found in tables if found.total) or "none"


def _signs(found: Changes) -> str:
    parts = (
        (f"+{found.added}", found.added),
        (f"~{found.changed}", found.changed),
        (f"-{found.removed}", found.removed),
    )
    return " ".join(text for text, count in parts if count)


def number_bytes(value: int) -> bytes:
    """Return an id, a version or the number of an event as used in keys: 8 bytes, so that keys sort by it."""
    return value.to_bytes(8, "big")


def stamp_of(version: int) -> bytes:
    """Return the stamp of ``version``."""
    return (_TOP - version).to_bytes(STAMP_BYTES, "big")


def version_of(stamp: bytes) -> int:
    """Return the version of a stamp."""
    return _TOP - int.from_bytes(stamp, "big")


def id_key(table: bytes, row_id: int) -> bytes:
    """Return the row key of a client or an account, or the prefix of an account's rows in ``owned``."""
    return table + number_bytes(row_id)


def did_key(number: str) -> bytes:
    """Return the row key of a DID. The NUL sorts numbers correctly, however the stamp begins.

    Raise ValueError if ``number`` is not in normal form (engine.md 2.1).
    """
    if not number or len(number) > MAX_LENGTH or not (number.isascii() and number.isprintable()):
        raise ValueError(expected("a number in normal form", number))
    return DIDS + number.encode() + b"\0"


def owned_key(account: bytes, key: bytes) -> bytes:
    """Return the row key in ``owned`` of the DID with the row key ``key``. ``account`` is the id as 8 bytes."""
    return OWNED + account + key[1:]


_Row = TypeVar("_Row")

encode = msgspec.msgpack.Encoder().encode
"""Return a client, an account or a record of this module in MessagePack."""


def _reader(kind: type[_Row], name: str) -> Callable[[bytes], _Row]:
    """Return a function that decodes a ``kind``. It raises StoreError with ``name`` if the value is invalid."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(value: bytes) -> _Row:
        try:
            return decode(value)
        except msgspec.DecodeError as error:
            raise damaged(f"it contains an invalid {name}: {error}") from error

    return read


def damaged(what: str) -> DamagedError:
    """Return the error for damage, with the remedy. ``what`` is a clause."""
    return DamagedError(
        f"the store is damaged: {what}. Nothing was changed. `identengine store check` names the sound versions, "
        "and `identengine rollback N` restores one."
    )


def row_name(key: bytes) -> str:
    """Return the name of the row with the full key ``key``, for messages."""
    table, number = key[:1], int.from_bytes(key[1:9], "big")
    if table in STAMPED and len(key) > 1 + STAMP_BYTES:
        version = version_of(key[-STAMP_BYTES:])
        did = key[1 if table == DIDS else 9 : -STAMP_BYTES - 1].decode("ascii", "backslashreplace")
        row = {
            CLIENTS: f"client {number}",
            ACCOUNTS: f"account {number}",
            DIDS: f"DID {did}",
            OWNED: f"DID {did} in the list of account {number}",
        }[table]
        return f"{row} as written by version {version}"
    names = {
        VERSIONS: f"the record of version {number}",
        SUMS: f"the sums of version {number}",
        CHANGES: f"the list of changes of version {number}",
        EVENTS: f"event {number} of the audit log",
        META: f"the entry {key[1:].decode('ascii', 'backslashreplace')}",
    }
    return names.get(table, "a row of no known table")


client_row = _reader(Client, "client")
account_row = _reader(Account, "account")
info_row = _reader(VersionInfo, "version record")
event_row = _reader(Event, "event")
_keys_row = _reader(list[bytes], "list of changed keys")


def keys_row(value: bytes) -> list[bytes] | None:
    """Return the list of keys in a row of ``changes``, or None if there were too many to list."""
    return None if value == b"\xc0" else _keys_row(value)


def did_value(did: Did) -> bytes:
    """Return the value of a DID's row."""
    return did.account_id.to_bytes(8, "big") + _STATUS_BYTES[did.status]


def did_row(key: bytes, value: bytes) -> Did:
    """Return the DID of a row."""
    return _did(key[1:-1], value[:8], value[8:])


def owned_row(key: bytes, value: bytes) -> Did:
    """Return the DID of a row of the table ``owned``."""
    return _did(key[9:-1], key[1:9], value)


def _did(number: bytes, account: bytes, status: bytes) -> Did:
    try:
        return Did(
            number=number.decode("ascii"), account_id=int.from_bytes(account, "big"), status=_STATUS_OF[status]
        )
    except (KeyError, UnicodeDecodeError) as error:
        raise damaged("it contains an invalid DID") from error


def is_active(owned_value: bytes) -> bool:
    """Return True if a value in ``owned`` is that of an active DID."""
    return owned_value == _ACTIVE


def change_of(key: bytes, before: bytes, after: bytes) -> Change:
    """Return the change of a row between two values. An empty value means that the row does not exist."""
    table = key[:1]
    if table == DIDS:
        return Change(
            "did",
            key[1:-1].decode(),
            did_row(key, before) if before else None,
            did_row(key, after) if after else None,
        )
    decode = client_row if table == CLIENTS else account_row
    return Change(
        TABLE_NAMES[table],
        int.from_bytes(key[1:], "big"),
        decode(before) if before else None,
        decode(after) if after else None,
    )
