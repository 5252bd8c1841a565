"""The listeners of a decider: a new config rebuilds only the parts that changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from support import HOST

from identengine.config.readers import Endpoint
from identengine.config.schema import Config, Limits, Listen, Switch
from identengine.config.sections import from_values
from identengine.engine.core import Engine
from identengine.model.options import IdentifyOptions
from identengine.model.records import Interface
from identengine.net.access import Peers
from identengine.net.sockets import bind
from identengine.server.decider import listeners
from identengine.server.decider.listeners import Listeners
from identengine.server.decider.responders import Responders
from identengine.stats.tally import Tally

FREE = Endpoint(HOST, 0)


class Made(Peers):
    """Counts how often peers are built."""

    count = 0

    def __init__(self, switches: Iterable[Switch], identify: IdentifyOptions, interface: Interface) -> None:
        Made.count += 1
        super().__init__(switches, identify, interface)


def test_peers_are_rebuilt_only_if_switches_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 20,000 switches a rebuild takes seconds, during which nothing is decided."""
    monkeypatch.setattr(listeners, "Peers", Made)
    monkeypatch.setattr(Made, "count", 0)
    config: Config = msgspec.structs.replace(
        from_values({}, None), listen=Listen(udp=(FREE, FREE), tcp=(FREE, FREE))
    )

    def made() -> int:
        count, Made.count = Made.count, 0
        return count

    async def run() -> None:
        ours = Listeners(config, Responders(Engine(), float, lambda: Tally.__new__(Tally)))
        sockets = bind(config.listen, tmp_path)
        await ours.start(sockets, Tally.__new__(Tally), lambda _: None)
        assert made() == 3, "one each for UDP, TCP and HTTP, independent of the number of sockets"
        limits = msgspec.structs.replace(config, limits=Limits(connections=5))
        ours.reconfigure(limits)
        assert made() == 0
        ours.reconfigure(msgspec.structs.replace(limits, switches=()))
        assert made() == 3
        ours.use_options(IdentifyOptions(strict_ambiguity=True))
        assert made() == 3
        await ours.drain(0.0)
        sockets.close()

    asyncio.run(run())
