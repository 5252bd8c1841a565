"""Sessions: the switch that a peer is, and the credentials that prove it (interfaces.md 3). No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from identengine.config.schema import Radius
from identengine.engine.lifecycle import Asker
from identengine.model.options import IdentifyOptions

UNPROVEN_BYTES = 4096
"""Largest number of bytes, of a message or a connection, that are read before a right token is shown.

In a larger datagram the token is only searched for.
"""
MAX_UNPROVEN = 16
"""Number of messages after which a connection without a right token is closed, and of answers to an array."""


class Peer(msgspec.Struct, frozen=True):
    """A switch of the config, at one kind of listener."""

    name: str
    options: IdentifyOptions
    asker: Asker = Asker("", "")
    """The switch, the scope of its call ids, and the interface."""
    secret: bytes = b""
    """The shared secret of RADIUS; empty at other listeners."""
    radius: Radius = Radius()


class Session:
    """A peer at an address or on a connection: the switches that it may be, and the switch that it is."""

    __slots__ = (
        "_by_name",
        "_by_token",
        "_credential",
        "_message_token",
        "authenticated",
        "by_secret",
        "checks_tokens",
        "host",
        "peer",
        "refused",
    )

    def __init__(
        self,
        host: str,
        peer: Peer | None,
        by_token: Mapping[bytes, Peer | None] | None = None,
        by_name: Mapping[str, Peer] | None = None,
        certificate: str | None = None,
        by_secret: Sequence[Peer] = (),
    ) -> None:
        """Make a session of ``host`` that is ``peer`` without a token, or no switch yet if ``peer`` is ``None``.

        ``by_token`` holds the tokens of all switches at this address by their :func:`digest_of`. Its value is
        ``None`` for a switch that this session cannot become. ``by_name`` holds the switches that the session may
        speak for without a token. ``certificate`` is the name in the client certificate that identified ``peer``.
        ``by_secret`` are the switches at this address that RADIUS knows by their secrets.
        """
        self.host = host
        self.by_secret = by_secret
        self.peer = peer
        """The switch of all messages without a token; None until the session is authenticated."""
        self.authenticated = peer is not None
        """True if the session was ever authenticated, even if only for one message."""
        self._by_token: Mapping[bytes, Peer | None] = by_token or {}
        self._by_name: Mapping[str, Peer] = by_name or {}
        self._credential: bytes | str | None = certificate
        """The credential that authenticated the session: the digest of a token, or a name."""
        self._message_token: bytes | None = None
        """The digest of the last valid token that authenticated a single message."""
        self.checks_tokens = bool(self._by_token)
        """True if the token of a message decides which switch the message is from."""
        self.refused = 0
        """Number of messages that were refused because no switch was known."""

    @property
    def may_name(self) -> bool:
        """True if the session may name the switch that it speaks for."""
        return bool(self._by_name)

    def is_unproven(self, *, connected: bool) -> bool:
        """Return True if a message without a right token has only its address to show for its peer.

        A connection has shown more if one of its messages had a right token: its peer receives its answers. The
        source of a datagram can be forged, so a datagram shows nothing for the next one.
        """
        return self.peer is None and not self._by_name and not (connected and self.authenticated)

    def switch_of(self, token: str) -> Peer | None:
        """Return the switch with this token, or None if this session cannot be such a switch."""
        return self._by_token.get(digest_of(token))

    def sender_of(self, token: str) -> Peer | None:
        """Return the switch that one message is from by its token, or None if the token is wrong."""
        digest = digest_of(token)
        peer = self._by_token.get(digest)
        if peer is not None:
            self.authenticated, self._message_token = True, digest
        return peer

    def authenticate(self, token: str) -> bool:
        """Make all messages without a token those of the switch with this token. Return False if it is wrong."""
        digest = digest_of(token)
        return self._become(self._by_token.get(digest), digest)

    def speak_for(self, name: str) -> bool:
        """Make all messages those of the switch with this name. Return False if there is no such switch."""
        return self._become(self._by_name.get(name), name)

    def reauthenticate(self, other: Session) -> Session:
        """Re-resolve this session against a new switch list and return ``other``.

        ``other`` is a fresh session of the same peer under the new list. Credentials already shown stay valid.
        """
        credential = self._credential
        if isinstance(credential, bytes):
            other._become(other._by_token.get(credential), credential)
        elif credential is not None:
            other._become(other._by_name.get(credential), credential)
        if self._message_token is not None and other._by_token.get(self._message_token) is not None:
            other.authenticated, other._message_token = True, self._message_token
        return other

    def _become(self, peer: Peer | None, credential: bytes | str) -> bool:
        if peer is None:
            return False
        self.peer, self._credential, self.authenticated = peer, credential, True
        return True


def digest_of(token: str) -> bytes:
    """Return the hash by which tokens are compared, so that the time of a comparison reveals nothing."""
    return sha256(token.encode(errors="surrogatepass")).digest()
