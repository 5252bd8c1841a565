"""What stands in the store: keys and rows as bytes, and the records of its history.

All tables share one tree, told apart by the first byte of the key. (Named LMDB databases would need a handle
each, which py-lmdb opens in a write transaction: a list of accounts would wait for an import to end.)

Every row of the book carries the version that wrote it in its key: ``row key + stamp``, where the stamp is
8 bytes that *fall* as versions grow. So the newest row of a key comes first, and the state at version N is one
seek: the first row of the key at or after the stamp of N. A row with an empty value says that the key is gone
from this version on. Rows are never taken away, so every version stays readable.

========  ================================================  ===============================================
table     key                                               value
========  ================================================  ===============================================
meta      ``m`` name                                        format, hash key, retired key ids
clients   ``c`` id (8 bytes), stamp                         Client in MessagePack
accounts  ``a`` id (8 bytes), stamp                         Account in MessagePack
dids      ``d`` number, NUL, stamp                          account id (8 bytes), status (1 byte)
owned     ``o`` account id (8 bytes), number, NUL, stamp    status (1 byte): the DIDs again, by account
versions  ``v`` version (8 bytes)                           VersionInfo in MessagePack
changes   ``h`` version (8 bytes), table (1 byte)           sorted row keys that it wrote, or nil: too many
events    ``e`` number (8 bytes)                            Event in MessagePack
========  ================================================  ===============================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from identengine.errors import StoreError
from identengine.model.numbers import MAX_LENGTH
from identengine.model.records import Account, Client, Did, DidStatus

FORMAT = b"1"
"""Format of everything named above; another one is refused on opening."""

META, CLIENTS, ACCOUNTS, DIDS, OWNED = b"m", b"c", b"a", b"d", b"o"
VERSIONS, CHANGES, EVENTS = b"v", b"h", b"e"

META_FORMAT = META + b"format"
META_HASH_KEY = META + b"hash_key"
META_RETIRED = META + b"retired"

BOOK = (CLIENTS, ACCOUNTS, DIDS)
"""The three tables of the book, in the order in which changes are told."""

STAMP_BYTES = 8
NEWEST = bytes(STAMP_BYTES)
"""The stamp that no version outdates: a seek with it finds the newest row."""

_TOP = (1 << 64) - 1
_STATUS_BYTES = {status: bytes([place]) for place, status in enumerate(DidStatus)}
_STATUS_OF = {byte: status for status, byte in _STATUS_BYTES.items()}
_ACTIVE = _STATUS_BYTES[DidStatus.ACTIVE]

TableName = Literal["client", "account", "did"]
TABLE_NAMES: dict[bytes, TableName] = {CLIENTS: "client", ACCOUNTS: "account", DIDS: "did"}


class Changes(msgspec.Struct, frozen=True, gc=False):
    """How many rows of one table a version added, changed and removed, against the version before it."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    @property
    def total(self) -> int:
        """All of them together."""
        return self.added + self.changed + self.removed


class VersionInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One version of the book (engine.md 8.1): who made it when and how, what it holds and what it changed."""

    version: int
    """Grows by one with each version, from 1; 0 stands for the empty book that a new store holds."""
    at: float
    """When, in seconds of Unix time."""
    who: str
    what: str
    clients: int = 0
    """Clients that the version holds."""
    accounts: int = 0
    dids: int = 0
    client_changes: Changes = Changes()
    account_changes: Changes = Changes()
    did_changes: Changes = Changes()

    @property
    def changes(self) -> int:
        """Rows added, changed and removed, in all tables together."""
        return self.client_changes.total + self.account_changes.total + self.did_changes.total


EMPTY = VersionInfo(version=0, at=0.0, who="", what="")


class Change(msgspec.Struct, frozen=True, gc=False):
    """What became of one row: ``before`` is None where it was added, ``after`` where it was removed.

    ``key`` is the id of a client or account, the number of a DID. An account's ``password`` in it is a token of
    the vault, never a password; for people see :func:`field_changes`.
    """

    table: TableName
    key: int | str
    before: Client | Account | Did | None
    after: Client | Account | Did | None


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something to remember that changed no row (engine.md 1.7: a password was shown)."""

    at: float
    who: str
    what: str
    account: int | None
    version: int
    """The newest version when it happened."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the audit log (engine.md 8.4): a change that a version made, or an event.

    ``version`` and ``change`` are None for an event; ``account`` is set where the entry is about one account.
    """

    at: float
    who: str
    what: str
    version: int | None = None
    change: Change | None = None
    account: int | None = None


def field_changes(change: Change) -> list[tuple[str, object, object]]:
    """Return the fields that differ, as (name, before, after) in the order of the model (engine.md 8.3, 8.4).

    A row added or removed gives its fields that are set, with None on the other side. Of a password it only
    says ``set``, ``not set`` or ``changed``.
    """
    row = change.after if change.before is None else change.before
    if row is None:
        return []
    fields = []
    for name in row.__struct_fields__:  # msgspec.structs.fields() takes 0.3 ms, and a diff may be millions of rows
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


def number_bytes(value: int) -> bytes:
    """Return an id, a version or an event's number as it stands in keys: 8 bytes, so that keys sort by it."""
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
    """Return the row key of a DID; the NUL keeps numbers in their order, whatever the stamp begins with.

    Raises ValueError for what is no number in normal form (engine.md 2.1).
    """
    if not number or len(number) > MAX_LENGTH or not (number.isascii() and number.isprintable()):
        raise ValueError(f"no number in normal form: {number!r}")
    return DIDS + number.encode() + b"\0"


def owned_key(account: bytes, key: bytes) -> bytes:
    """Return the row key in ``owned`` of the DID with the row key ``key``; ``account`` is its id as 8 bytes."""
    return OWNED + account + key[1:]


_Row = TypeVar("_Row")

encode = msgspec.msgpack.Encoder().encode
"""MessagePack of a client, an account or one of the records above."""


def _reader(kind: type[_Row]) -> Callable[[bytes], _Row]:
    """Return a function that reads a ``kind`` from a value; StoreError where it is none."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(value: bytes) -> _Row:
        try:
            return decode(value)
        except msgspec.DecodeError as error:
            raise _damaged(f"{kind.__name__.lower()}: {error}") from error

    return read


def _damaged(what: str) -> StoreError:
    return StoreError(
        f"the store is damaged: it holds what is no {what}. Nothing was changed; put a copy of it in its place "
        "(`identengine copy` makes them), or import the book into a new store"
    )


client_row = _reader(Client)
account_row = _reader(Account)
info_row = _reader(VersionInfo)
event_row = _reader(Event)
_keys_row = _reader(list[bytes])


def keys_row(value: bytes) -> list[bytes] | None:
    """Return the list of keys in a row of ``changes``; None where it says that they were too many."""
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
        raise _damaged("DID") from error


def is_active(owned_value: bytes) -> bool:
    """Whether a row of the table ``owned`` is that of an active DID."""
    return owned_value == _ACTIVE


def change_of(key: bytes, before: bytes, after: bytes) -> Change:
    """Return the change of a row from value to value; an empty value is no row."""
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
