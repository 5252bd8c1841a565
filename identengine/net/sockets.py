"""The sockets that a server listens on: bound once, and inherited by every process that reads them in turn.

Whoever holds a copy keeps the socket's queue alive: datagrams and connections that come while nobody reads wait in
the kernel for the next reader.
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
"""The file of that socket, in the folder of the set of calls."""
BACKLOG = 1024
RECEIVE_BUFFER = 8 * 1024 * 1024
"""What is asked for, in bytes; the kernel doubles it for its own overhead, and tells the doubled value."""
DATAGRAM_BYTES = 1280
"""What the kernel charges for a waiting datagram of 300 bytes, measured on loopback; drivers of network cards may
charge up to 2,304, so that as few as half as many wait there."""
_SO_RCVBUFFORCE = 33  # Linux; beyond net.core.rmem_max, for those who may


class CannotListenError(IdentengineError):
    """An address cannot be bound."""


class Sockets(NamedTuple):
    """What ``[listen]`` names, bound, in its order; those of TCP listen already. None of them blocks."""

    udp: list[socket.socket]
    tcp: list[socket.socket]
    tls: list[socket.socket]
    control: socket.socket
    """Where an operator's commands ask."""
    ask: socket.socket
    """Where our own processes ask for switches that they know."""
    http: socket.socket | None
    """Where HTTP clients ask; None: there is no HTTP."""

    def close(self) -> None:
        """Close this process's copies; what others hold stays."""
        self.close_http()
        self.close_deciders()

    def close_http(self) -> None:
        """Close what only the process for HTTP reads."""
        if self.http is not None:
            self.http.close()

    def close_deciders(self) -> None:
        """Close what only a process that decides reads."""
        for one in (*self.udp, *self.tcp, *self.tls, self.control, self.ask):
            one.close()


class NamedSocket(NamedTuple):
    """One of the sockets of a server, as another one may ask for it."""

    kind: str
    asked: str
    """The address as the config has it; empty where there is only one of its kind."""
    bound: socket.socket


def named(listen: Listen, sockets: Sockets) -> list[NamedSocket]:
    """Return what was bound for ``listen``, for the server that takes over."""
    lists = (
        ("udp", listen.udp, sockets.udp),
        ("tcp", listen.tcp, sockets.tcp),
        ("tls", listen.tls, sockets.tls),
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
    """Bind everything or nothing; raises CannotListenError, which names the address, or StoreError.

    ``calls`` is the folder of the set of calls, where the control socket is; its lock has to be held by whoever
    runs the server. What is ``there`` already is taken, and closed where ``listen`` does not want it.
    """
    left = list(there)
    with contextlib.ExitStack() as undo:
        for one in left:
            undo.enter_context(one.bound)
        have = functools.partial(_have, left, undo)
        udp = [have("udp", endpoint) for endpoint in listen.udp]
        tcp = [have("tcp", endpoint) for endpoint in listen.tcp]
        tls = [have("tls", endpoint) for endpoint in listen.tls]
        http = have("http", listen.http) if listen.http else None
        operators = _taken(left, operator.FILE, "") or undo.enter_context(bind_unix(calls, operator.FILE))
        ask = _taken(left, ASK, "") or undo.enter_context(bind_unix(calls, ASK))
        bound = Sockets(udp, tcp, tls, operators, ask, http)
        undo.pop_all()
    for one in left:
        one.bound.close()
    return bound


def _have(left: list[NamedSocket], undo: contextlib.ExitStack, kind: str, endpoint: Endpoint) -> socket.socket:
    """Return the socket that is there already, or bind it."""
    of = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
    return _taken(left, kind, str(endpoint)) or undo.enter_context(_bound(kind, of, endpoint))


def _taken(left: list[NamedSocket], kind: str, asked: str) -> socket.socket | None:
    """Take one of what is there: the one that was asked for by this address, or is bound to it."""
    of_kind = [one for one in left if one.kind == kind]
    for one in (
        *(one for one in of_kind if one.asked == asked),
        *(one for one in of_kind if asked and str(endpoint_of(one.bound)) == asked),
    ):
        left.remove(one)
        return one.bound
    return None


def endpoint_of(bound: socket.socket) -> Endpoint:
    """Return where a socket is bound, with the real port."""
    host, port = bound.getsockname()[:2]
    return Endpoint(host, port)


def receive_buffer(udp: socket.socket) -> int:
    """Return how many bytes wait in the kernel at most, its own overhead included."""
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
                # A restart must not wait until the connections of the last run are forgotten.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((endpoint.host, endpoint.port))
            if kind_of_socket == socket.SOCK_STREAM:
                made.listen(BACKLOG)
    except CannotListenError:
        made.close()
        raise
    return made


def _enlarge(udp: socket.socket) -> None:
    """Let a burst, or what comes while nobody reads, wait in the kernel."""
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
            f"cannot listen on {kind} {endpoint}: {error.strerror}; is another server running, "
            "or is the address another machine's?"
        ) from error
