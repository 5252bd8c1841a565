"""Who asks: a switch of the config, and how it shows that it is that one (interfaces.md 3). No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import msgspec

from identengine.engine.lifecycle import Asker
from identengine.model.options import IdentifyOptions


class Peer(msgspec.Struct, frozen=True):
    """A switch of the config, at one kind of listener."""

    name: str
    options: IdentifyOptions
    asker: Asker = Asker("", "")
    """Its name, the scope of its call ids, and the interface."""


class Session:
    """Somebody at an address, or on a connection: which switches it may be, and which of them it is by now."""

    __slots__ = ("_by_name", "_by_token", "_proved", "_shown", "authenticated", "host", "peer", "wants_token")

    def __init__(
        self,
        host: str,
        peer: Peer | None,
        by_token: Mapping[bytes, Peer] | None = None,
        by_name: Mapping[str, Peer] | None = None,
        shown: str | None = None,
    ) -> None:
        """``peer``: the switch that it is without a word; ``by_token``: those that it becomes by theirs.

        ``by_name``: where whoever comes may say for which switch it speaks; ``shown``: the name in the certificate
        by which it is known already. Tokens go by their :func:`digest_of`.
        """
        self.host = host
        self.peer = peer
        """Who it is by now; None: nobody may ask so far."""
        self.authenticated = peer is not None
        """Whether a switch has ever shown itself there, be it with one message alone."""
        self._by_token: Mapping[bytes, Peer] = by_token or {}
        self._by_name: Mapping[str, Peer] = by_name or {}
        self._shown: bytes | str | None = shown
        self._proved: bytes | None = None
        """The last right token that came with one message alone."""
        self.wants_token = bool(self._by_token) and shown is None
        """Whether who it is depends on the token that comes with each message."""

    @property
    def may_name(self) -> bool:
        """Whether it may say for which switch it speaks."""
        return bool(self._by_name)

    def switch_of(self, token: str) -> Peer | None:
        """Return the switch whose token this is, None where it is none's that may be here."""
        return self._by_token.get(digest_of(token))

    def sender_of(self, token: str) -> Peer | None:
        """Return the switch whose token came with one message; None where it is none's that may be here."""
        digest = digest_of(token)
        peer = self._by_token.get(digest)
        if peer is not None:
            self.authenticated, self._proved = True, digest
        return peer

    def show(self, token: str) -> bool:
        """Be the switch of this token from now on; returns whether there is one."""
        digest = digest_of(token)
        return self._become(self._by_token.get(digest), digest)

    def speak_for(self, name: str) -> bool:
        """Be the switch of this name from now on; returns whether there is one."""
        return self._become(self._by_name.get(name), name)

    def reauthenticate(self, other: Session) -> Session:
        """Return what this one is by new switches, as which ``other`` was met: what it has shown counts still."""
        shown = self._shown
        if isinstance(shown, bytes):
            other._become(other._by_token.get(shown), shown)
        elif shown is not None:
            other._become(other._by_name.get(shown), shown)
        if self._proved in other._by_token:
            other.authenticated, other._proved = True, self._proved
        return other

    def _become(self, peer: Peer | None, shown: bytes | str) -> bool:
        if peer is None:
            return False
        self.peer, self._shown, self.authenticated, self.wants_token = peer, shown, True, False
        return True


def digest_of(token: str) -> bytes:
    """Return what tokens are compared by: how long that takes tells nothing of them."""
    return sha256(token.encode(errors="surrogatepass")).digest()
