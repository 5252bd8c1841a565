"""The switch that a packet is from: the one at its source whose secret proves it (interfaces.md 5). No I/O.

Only a Message-Authenticator proves an Access-Request, since its own authenticator is random. Rule: a request that
must have one and has none is dropped, so that no forged request takes a slot (CVE-2024-3596).
"""

from __future__ import annotations

from typing import final

from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.mapping import AttributeMap
from identengine.wire.radius.packet import (
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    PROXY_STATE,
    Cause,
    Packet,
    PacketError,
)
from identengine.wire.session import Peer, Session


@final
class RadiusSwitch:
    """A switch of the config, prepared for its packets."""

    __slots__ = ("attributes", "peer", "secret", "styles")

    def __init__(self, peer: Peer) -> None:
        radius = peer.radius
        ignored = radius.ignore_password
        self.peer = peer
        self.secret = SharedSecret(peer.secret)
        self.attributes = AttributeMap(
            radius.map, None if ignored is None else ignored.reveal().encode(errors="surrogateescape")
        )
        self.styles = radius.reply


class RadiusSwitches:
    """The switches that have sent packets, and those of them that sign their Access-Requests."""

    def __init__(self) -> None:
        self._prepared: dict[str, RadiusSwitch] = {}
        self._signing: set[str] = set()
        """Names of the switches of which an Access-Request had a right Message-Authenticator."""

    def sender(self, packet: Packet, session: Session) -> RadiusSwitch:
        """Return the switch that a packet is from. Raise PacketError if no switch is proven."""
        if packet.code == ACCESS_REQUEST and not packet.signature_at:
            return self._unsigned(packet, session)
        accounting = packet.code == ACCOUNTING_REQUEST
        cause = Cause.ACCOUNTING_AUTHENTICATOR if accounting else Cause.MESSAGE_AUTHENTICATOR
        for peer in session.by_secret:
            switch = self._switch(peer)
            if accounting and not switch.secret.authenticates(packet):
                continue
            if packet.signature_at and not switch.secret.signs(packet):
                cause = Cause.MESSAGE_AUTHENTICATOR  # the authenticator of accounting has proven the secret
                continue
            if packet.code == ACCESS_REQUEST:
                self._signing.add(peer.name)
            return switch
        raise PacketError(cause)

    def _unsigned(self, packet: Packet, session: Session) -> RadiusSwitch:
        """Return the switch of an Access-Request without Message-Authenticator: the only one at its source."""
        peer, *others = session.by_secret
        require = peer.radius.require_message_authenticator
        if others or require is True or (require == "auto" and peer.name in self._signing):
            raise PacketError(Cause.NO_MESSAGE_AUTHENTICATOR)
        if peer.radius.limit_proxy_state and any(key == PROXY_STATE for key, _ in packet.attributes):
            raise PacketError(Cause.NO_MESSAGE_AUTHENTICATOR)
        return self._switch(peer)

    def _switch(self, peer: Peer) -> RadiusSwitch:
        """Return the prepared form of a switch. A new config has made another peer of the same name."""
        found = self._prepared.get(peer.name)
        if found is None or found.peer is not peer:
            found = self._prepared[peer.name] = RadiusSwitch(peer)
        return found
