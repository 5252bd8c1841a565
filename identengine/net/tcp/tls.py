"""TLS on a port of its own (interfaces.md 3): the same connections, after a handshake.

Handshakes are paced, one step after the other (:class:`identengine.net.tcp.tlstransport.HandshakePacer`). So a
thousand switches that reconnect at once delay each other, but no decision. The sources of the connections share
room and time, so that none shuts out another. SIGHUP reads the files of ``[tls]`` again. Existing connections keep
the certificates with which they started. They are closed if the certificate of their peer is revoked.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import ssl
from collections.abc import Iterator

from identengine.config.readers import normal_certificate_name
from identengine.config.schema import Tls
from identengine.errors import ConfigError, expected
from identengine.net.access import Peers
from identengine.net.tcp.admission import Arrivals, ConnectionQuota, source_of
from identengine.net.tcp.connection import Connection
from identengine.net.tcp.listener import OnRefused, StreamListener
from identengine.net.tcp.peeks import host_of
from identengine.net.tcp.revocation import RevokedCertificates
from identengine.net.tcp.tlstransport import DisplacedError, HandshakePacer, TlsTransport
from identengine.net.tcp.turns import Turns
from identengine.wire.framing import Framings
from identengine.wire.session import Session

_AT_ONCE = 16
"""Maximum number of connections accepted in one turn of the loop. Each costs less than 0.1 ms.

A smaller number would fill the queue of the kernel under a flood, and switches would wait there.
"""
_REST = 0.001
"""Time for other work after such a turn, in seconds."""
_CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20:!PSK"
"""Ciphers of TLS 1.2: those with forward secrecy and AEAD. All ciphers of TLS 1.3 have both."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that leave connections in the queue of the socket. Further attempts at once would fail, too."""
_LAST_HANDSHAKES = 0.5
"""Time for unfinished handshakes during a drain, in seconds."""


