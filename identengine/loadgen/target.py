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
from identengine.loadgen.radius import ACCOUNTING_REQUEST, Radius
from identengine.loadgen.resp import Resp

SCHEMES = {
    "udp": 4870,
    "tcp": 4870,
    "tls": 4871,
    "http": 8470,
    "resp": 4870,
    "resps": 4871,
    "radius": 1812,
}
"""Interfaces and their default ports."""
_OVER_TLS = ("tls", "resps")
_OTHER = "it has a form of its own"
_FORMS = {"http": "HTTP carries only JSON", "resp": _OTHER, "resps": _OTHER, "radius": _OTHER}
"""Reasons why an interface has no choice of the encoding."""
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
    accounting: int | None = None
    """Port of accounting, over RADIUS."""

    @property
    def datagrams(self) -> bool:
        """True if the interface uses UDP."""
        return self.scheme in ("udp", "radius")

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
            opened = socket.socket(family, kind, protocol) if self.accounting is None else RadiusSocket(family)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            if isinstance(opened, RadiusSocket):
                opened.ask(address, self.accounting or 0)
            else:
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


class RadiusSocket(socket.socket):
    """A socket that sends accounting to a port of its own. The authenticators of answers prove their sender."""

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_DGRAM)

    def ask(self, address: tuple[str, int], accounting: int) -> None:
        """Send requests to ``address``, and those of accounting to the port ``accounting`` of the same host."""
        self._authorizing = address
        self._accounting = (address[0], accounting, *address[2:])

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]  # bytes alone
        """Send one packet to the port for its code."""
        address = self._accounting if data[0] == ACCOUNTING_REQUEST else self._authorizing
        return self.sendto(data, flags, address)


def target(
    url: str,
    encoding: Encoding,
    token: str | None,
    seconds: float,
    tls: ssl.SSLContext | None = None,
    *,
    secret: bytes | None = None,
    accounting: int | None = None,
) -> Target:
    """Return the server that a URL like ``udp://127.0.0.1:4870`` names. Raise TargetError if the URL is wrong.

    ``secret`` and the port ``accounting`` are for RADIUS. The default port is the next one after that of the URL.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise TargetError(f"{quoted(url)}: {error}") from None
    if scheme not in SCHEMES or not host or parts.path not in ("", "/") or parts.query or parts.username:
        *first, last = [f"{name}://HOST:{port}" for name, port in SCHEMES.items()]
        raise TargetError(expected(f"{', '.join(first)} or {last}", url))
    port = port or SCHEMES[scheme]
    form = _FORMS.get(scheme)
    if form and encoding != "json":
        raise TargetError(f"{quoted(url)}: {form}. Remove the option for MessagePack.")
    context = (tls or ssl.create_default_context()) if scheme in _OVER_TLS else None
    if scheme == "radius":
        if secret is None:
            raise TargetError(f"{quoted(url)}: RADIUS needs a secret. Name its variable with --secret-env.")
        return Target(scheme, host, port, Radius(secret), seconds, accounting=accounting or port + 1)
    return Target(scheme, host, port, _interface(scheme, f"{host}:{port}", encoding, token), seconds, context)


def _interface(scheme: str, host: str, encoding: Encoding, token: str | None) -> Interface:
    if scheme == "http":
        return Http(host, token)
    if scheme in ("resp", "resps"):
        return Resp(token)
    return JsonRpc(encoding, token, stream=scheme != "udp")


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
