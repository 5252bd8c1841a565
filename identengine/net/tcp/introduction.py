"""The bytes of a connection before its peer has authenticated: few, and read cheaply (interfaces.md 3).

Rule: a framer reads more than :data:`UNPROVEN_BYTES` only after a right token was among them. So the work for a
connection of an attacker is bounded, however fast the attacker sends.
"""

from __future__ import annotations

from identengine.wire.framing import Framer, Framing
from identengine.wire.session import UNPROVEN_BYTES, Session


class Introduction:
    """The first bytes of a connection, until its peer has authenticated or has sent too many."""

    def __init__(self, framing: Framing, framer: Framer, session: Session) -> None:
        self._framing = framing
        self._begun = bytearray()
        framer.cautious = session.is_unproven(connected=True)

    def feed(self, data: bytes, framer: Framer, session: Session) -> list[bytes]:
        """Add the bytes of a read and return the messages that they complete, as the framer does."""
        if session.is_unproven(connected=True):
            self._begun += data[: UNPROVEN_BYTES + 1 - len(self._begun)]
            if not self._framing.shows_token(bytes(self._begun), session):
                if len(self._begun) > UNPROVEN_BYTES:
                    framer.error = f"no token of a switch in the first {UNPROVEN_BYTES} bytes; begin with auth"
                return framer.feed(data)
        framer.cautious = False
        self._begun.clear()
        return framer.feed(data)
