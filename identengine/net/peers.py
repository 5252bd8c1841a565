"""Which switch a source address belongs to (interfaces.md 3, "Who may ask")."""

from __future__ import annotations

from collections.abc import Iterable

from identengine.addresses import parse_address
from identengine.config import Switch
from identengine.lifecycle import Asker
from identengine.options import IdentifyOptions
from identengine.wire.jsonrpc import Peer

_REMEMBERED = 65536


class Peers:
    """The switches of a config by their networks; of overlapping ones the longest wins."""

    def __init__(self, switches: Iterable[Switch], identify: IdentifyOptions) -> None:
        tables: dict[tuple[int, int], dict[int, Peer]] = {}
        for switch in switches:
            peer = Peer(switch.name, switch.options(identify), Asker(switch.name, switch.scope))
            for network in switch.networks:
                size = len(network.address)
                shift = size * 8 - network.length
                table = tables.setdefault((size, shift), {})
                table[int.from_bytes(network.address, "big") >> shift] = peer
        self._tables = [(size, shift, tables[size, shift]) for size, shift in sorted(tables)]
        self._found: dict[str, Peer] = {}

    def find(self, host: str) -> Peer | None:
        """Return the switch that an address, as a socket gives it, belongs to; None for an unknown peer."""
        # Only known peers are remembered, so that forged sources can neither fill this nor push a peer out.
        peer = self._found.get(host)
        if peer is None:
            peer = self._search(host)
            if peer is not None and len(self._found) < _REMEMBERED:
                self._found[host] = peer
        return peer

    def _search(self, host: str) -> Peer | None:
        address = parse_address(host.partition("%")[0])  # a link-local source comes with its zone
        number = int.from_bytes(address, "big")
        for size, shift, table in self._tables:
            if size == len(address) and (peer := table.get(number >> shift)) is not None:
                return peer
        return None
