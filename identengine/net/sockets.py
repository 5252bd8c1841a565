"""The sockets that a server listens on: bound once, and inherited by each process that reads them.

The queue of a socket exists as long as any process holds a copy of the socket. So datagrams and connections that
arrive while no process reads wait in the kernel for the next reader.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from identengine.config.readers import Endpoint
from identengine.config.schema import Listen
from identengine.errors import IdentengineError
from identengine.net import operator
from identengine.net.unix import bind_unix

ASK = "ask"
"""Name of the socket ``ask`` in the folder of the set of calls."""
BACKLOG = 1024
"""Maximum number of TCP connections that wait to be accepted."""
RECEIVE_BUFFER = 8 * 1024 * 1024
"""Requested size of a receive buffer, in bytes. The kernel doubles it for its overhead and reports the double."""
DATAGRAM_BYTES = 1280
"""Memory that the kernel charges for a waiting datagram of 300 bytes, measured on loopback. Drivers of network
cards can charge up to 2,304 bytes, so a buffer may hold only half the datagrams."""
_SO_RCVBUFFORCE = 33  # Linux; privileged: exceeds net.core.rmem_max


_STREAMS = ("tcp", "tls", "http")
"""Kinds of sockets that accept connections."""


class CannotListenError(IdentengineError):
    """An address cannot be bound."""


class Sockets(NamedTuple):
    """The bound sockets of ``[listen]``, in its order. TCP sockets listen already; no socket blocks."""

    udp: list[socket.socket]
    tcp: list[socket.socket]
    tls: list[socket.socket]
    control: socket.socket
    """The Unix socket for the commands of an operator."""
    ask: socket.socket
    """The Unix socket for our own processes, which ask for authenticated switches."""
    http: socket.socket | None
    """The socket for HTTP clients, or None without HTTP."""
    radius_auth: list[socket.socket]
    radius_acct: list[socket.socket]

    @property
    def datagrams(self) -> list[socket.socket]:
        """All UDP sockets."""
        return [*self.udp, *self.radius_auth, *self.radius_acct]

    def close(self) -> None:
        """Close the copies of this process. Those of other processes remain open."""
        self.close_http()
        self.close_deciders()

    def close_http(self) -> None:
        """Close the socket that only the HTTP process reads."""
        if self.http is not None:
            self.http.close()

    def close_deciders(self) -> None:
        """Close the sockets that only a decider reads."""
        for bound in (*self.datagrams, *self.tcp, *self.tls, self.control, self.ask):
            bound.close()


class NamedSocket(NamedTuple):
    """A socket of a server, with the name by which another server asks for it."""

    kind: str
    asked: str
    """The address as in the config; empty if a server has only one socket of this kind."""
    bound: socket.socket


def named(listen: Listen, sockets: Sockets) -> list[NamedSocket]:
    """Return the sockets that were bound for ``listen``, for the server that takes over."""
    lists = (
        ("udp", listen.udp, sockets.udp),
        ("tcp", listen.tcp, sockets.tcp),
        ("tls", listen.tls, sockets.tls),
        ("radius_auth", listen.radius_auth, sockets.radius_auth),
        ("radius_acct", listen.radius_acct, sockets.radius_acct),
        ("http", [listen.http] if listen.http else [], [sockets.http] if sockets.http else []),
    )
    return [
        *(
            NamedSocket(kind, str(at), bound)
            for kind, asked, those in lists
            for at, bound in zip(asked, those, strict=True)
        ),
        NamedSocket(operator.FILE, "", sockets.control),
        NamedSocket(ASK, "", sockets.ask),
    ]


def bind(listen: Listen, calls: Path, there: Iterable[NamedSocket] = ()) -> Sockets:
    """Bind all sockets or none. Raise CannotListenError, which names the address, or StoreError.

    ``calls`` is the folder of the set of calls, with the control socket. The caller must hold its lock. Sockets
    that are ``there`` already are used if ``listen`` names them, and closed if it does not.
    """
    left = list(there)
    with contextlib.ExitStack() as undo:
        for one in left:
            undo.enter_context(one.bound)
        have = functools.partial(_have, left, undo)
        udp = [have("udp", endpoint) for endpoint in listen.udp]
        tcp = [have("tcp", endpoint) for endpoint in listen.tcp]
        tls = [have("tls", endpoint) for endpoint in listen.tls]
        auth = [have("radius_auth", endpoint) for endpoint in listen.radius_auth]
        acct = [have("radius_acct", endpoint) for endpoint in listen.radius_acct]
        http = have("http", listen.http) if listen.http else None
        operators = _taken(left, operator.FILE, "") or undo.enter_context(bind_unix(calls, operator.FILE))
        ask = _taken(left, ASK, "") or undo.enter_context(bind_unix(calls, ASK))
        bound = Sockets(udp, tcp, tls, operators, ask, http, auth, acct)
        undo.pop_all()
    for one in left:
        one.bound.close()
    return bound


def _have(left: list[NamedSocket], undo: contextlib.ExitStack, kind: str, endpoint: Endpoint) -> socket.socket:
    """Return an existing socket for an endpoint, or bind a new one."""
    of = socket.SOCK_STREAM if kind in _STREAMS else socket.SOCK_DGRAM
    return _taken(left, kind, str(endpoint)) or undo.enter_context(_bound(kind, of, endpoint))


def _taken(left: list[NamedSocket], kind: str, asked: str) -> socket.socket | None:
    """Remove a socket from ``left`` and return it: the one with this address in its config, or bound to it."""
    of_kind = [one for one in left if one.kind == kind]
    for one in (
        *(one for one in of_kind if one.asked == asked),
        *(one for one in of_kind if asked and str(endpoint_of(one.bound)) == asked),
    ):
        left.remove(one)
        return one.bound
    return None


def endpoint_of(bound: socket.socket) -> Endpoint:
    """Return the endpoint of a bound socket, with the actual port."""
    host, port = bound.getsockname()[:2]
    return Endpoint(host, port)


def receive_buffer(udp: socket.socket) -> int:
    """Return the size of a receive buffer in bytes, the overhead of the kernel included."""
    return udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def _bound(kind: str, kind_of_socket: socket.SocketKind, endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with _named(kind, endpoint):
        made = socket.socket(family, kind_of_socket)
    try:
        with _named(kind, endpoint):
            made.setblocking(False)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind_of_socket == socket.SOCK_DGRAM:
                _enlarge(made)
            else:
                # A restart must not wait for connections of the last run in TIME_WAIT.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((endpoint.host, endpoint.port))
            if kind_of_socket == socket.SOCK_STREAM:
                made.listen(BACKLOG)
    except CannotListenError:
        made.close()
        raise
    return made


def _enlarge(udp: socket.socket) -> None:
    """Enlarge the receive buffer, so that a burst, or the time between two readers, costs no datagram."""
    try:
        udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except OSError:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


@contextlib.contextmanager
def _named(kind: str, endpoint: Endpoint) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotListenError(
            f"cannot listen on {kind} {endpoint}: {error.strerror}. Check whether another server is running, "
            "and whether this machine has the address."
        ) from error
