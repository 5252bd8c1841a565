"""Replies: the answers to the messages of a read, in one piece or in datagrams (interfaces.md 3). No I/O.

A message has one answer, and an array of messages a list of answers. A deferred answer delays its whole message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from identengine.wire.deferred import DeferredCount, postpone
from identengine.wire.jsonrpc.answers import DATAGRAM, Item, Later, Room, decided, fitted
from identengine.wire.jsonrpc.codec import Codec

Reply: TypeAlias = Item | list[Item]
"""The answer to a message, or the answers to the messages of an array."""


def is_postponed(
    reply: Reply, codec: Codec, room: Room, owed: DeferredCount, give: Callable[[Reply], None]
) -> bool:
    """Return True if a reply has deferred answers. ``give`` gets the reply when it is complete."""
    items = reply if isinstance(reply, list) else [reply]
    deferred = [item.deferred for item in items if type(item) is Later]
    if not deferred:
        return False

    def complete() -> None:
        done = [_completed(item, codec, room) for item in items]
        give(done if isinstance(reply, list) else done[0])

    postpone(deferred, owed, complete)
    return True


def _completed(item: Item, codec: Codec, room: Room) -> Item:
    if type(item) is not Later or item.deferred.result is None:
        return item
    return decided(codec, item.message_id, item.deferred.result, room)


def in_one_piece(reply: Reply, codec: Codec) -> bytes | None:
    """Return a complete reply of any size, or None if the message gets no answer."""
    if not isinstance(reply, list):
        return reply  # type: ignore[return-value]  # nothing is deferred now
    answers = [*_bytes(reply)]
    return codec.array(answers) if answers else None


def in_datagrams(reply: Reply, codec: Codec, room: Room) -> list[bytes]:
    """Return a complete reply as datagrams. That to an array may be several arrays."""
    if not isinstance(reply, list):
        return [*_bytes([fitted(codec, reply, room)])]
    smaller = Room(DATAGRAM - codec.array_bytes, room.reasons)
    return _arrays(codec, [*_bytes([fitted(codec, item, smaller) for item in reply])])


def _bytes(items: Sequence[Item]) -> Iterator[bytes]:
    return (item for item in items if item is not None)  # type: ignore[misc]  # nothing is deferred now


def _arrays(codec: Codec, answers: Sequence[bytes]) -> list[bytes]:
    found: list[bytes] = []
    row: list[bytes] = []
    size = empty = codec.array_bytes - codec.item_bytes
    for answer in answers:
        taken = len(answer) + codec.item_bytes
        if row and size + taken > DATAGRAM:
            found.append(codec.array(row))
            row, size = [], empty
        row.append(answer)
        size += taken
    if row:
        found.append(codec.array(row))
    return found
