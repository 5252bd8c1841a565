"""The switches that are allowed at a source address (interfaces.md 3, "Who may ask")."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from identengine.config.schema import Switch
from identengine.engine.lifecycle import Asker
from identengine.model.addresses import parse_address
from identengine.model.options import IdentifyOptions
from identengine.model.records import Interface
from identengine.wire.session import Peer, Session, digest_of

_REMEMBERED = 65536
"""Size of the cache of sessions, in addresses."""


class _Place(NamedTuple):
    """The switches of one network: those known by their address alone, and those that authenticate."""

    plain: list[Peer]
    by_token: dict[bytes, Peer]
    by_certificate: dict[str, Peer]
    by_secret: list[Peer]


class Peers:
    """The switches by their networks, for one kind of listener. Of overlapping networks the longest wins.

    A listener for RADIUS knows the switches with a secret. All other listeners know the switches with another
    proof, or with none.
    """

    def __init__(
        self, switches: Iterable[Switch], identify: IdentifyOptions, interface: Interface = "udp"
    ) -> None:
        tables: dict[tuple[int, int], dict[int, _Place]] = {}
        self._by_name: dict[str, Peer] = {}
        for switch in switches:
            peer = _peer(switch, identify, interface)
            self._by_name[peer.name] = peer
            if not (peer.secret if interface == "radius" else _asks_otherwise(switch)):
                continue
            for network in switch.networks:
                size = len(network.address)
                shift = size * 8 - network.length
                table = tables.setdefault((size, shift), {})
                place = table.setdefault(int.from_bytes(network.address, "big") >> shift, _Place([], {}, {}, []))
                if interface == "radius":
                    place.by_secret.append(peer)
                    continue
                if switch.token is not None:
                    place.by_token[digest_of(switch.token.reveal())] = peer
                if switch.certificate is not None and interface == "tls":
                    place.by_certificate[switch.certificate] = peer
                if switch.is_plain:
                    place.plain.append(peer)
        self._tables = [(size, shift, tables[size, shift]) for size, shift in sorted(tables)]
        self._found: dict[str, Session] = {}

    def find(self, host: str) -> Session | None:
        """Return the session of an address, as a socket gives it, or None for an unknown peer."""
        # Only known peers are cached, so forged sources can neither fill the cache nor evict a peer.
        session = self._found.get(host)
        if session is None:
            session = self.meet(host)
            if session is not None and len(self._found) < _REMEMBERED:
                self._found[host] = session
        return session

    def meet(self, host: str, certified: Collection[str] = ()) -> Session | None:
        """Return a session for a new connection, or None for an unknown peer.

        ``certified`` are the names in its client certificate, in lower case.
        """
        place = self._search(host)
        if place is None:
            return None
        for name in certified:
            if name in place.by_certificate:
                peer = place.by_certificate[name]
                its_own = {digest: one if one is peer else None for digest, one in place.by_token.items()}
                return Session(host, peer, its_own, certificate=name)
        if place.by_secret:
            return Session(host, None, by_secret=tuple(place.by_secret))
        plain = place.plain[0] if place.plain else None
        return Session(host, plain, place.by_token) if plain or place.by_token else None

    def knows(self, host: str) -> bool:
        """Return True if a switch is allowed at an address, possibly only after it has authenticated."""
        return self._search(host) is not None

    def host(self, host: str) -> Session:
        """Return a session of a trusted peer, which may speak for any switch."""
        return Session(host, None, by_name=self._by_name)

    def _search(self, host: str) -> _Place | None:
        address = parse_address(host.partition("%")[0])  # a link-local source has a zone
        number = int.from_bytes(address, "big")
        for size, shift, table in self._tables:
            if size == len(address) and (place := table.get(number >> shift)) is not None:
                return place
        return None


def _peer(switch: Switch, identify: IdentifyOptions, interface: Interface) -> Peer:
    options, asker = switch.options(identify), Asker(switch.name, switch.scope, interface)
    if interface != "radius" or switch.secret is None:
        return Peer(switch.name, options, asker)
    # An environment variable can hold bytes that are not UTF-8.
    secret = switch.secret.reveal().encode(errors="surrogateescape")
    return Peer(switch.name, options, asker, secret, switch.radius)


def _asks_otherwise(switch: Switch) -> bool:
    """Return True if a switch can ask over other protocols than RADIUS."""
    return switch.is_plain or switch.token is not None or switch.certificate is not None
