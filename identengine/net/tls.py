"""TLS on a port of its own (interfaces.md 3): the same connections, after a handshake.

A handshake costs about a millisecond of the one process that decides, so they are paced: whoever connects waits in
a queue, and a new handshake begins only a while after the last one began. A thousand connections that come back at
once so delay each other, and no decision. The certificate files are read again on SIGHUP; connections that are
there go on with what they began with.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator

from identengine.config import Tls
from identengine.errors import ConfigError
from identengine.net.peers import Peers
from identengine.net.streams import Connection, Room, StreamListener, host_of
from identengine.wire.jsonrpc import Responder
from identengine.wire.peer import Visitor

HANDSHAKES = 32
"""Under way at once, at most."""
PACE = 0.002
"""Seconds between the beginnings of two."""
HANDSHAKE_SECONDS = 5.0
"""How long one may take."""
_ACCEPT = 64
"""Connections taken from the kernel at once."""
_PARTING = 5.0
"""Seconds that a peer has to say goodbye in its turn."""


def context_of(tls: Tls) -> ssl.SSLContext:
    """Return what TLS connections are made with. Raises ConfigError, which names key and file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with _named("certificate, key", f"{tls.certificate}, {tls.key}"):
        context.load_cert_chain(tls.certificate or "", tls.key, password=_no_password)
    if tls.client_ca is not None:
        with _named("client_ca", str(tls.client_ca)):
            context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def names_of(transport: asyncio.Transport) -> list[str]:
    """Return the names in the client certificate of a connection, in lower case: DNS names and the subject's."""
    certificate = transport.get_extra_info("peercert") or {}
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    names += [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return [name.lower() for name in names]


def by_certificate(peers: Peers, transport: asyncio.Transport) -> Visitor | None:
    """Return who is at the other end, by its address and certificate."""
    host = host_of(transport)
    return peers.meet(host, names_of(transport)) if host else None


class TlsListener(StreamListener):
    """One listening socket, its handshakes and its connections."""

    def __init__(
        self,
        bound: socket.socket,
        peers: Peers,
        responder: Responder,
        room: Room,
        on_refused: Callable[[str, str], None],
        context: ssl.SSLContext,
    ) -> None:
        """Take connections of ``bound``; ``context`` may be replaced at any time."""
        super().__init__(bound, peers, responder, room, on_refused, by_certificate)
        self.context = context
        self._waiting: deque[socket.socket] = deque()
        """Connections whose handshake is to begin."""
        self._handshakes: set[asyncio.Task[None]] = set()
        self._next: asyncio.TimerHandle | None = None

    async def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(self._socket, self._take)

    def close(self) -> None:
        """Take no more connections; handshakes that did not begin are none."""
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._next is not None:
            self._next.cancel()
        for one in self._waiting:
            one.close()
        self._waiting.clear()
        super().close()

    def _take(self) -> None:
        """Take connections from the kernel, as far as there is room for more."""
        for _ in range(_ACCEPT):
            try:
                taken, source = self._socket.accept()
            except OSError:  # there is none, as a rule; or too many files are open, which the next look may change
                break
            host = source[0]
            refusal = self.room.full(len(self._waiting) + len(self._handshakes))
            if refusal is None and not self.peers.knows(host):
                refusal = "unknown peer"
            if refusal is not None:
                self.on_refused(host, refusal)
                taken.close()
                continue
            taken.setblocking(False)
            self._waiting.append(taken)
        if self._waiting and self._next is None:
            self._begin()

    def _begin(self) -> None:
        """Begin a handshake, and come again for the next."""
        loop = asyncio.get_running_loop()
        self._next = None
        if self._waiting and len(self._handshakes) < HANDSHAKES:
            task = loop.create_task(self._shake(self._waiting.popleft()))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
        if self._waiting:
            self._next = loop.call_later(PACE, self._begin)

    async def _shake(self, taken: socket.socket) -> None:
        try:
            host = taken.getpeername()[0]
        except OSError:  # it is gone by now
            taken.close()
            return
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self),
                taken,
                ssl=self.context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_PARTING,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            self.on_refused(host, f"TLS handshake: {_why(error)}")


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
def _named(key: str, files: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([f"[tls] {key}: {files}: {why}"]) from error
