"""The packets of one read, and the requests among them that are new. No I/O."""

from __future__ import annotations

from collections.abc import Hashable
from typing import final

from identengine.wire.deferred import DeferredCount
from identengine.wire.desk import Batch, Item
from identengine.wire.radius.packet import Packet
from identengine.wire.radius.switches import RadiusSwitch
from identengine.wire.responder import Senders


@final
class Read:
    """The packets of one read at one port, and the replies that leave."""

    __slots__ = ("accounting", "answers", "batch", "owed", "places", "ports", "senders")

    def __init__(self, senders: Senders, owed: DeferredCount, batch: Batch, *, accounting: bool) -> None:
        self.senders, self.owed, self.batch, self.accounting = senders, owed, batch, accounting
        self.ports = senders.ports()
        self.answers: list[bytes] = []
        self.places: list[int] = []
        """For each reply the place of its packet."""

    def add(self, place: int, reply: bytes) -> None:
        """Answer the packet at a place."""
        self.answers.append(reply)
        self.places.append(place)


@final
class Message:
    """A new request: all that its reply needs."""

    __slots__ = ("is_unknown", "key", "packet", "place", "read", "repeats", "reply", "reset", "switch")

    def __init__(self, packet: Packet, switch: RadiusSwitch, key: Hashable, read: Read, place: int) -> None:
        self.packet, self.switch, self.key, self.read, self.place = packet, switch, key, read, place
        self.reply: Item = None
        self.is_unknown = False
        """True if it reported a call that is unknown, and that it does not identify."""
        self.repeats: tuple[tuple[Read, int], ...] = ()
        """Repeats in the same batch: the read and the place of each."""
        self.reset: Hashable = None
        """The key of an Accounting-On or -Off among the recent ones."""