def context_of(tls: Tls) -> ssl.SSLContext:
    """Return the context of TLS connections. Raise ConfigError, which names the key and the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION  # a peer could request one handshake after the other
    for key in ("certificate", "key", "client_ca"):
        path = getattr(tls, key)
        if path is not None:
            with _named(key, f"{path}"):
                path.read_bytes()  # so that a missing file is named
    with _named("key", f"{tls.key}", f"the private key of {tls.certificate} in PEM"):
        context.load_cert_chain(tls.certificate or "", tls.key, password=_no_password)
    if tls.client_ca is not None:
        with _named("client_ca", f"{tls.client_ca}", "certificates in PEM"):
            context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def names_of(transport: asyncio.Transport) -> list[str]:
    """Return the names in a client certificate, in their normal form: its DNS names, or else its common names.

    A certificate with a name that is not text has none.
    """
    try:
        certificate = transport.get_extra_info("ssl_object").getpeercert() or {}
    except ValueError:
        return []
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        names = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return [normal_certificate_name(name) for name in names]


def by_certificate(peers: Peers, transport: asyncio.Transport) -> Session | None:
    """Return the session of a connection by its address and certificate."""
    host = host_of(transport)
    return peers.meet(host, names_of(transport)) if host else None


class TlsListener(StreamListener):
    """A listening socket with its handshakes and its connections."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        framings: Framings,
        quota: ConnectionQuota,
        on_refused: OnRefused,
        turns: Turns | None = None,
    ) -> None:
        """Accept connections on ``bound``. Each peer is refused until :meth:`use` sets a context."""
        super().__init__(bound, peers, framings, quota, on_refused, by_certificate, turns)
        self._context: ssl.SSLContext | None = None
        self._revoked: RevokedCertificates | None = None
        self._shaking: Arrivals[TlsTransport] = Arrivals()
        """Connections with an unfinished handshake."""
        self._visits: set[asyncio.Task[None]] = set()
        self._settled = False
        """True once another process decides."""
        self._pause: asyncio.TimerHandle | None = None
        self._pace = HandshakePacer()

    def use(self, context: ssl.SSLContext | None, revoked: RevokedCertificates | None) -> None:
        """Use a context for new connections. Close the connections whose certificate is among the revoked ones."""
        self._context = context
        if revoked != self._revoked:
            self._revoked = revoked
            for connection in list(self.connections):
                connection.reauthenticate()

    def meet(self, transport: asyncio.Transport) -> Session | None:
        """Return the session of a connection, or None for an unknown peer or a revoked certificate."""
        return None if self._is_revoked(transport) else super().meet(transport)

    def refuse(self, transport: asyncio.Transport, why: str) -> None:
        """Count and log a connection as revoked if its certificate is, or else with this reason."""
        super().refuse(transport, "TLS handshake: certificate revoked" if self._is_revoked(transport) else why)

    def _names(self, transport: asyncio.Transport) -> list[str]:
        return names_of(transport)

    def _is_revoked(self, transport: asyncio.Transport) -> bool:
        if self._revoked is None:
            return False
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate is not None and self._revoked.has(certificate)

    async def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(self._socket, self._take)

    def close(self) -> None:
        """Stop accepting connections."""
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._pause is not None:
            self._pause.cancel()
        super().close()

    def _take(self) -> None:
        """Accept some connections. The loop calls again for further ones, after a rest for other work."""
        loop = asyncio.get_running_loop()
        rest = _REST
        for _ in range(_AT_ONCE):
            try:
                taken, _ = self._socket.accept()
            except OSError as error:  # usually because no more connections wait
                if error.errno in _EXHAUSTED:
                    self.on_refused("", f"too many files: {error.strerror}", ())
                    rest = 1.0
                break
            taken.setblocking(False)
            visit = loop.create_task(self._visit(taken))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)
        loop.remove_reader(self._socket)
        self._pause = loop.call_later(rest, loop.add_reader, self._socket, self._take)

    async def _visit(self, taken: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: _Visit(self), taken)
        except OSError:  # the peer has left already
            taken.close()

    def admit(self, transport: asyncio.Transport) -> None:
        """Start the handshake of a connection, if its address is known and there is room."""
        host = host_of(transport)
        if not host or self._settled:  # the peer has left, or this process no longer decides
            transport.abort()
            return
        source = source_of(host)
        if not self.peers.knows(host):
            refusal: str | None = "unknown peer"
        elif self._context is None:
            refusal = "TLS handshake: there is no usable certificate or list of revoked ones"
        else:
            refusal = self._refusal(source)
        if refusal is not None or self._context is None:
            self.on_refused(host, refusal or "", ())
            transport.abort()
            return
        on_shaken = functools.partial(self._shaken, host)
        secured = TlsTransport(self._context, Connection(self), self._pace, source, on_shaken)
        self._shaking.add(secured, source)
        transport.set_protocol(secured)
        secured.connection_made(transport)

    def _refusal(self, source: bytes) -> str | None:
        """Return the reason to refuse a connection from a source, or None if there is room or room was made."""
        refusal = self.quota.full(len(self._shaking))
        if refusal is None:
            return None
        displaced = self._shaking.to_displace(source)
        if displaced is not None:
            displaced.give_way()
        elif not self.make_room():
            return refusal
        return self.quota.full(len(self._shaking))

    def _shaken(self, host: str, secured: TlsTransport, error: Exception | None) -> None:
        self._shaking.remove(secured)
        if error is not None:
            self.on_refused(host, f"TLS handshake: {_why(error)}", ())

    async def settle(self, deadline: float) -> None:
        """Settle as over TCP, and abort unfinished handshakes, since their peers have asked nothing."""
        self._settled = True
        self._cut()
        await super().settle(deadline)

    async def part(self, deadline: float) -> None:
        """Close as over TCP, after a short wait for unfinished handshakes."""
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + _LAST_HANDSHAKES)
        while (self._shaking or self._visits) and loop.time() < until:  # noqa: ASYNC110 - for half a second, once in a run
            await asyncio.sleep(0.005)
        self._cut()
        await super().part(deadline)
        self._pace.close()

    def _cut(self) -> None:
        for secured in self._shaking.all():
            secured.abort()


class _Visit(asyncio.Protocol):
    """A connection before its handshake is permitted."""

    def __init__(self, listener: TlsListener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the listener for admission."""
        self._listener.admit(transport)  # type: ignore[arg-type]  # uvloop's does not inherit from it


def _why(error: Exception) -> str:
    """Return why a handshake failed, in few words that depend only on the cause."""
    if isinstance(error, DisplacedError):
        return "too many unfinished ones"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "failed").lower().replace("_", " ")
    return "took too long" if isinstance(error, TimeoutError) else "broken off"


def _no_password() -> str:
    raise ValueError("the key is encrypted")


@contextlib.contextmanager
def _named(key: str, file: str, what: str = "a readable file") -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        # The path is not shortened, as `quoted` would do: its end is the name of the file.
        raise ConfigError([f'[tls] {key}: {expected(what)}, got "{file}" ({why})']) from error
