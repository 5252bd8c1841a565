"""The server under load: its URL and connections to it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from identengine.client.exchange import Encoding
from identengine.errors import IdentengineError, expected, quoted
from identengine.loadgen.protocols import Http, Interface, JsonRpc, Reader

SCHEMES = {"udp": 4870, "tcp": 4870, "tls": 4871, "http": 8470}
"""Interfaces and their default ports."""
_BUFFER = 1 << 20


class TargetError(IdentengineError):
    """The server cannot be reached, or its URL is wrong."""


class Target(NamedTuple):
    """A server and the interface over which it is asked."""

    scheme: str
    host: str
    port: int
    interface: Interface
    seconds: float
    """Time limit of an attempt to connect, in seconds."""
    tls: ssl.SSLContext | None = None

    @property
    def datagrams(self) -> bool:
        """True if the interface is UDP."""
        return self.scheme == "udp"

    @property
    def url(self) -> str:
        """The URL, always with its port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def on_loopback(self) -> bool:
        """Return True if every address of the host is loopback. Raise TargetError if it has no address."""
        return all(ipaddress.ip_address(address[4][0]).is_loopback for address in self._addresses())

    def dial(self) -> tuple[socket.socket, Reader]:
        """Return a non-blocking connection that is ready for requests, and its reader. Raise TargetError."""
        try:
            return self._dial()
        except IdentengineError as error:
            raise TargetError(f"{self.url}: {error}") from error
        except OSError as error:
            raise TargetError(f"no connection to {self.url}: {error.strerror or error}") from error

    def _addresses(self) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        kind = socket.SOCK_DGRAM if self.datagrams else socket.SOCK_STREAM
        try:
            return socket.getaddrinfo(self.host, self.port, type=kind)  # type: ignore[return-value]  # of IP alone
        except OSError as error:
            raise TargetError(f"{self.host}: {error}") from error

    def _dial(self) -> tuple[socket.socket, Reader]:
        reader = self.interface.reader()
        if self.datagrams:
            family, kind, protocol, _, address = self._addresses()[0]
            opened = socket.socket(family, kind, protocol)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            opened.connect(address)
            opened.setblocking(False)
            return opened, reader
        opened = socket.create_connection((self.host, self.port), timeout=self.seconds)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                opened = self.tls.wrap_socket(opened, server_hostname=self.host)
            _open(opened, self.interface.opening(), reader)
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
        return opened, reader


def target(
    url: str, encoding: Encoding, token: str | None, seconds: float, tls: ssl.SSLContext | None = None
) -> Target:
    """Return the server that a URL like ``udp://127.0.0.1:4870`` names. Raise TargetError if the URL is wrong."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise TargetError(f"{quoted(url)}: {error}") from None
    if scheme not in SCHEMES or not host or parts.path not in ("", "/") or parts.query or parts.username:
        *first, last = [f"{name}://HOST:{port}" for name, port in SCHEMES.items()]
        raise TargetError(expected(f"{', '.join(first)} or {last}", url))
    port = port or SCHEMES[scheme]
    if scheme == "http":
        if encoding != "json":
            raise TargetError(f"{quoted(url)}: HTTP carries only JSON. Remove the option for MessagePack.")
        interface: Interface = Http(f"{host}:{port}", token)
    else:
        interface = JsonRpc(encoding, token, stream=scheme != "udp")
    return Target(
        scheme, host, port, interface, seconds, (tls or ssl.create_default_context()) if scheme == "tls" else None
    )


def _open(opened: socket.socket, opening: bytes | None, reader: Reader) -> None:
    """Authenticate and wait for the answer. Raise TargetError if the server rejects the token."""
    if opening is None:
        return
    opened.sendall(opening)
    while data := opened.recv(4096):
        for reply in reader.feed(data):
            if reply.error is not None:
                raise TargetError(f"the server rejected the token: {reply.error.message}")
            return
    raise TargetError("the server closed the connection after it received the token")
