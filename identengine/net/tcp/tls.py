"""TLS on a port of its own (interfaces.md 3): the same connections, after a handshake.

Handshakes are paced (:class:`identengine.net.tcp.tlstransport.HandshakePacer`), one step after the other: a
thousand connections that come back at once delay each other, and no decision. The certificate files are read again
on SIGHUP; connections that are there go on with what they began with.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Iterator

from identengine.config.schema import Tls
from identengine.errors import ConfigError
from identengine.net.access import Peers
from identengine.net.tcp.admission import ConnectionQuota
from identengine.net.tcp.connection import Connection, host_of
from identengine.net.tcp.listener import StreamListener
from identengine.net.tcp.tlstransport import HandshakePacer, TlsTransport
from identengine.wire.framing import Framings
from identengine.wire.session import Session

_AT_ONCE = 4
"""Connections taken in one turn of the loop: each costs some 0.1 ms."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What keeps connections waiting where they are; to look again and again would only take time."""
_LAST_HANDSHAKES = 0.5
"""Seconds that those under way have, while draining."""


def context_of(tls: Tls) -> ssl.SSLContext:
    """Return what TLS connections are made with. Raises ConfigError, which names key and file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a peer could ask for one handshake after the other
    for key in ("certificate", "key", "client_ca"):
        path = getattr(tls, key)
        if path is not None:
            with _named(key, f"{path}"):
                path.read_bytes()  # what is missing is named by itself
    with _named("key", f"{tls.key}", f"the private key of {tls.certificate}, both in PEM, is wanted"):
        context.load_cert_chain(tls.certificate or "", tls.key, password=_no_password)
    if tls.client_ca is not None:
        with _named("client_ca", f"{tls.client_ca}", "certificates in PEM are wanted"):
            context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def names_of(transport: asyncio.Transport) -> list[str]:
    """Return the names in the client certificate of a connection, in lower case: DNS names and the subject's."""
    certificate = transport.get_extra_info("peercert") or {}
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    names += [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return [name.lower() for name in names]


def by_certificate(peers: Peers, transport: asyncio.Transport) -> Session | None:
    """Return who is at the other end, by its address and certificate."""
    host = host_of(transport)
    return peers.meet(host, names_of(transport)) if host else None


class TlsListener(StreamListener):
    """One listening socket, its handshakes and its connections."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        framings: Framings,
        quota: ConnectionQuota,
        on_refused: Callable[[str, str], None],
        context: ssl.SSLContext | None,
    ) -> None:
        """Take connections of ``bound``; ``context`` may be replaced; None: nobody is let in so far."""
        super().__init__(bound, peers, framings, quota, on_refused, by_certificate)
        self.context = context
        self._shaking: dict[TlsTransport, str] = {}
        """Connections whose handshake has not ended, and the address of the peer."""
        self._visits: set[asyncio.Task[None]] = set()
        self._settled = False
        """Whether another process decides."""
        self._pause: asyncio.TimerHandle | None = None
        self._pace = HandshakePacer()

    async def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(self._socket, self._take)

    def close(self) -> None:
        """Take no more connections."""
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._pause is not None:
            self._pause.cancel()
        super().close()

    def _take(self) -> None:
        """Take some connections from the kernel; where there are more, the loop looks at everything else first."""
        loop = asyncio.get_running_loop()
        for _ in range(_AT_ONCE):
            try:
                taken, _ = self._socket.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self.on_refused("", f"too many files: {error.strerror}")
                    loop.remove_reader(self._socket)
                    self._pause = loop.call_later(1.0, loop.add_reader, self._socket, self._take)
                return  # there is none any more, as a rule
            taken.setblocking(False)
            visit = loop.create_task(self._visit(taken))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)

    async def _visit(self, taken: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: _Visit(self), taken)
        except OSError:  # it is gone already
            taken.close()

    def admit(self, transport: asyncio.Transport) -> None:
        """Begin the handshake of a connection, if anybody may be at its other end and there is room."""
        host = host_of(transport)
        if not host or self._settled:  # the peer is gone already, or nothing is decided here any more
            transport.abort()
            return
        refusal = self.quota.full(len(self._shaking))
        if not self.peers.knows(host):
            refusal = "unknown peer"
        elif self.context is None:
            refusal = "TLS handshake: there is no certificate"
        if refusal is not None or self.context is None:
            self.on_refused(host, refusal or "")
            transport.abort()
            return
        secured = TlsTransport(self.context, Connection(self), self._pace, self._shaken)
        self._shaking[secured] = host
        transport.set_protocol(secured)
        secured.connection_made(transport)

    def _shaken(self, secured: TlsTransport, error: Exception | None) -> None:
        host = self._shaking.pop(secured)
        if error is not None:
            self.on_refused(host, f"TLS handshake: {_why(error)}")

    async def settle(self, deadline: float) -> None:
        """As for TCP; who is in its handshake has asked nothing, and is cut."""
        self._settled = True
        self._cut()
        await super().settle(deadline)

    async def part(self, deadline: float) -> None:
        """As for TCP, once the handshakes under way are made; those that take long are cut."""
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + _LAST_HANDSHAKES)
        while (self._shaking or self._visits) and loop.time() < until:  # noqa: ASYNC110 - twice in a second, once in a run
            await asyncio.sleep(0.005)
        self._cut()
        await super().part(deadline)
        self._pace.close()

    def _cut(self) -> None:
        for secured in list(self._shaking):
            secured.abort()


class _Visit(asyncio.Protocol):
    """A connection, up to whether there is to be a handshake."""

    def __init__(self, listener: TlsListener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask whether it is to be."""
        self._listener.admit(transport)  # type: ignore[arg-type]  # uvloop's is none by inheritance


def _why(error: Exception) -> str:
    """Return why a handshake failed, in few words and always the same for the same cause."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "failed").lower().replace("_", " ")
    return "took too long" if isinstance(error, TimeoutError) else "broken off"


def _no_password() -> str:
    raise ValueError("the key is encrypted; one without a pass phrase is wanted")


@contextlib.contextmanager
def _named(key: str, file: str, wanted: str = "a file that can be read is wanted") -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([f"[tls] {key}: {file}: {why}; {wanted}"]) from error
