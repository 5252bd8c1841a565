"""Replies: the answers to the messages of a read, in one piece or in datagrams (interfaces.md 3). No I/O.

A message has one answer, and an array of messages a list of answers. A deferred answer delays its whole message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from identengine.wire.deferred import DeferredCount, postpone
from identengine.wire.desk import Item, Later, Room
from identengine.wire.jsonrpc.answers import DATAGRAM, decided, fitted
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.session import Session

Reply: TypeAlias = Item | list[Item]
"""The answer to a message, or the answers to the messages of an array."""


class Read:
    """The messages of one read, their replies, and the answers that leave."""

    __slots__ = ("answers", "codec", "messages", "places", "replies", "room", "sessions", "waiting")

    def __init__(
        self,
        messages: Sequence[bytes],
        sessions: Sequence[Session],
        codec: Codec | None,
        room: Room,
        replies: list[Reply],
    ) -> None:
        """``codec`` is the encoding of a stream. None is for datagrams, of which each has its own."""
        self.messages, self.sessions, self.codec, self.room, self.replies = (
            messages,
            sessions,
            codec,
            room,
            replies,
        )
        self.answers: list[bytes] = replies  # type: ignore[assignment]  # as long as all are bytes
        """The answers that leave."""
        self.places: list[int] | None = None
        """For each answer the place of its message; None if each message has one answer, in order."""
        self.waiting: set[int] = set()
        """Places of messages whose answers are deferred."""

    def postpone(self, owed: DeferredCount, give: Callable[[int, list[bytes]], None]) -> None:
        """Pass deferred answers to ``give``, with the place of the message, when they are complete."""
        for place, reply in enumerate(self.replies):
            items = reply if isinstance(reply, list) else [reply]
            deferred = [item.deferred for item in items if type(item) is Later]
            if deferred:
                self.waiting.add(place)

                def complete(place: int = place) -> None:
                    give(place, self._complete(place))

                postpone(deferred, owed, complete)

    def _complete(self, place: int) -> list[bytes]:
        codec, reply = self.codec_of(place), self.replies[place]
        if isinstance(reply, list):
            return self._encoded(place, [_completed(item, codec, self.room) for item in reply])
        return self._encoded(place, _completed(reply, codec, self.room))

    def put_together(self) -> None:
        """Make the answers of the replies. The lists stay the same objects, if they are made again."""
        answers: list[bytes] = []
        places: list[int] = []
        for place, reply in enumerate(self.replies):
            if place not in self.waiting:
                several = self._encoded(place, reply)
                answers += several
                places += [place] * len(several)
        if self.answers is self.replies:
            self.answers = answers
            self.places = None if places == [*range(len(self.messages))] else places
            return
        self.answers[:] = answers
        if self.places is not None:
            self.places[:] = places

    def replace(self, answers: Mapping[int, Item]) -> None:
        """Replace answers of messages, by the identity of the earlier answers."""
        for place, reply in enumerate(self.replies):
            if isinstance(reply, list):
                reply[:] = [answers.get(id(item), item) for item in reply]
            else:
                self.replies[place] = answers.get(id(reply), reply)
        if self.answers is not self.replies:
            self.put_together()

    def codec_of(self, place: int) -> Codec:
        """Return the encoding of a message."""
        return self.codec or codec_of(self.messages[place])

    def _encoded(self, place: int, reply: Reply) -> list[bytes]:
        """Return a complete reply as it leaves: in one piece, or as datagrams."""
        codec = self.codec_of(place)
        if not isinstance(reply, list):
            return [*_bytes([reply if self.codec is not None else fitted(codec, reply, self.room)])]
        if self.codec is not None:
            there = [*_bytes(reply)]
            return [codec.array(there)] if there else []
        smaller = Room(DATAGRAM - codec.array_bytes)
        return _arrays(codec, [*_bytes([fitted(codec, item, smaller) for item in reply])])


def codec_of(datagram: bytes) -> Codec:
    """Return the encoding of a datagram (interfaces.md 3)."""
    return JSON if datagram.lstrip(b" \t\r\n")[:1] in (b"{", b"[") else MESSAGEPACK


def _completed(item: Item, codec: Codec, room: Room) -> Item:
    if type(item) is not Later or item.deferred.result is None:
        return item
    return decided(codec, item.message_id, item.deferred.result, room)


def _bytes(items: Sequence[Item]) -> Iterator[bytes]:
    return (item for item in items if item is not None)  # type: ignore[misc]  # nothing is deferred now


def _arrays(codec: Codec, answers: Sequence[bytes]) -> list[bytes]:
    """Return answers as arrays that fit into datagrams."""
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
