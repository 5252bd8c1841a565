"""The listeners of a decider: the sockets for requests of switches, with access rules and limits."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

import msgspec

from identengine.config.schema import Config, Limits, Tls
from identengine.errors import ConfigError
from identengine.log.events import CERTIFICATES_UNUSABLE, CRL_EXPIRED
from identengine.model.options import IdentifyOptions
from identengine.model.records import Interface
from identengine.net.access import Peers
from identengine.net.sockets import Sockets, endpoint_of
from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.listener import StreamListener, trusted
from identengine.net.tcp.revocation import RevokedCertificates, now, revoked_certificates
from identengine.net.tcp.tls import TlsListener, context_of
from identengine.net.tcp.turns import Turns
from identengine.net.udp.listener import UdpListener
from identengine.server.decider.responders import Responders
from identengine.stats.tally import Tally
from identengine.wire.jsonrpc.framings import framings
from identengine.wire.radius.packet import LONGEST_PACKET
from identengine.wire.resp.framings import framings as resp_framings
from identengine.wire.responder import DatagramResponder

_REFUSED = (
    ("too many connections of", "too_many_of_switch"),
    ("too many", "too_many"),
    ("TLS handshake", "tls_handshake"),
)
"""Beginning of the reason why a connection is refused, and its counter. Other reasons: an unknown peer."""

_RADIUS_BYTES = LONGEST_PACKET + 1
"""Size after which a datagram of RADIUS is cut, in bytes. So a packet that is too long can be told from others."""
_CRL_SECONDS = 3600.0
"""Interval of the checks of an expired list of revoked certificates, in seconds."""


class Listeners:
    """All listeners of one decider. :meth:`start` opens them."""

    _tally: Tally

    def __init__(self, config: Config, responders: Responders) -> None:
        self._config = config
        self._identify = config.identify
        """The options in force, with which the book in use was loaded."""
        self._responders = responders
        self._turns = Turns(responders.batches)
        self._native = framings(responders.jsonrpc)
        """The framings for our own processes."""
        all_framings = {**self._native.by_first_byte, **resp_framings(responders.resp)}
        self._framings = self._native._replace(by_first_byte=all_framings)
        """The framings for switches, of all protocols."""
        self._refused = responders.refused
        self._known: dict[Interface, Peers] = {}
        """The peers of each interface. With many switches, each of them is slow to build."""
        self._datagrams: dict[Interface, list[UdpListener]] = {"udp": [], "radius": []}
        self._tls: list[TlsListener] = []
        self._context: ssl.SSLContext | None = None
        self._revoked: RevokedCertificates | None = None
        self._watch: asyncio.TimerHandle | None = None
        """The next look at the list of revoked certificates."""
        self._streams: dict[Interface, list[StreamListener]] = {"tcp": [], "tls": [], "http": []}
        self._closed: list[StreamListener] = []
        """Listeners whose sockets were replaced. Their connections stay open."""

    @property
    def unsent(self) -> int:
        """Number of answers over UDP that the system has not accepted since the process started."""
        return sum(one.unsent for one in self._all_datagrams())

    @property
    def connections(self) -> dict[Interface, int]:
        """Number of open connections of each interface.

        For HTTP, these are the connections of the HTTP process.
        """
        counts = {one: sum(len(each.connections) for each in these) for one, these in self._streams.items()}
        counts["http"] += sum(len(each.connections) for each in self._closed)
        return counts

    async def start(self, sockets: Sockets, tally: Tally, announce: Callable[[str], None]) -> None:
        """Start to read the sockets. ``announce`` prints each address, and ``tally`` counts refused peers."""
        self._tally = tally
        quota = ConnectionQuota(self._config.limits)
        common = self._framings, quota, self._on_refused
        radius = self._responders.radius
        self._read_datagrams(sockets.udp, "udp", "udp", self._responders.jsonrpc.datagrams, announce)
        self._read_datagrams(sockets.radius_auth, "radius", "radius_auth", radius.authentication, announce)
        self._read_datagrams(sockets.radius_acct, "radius", "radius_acct", radius.accounting, announce)
        for bound in sockets.tcp:
            tcp = StreamListener(bound, self._peers("tcp"), *common, turns=self._turns)
            self._streams["tcp"].append(tcp)
            await tcp.start()
            announce(f"listening tcp {tcp.endpoint}")
        for bound in sockets.tls:
            tls = TlsListener(bound, self._peers("tls"), *common, self._turns)
            self._tls.append(tls)
            self._streams["tls"].append(tls)
        self._read_tls_files()
        for tls in self._tls:
            await tls.start()
            announce(f"listening tls {tls.endpoint}")
        if sockets.http is not None:
            # The HTTP process serves this socket. Until it runs, new connections wait in the kernel.
            announce(f"listening http {endpoint_of(sockets.http)}")
            sockets.close_http()
        await self.serve_ask(sockets.ask)

    def _read_datagrams(
        self,
        sockets: Sequence[socket.socket],
        interface: Interface,
        kind: str,
        responder: DatagramResponder,
        announce: Callable[[str], None],
    ) -> None:
        """Start to read UDP sockets of one kind."""
        for bound in sockets:
            listener = UdpListener(
                bound,
                self._peers(interface),
                responder,
                self._limits(interface),
                self._on_dropped,
                self._on_flood,
                self._responders.batches,
            )
            self._datagrams[interface].append(listener)
            listener.start()
            announce(f"listening {kind} {listener.endpoint}")

    async def serve_ask(self, bound: socket.socket) -> None:
        """Serve our own processes on this socket instead of an earlier one. Earlier connections stay open."""
        for earlier in self._streams["http"]:
            earlier.close()
        self._closed += self._streams["http"]
        self._streams["http"].clear()
        ask = StreamListener(
            bound,
            self._peers("http"),
            self._native,
            ConnectionQuota(self._config.limits),
            self._on_refused,
            trusted,
            self._turns,
        )
        self._streams["http"].append(ask)
        await ask.start()

    def reconfigure(self, config: Config) -> None:
        """Apply the switches, limits and certificate files of a config, but not its ``[identify]``."""
        if config.switches != self._config.switches:
            self._known.clear()
        self._config = config
        self._apply()
        self._read_tls_files()

    def use_options(self, identify: IdentifyOptions) -> None:
        """Apply the options of identification with which a new book was loaded."""
        self._identify = identify
        self._known.clear()
        self._apply()

    async def drain(self, deadline: float) -> None:
        """Accept nothing new and answer all received messages, until ``deadline`` (by the loop's clock)."""
        await asyncio.gather(
            *[one.drain(deadline) for one in self._all_datagrams()],
            *[stream.drain(deadline) for stream in self._all_streams()],
            *[stream.part(deadline) for stream in self._closed],
        )

    async def leave(self, deadline: float) -> None:
        """Stop reading and answer the messages that were read, until ``deadline`` at most. Then call :meth:`part`.

        Messages that wait in the sockets are left to another decider, which reads the sockets next.
        """
        await asyncio.gather(
            *[one.leave(deadline) for one in self._all_datagrams()],
            *[stream.settle(deadline) for stream in (*self._all_streams(), *self._closed)],
        )

    async def part(self, deadline: float) -> None:
        """Close the remaining connections when their peers have read their answers, until ``deadline`` at most."""
        await asyncio.gather(*[stream.part(deadline) for stream in (*self._all_streams(), *self._closed)])

    def _apply(self) -> None:
        """Apply peers and limits to all listeners."""
        for interface, listeners in self._datagrams.items():
            for one in listeners:
                one.reconfigure(self._peers(interface), self._limits(interface))
        for interface, streams in (*self._streams.items(), ("http", self._closed)):
            for stream in streams:
                stream.reconfigure(self._peers(interface), self._config.limits)

    def _peers(self, interface: Interface) -> Peers:
        if interface not in self._known:
            self._known[interface] = Peers(self._config.switches, self._identify, interface)
        return self._known[interface]

    def _limits(self, interface: Interface) -> Limits:
        """Return the limits of datagrams. The protocol of RADIUS limits its packets, not the config."""
        limits = self._config.limits
        return msgspec.structs.replace(limits, message_bytes=_RADIUS_BYTES) if interface == "radius" else limits

    def _read_tls_files(self) -> None:
        """Read the files of ``[tls]``. An unusable file leaves what was read earlier in use, with an alarm.

        The files were usable at the start of the server. If they are not when a decider starts, it refuses every
        peer over TLS until SIGHUP. Everything else continues.
        """
        if not self._tls:
            return
        config = self._config.tls
        context, revoked = _or_alarm(context_of, config), _or_alarm(revoked_certificates, config)
        self._context = context or self._context
        if revoked is not None and self._revoked is not None and (why := revoked.expired(now())):
            CRL_EXPIRED.tell(serving="the list that was read earlier stays in use", what=why)
        else:
            self._revoked = revoked or self._revoked
        usable = config.client_crl is None or self._revoked is not None
        for tls in self._tls:
            tls.use(self._context if usable else None, self._revoked)
        self._watch_revoked()

    def _watch_revoked(self) -> None:
        """Log an alarm at intervals while the list of revoked certificates in use has expired."""
        if self._watch is not None:
            self._watch.cancel()
        if self._revoked is not None:
            if why := self._revoked.expired(now()):
                CRL_EXPIRED.tell(serving="it stays in use", what=why)
            self._watch = asyncio.get_running_loop().call_later(_CRL_SECONDS, self._watch_revoked)

    def _all_datagrams(self) -> list[UdpListener]:
        return list(chain.from_iterable(self._datagrams.values()))

    def _all_streams(self) -> list[StreamListener]:
        return list(chain.from_iterable(self._streams.values()))

    def _on_dropped(self, source: str, why: str) -> None:
        self._tally.add("datagrams_dropped_unknown_peer")
        self._refused.note(source, why)

    def _on_flood(self, source: str, count: int) -> None:
        self._tally.add("datagrams_dropped_too_many", count)
        self._refused.note(source, "too many datagrams", count=count)

    def _on_refused(self, source: str, why: str, names: Sequence[str]) -> None:
        label = next((label for begin, label in _REFUSED if why.startswith(begin)), "unknown_peer")
        self._tally.add(f"connections_refused_{label}")
        self._refused.note(source, why, names)


T = TypeVar("T")


def _or_alarm(read: Callable[[Tls], T], config: Tls) -> T | None:
    """Return what ``read`` returns, or log an alarm and return None if it raises ConfigError."""
    try:
        return read(config)
    except ConfigError as error:
        for problem in error.problems:
            CERTIFICATES_UNUSABLE.tell(what=problem)
        return None
