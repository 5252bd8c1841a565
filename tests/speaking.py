"""Every way of asking a server: transports, framings and encodings, spoken alike."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
from serving import HOST, Server

Framing: TypeAlias = Literal["lines", "netstrings", "prefixed"]
Encoding: TypeAlias = Literal["json", "msgpack"]


class Way(NamedTuple):
    """A transport, and how messages go over it."""

    transport: Literal["tcp", "tls", "udp"]
    framing: Framing | None
    encoding: Encoding

    @property
    def name(self) -> str:
        """For people."""
        return "-".join(filter(None, self))


WAYS = (
    Way("tcp", "lines", "json"),
    Way("tcp", "netstrings", "json"),
    Way("tcp", "prefixed", "msgpack"),
    Way("tls", "lines", "json"),
    Way("tls", "netstrings", "json"),
    Way("tls", "prefixed", "msgpack"),
    Way("udp", None, "json"),
    Way("udp", None, "msgpack"),
)
CONNECTED = tuple(way for way in WAYS if way.framing is not None)
OVER_TCP = tuple(way for way in WAYS if way.transport == "tcp")


def call(method: str, message_id: object = 1, **params: object) -> dict[str, object]:
    """Return a message; one with the id ``...`` is a notification."""
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    return message if message_id is ... else message | {"id": message_id}


class Speaker:
    """One peer that speaks in one way: over a connection, or from a socket that sends datagrams."""

    def __init__(self, way: Way, opened: socket.socket) -> None:
        self.way = way
        self.socket = opened
        self._held = b""
        self.answer_bytes: list[int] = []
        """How large each answer was."""

    def encoded(self, message: object) -> bytes:
        """Return a message as it is sent, in its frame."""
        raw = json.dumps(message, ensure_ascii=False).encode()
        return self.framed(raw if self.way.encoding == "json" else msgspec.msgpack.encode(message))

    def framed(self, raw: bytes) -> bytes:
        """Return an encoded message in its frame."""
        match self.way.framing:
            case "netstrings":
                return b"%d:%b," % (len(raw), raw)
            case "prefixed":
                return len(raw).to_bytes(4, "big") + raw
        return raw

    def tell(self, *messages: object) -> None:
        """Send messages: at once over a connection, else a datagram each."""
        if self.way.framing is not None:
            self.socket.sendall(b"".join(map(self.encoded, messages)))
            return
        for message in messages:
            self.socket.send(self.encoded(message))

    def hear(self) -> Any:
        """Return the next answer; EOFError at the end of the stream."""
        raw = self._frame() if self.way.framing is not None else self.socket.recv(65536)
        self.answer_bytes.append(len(raw))
        return json.loads(raw) if self.way.encoding == "json" else msgspec.msgpack.decode(raw)

    def ask(self, method: str, params: Mapping[str, object], message_id: object = 1) -> dict[str, Any]:
        """Ask and return the whole answer."""
        self.tell(call(method, message_id, **params))
        answer: dict[str, Any] = self.hear()
        return answer

    def rest(self) -> list[Any]:
        """Return what is still answered, up to the end of the stream."""
        answers = []
        with contextlib.suppress(EOFError):
            while True:
                answers.append(self.hear())
        return answers

    def silent(self) -> bool:
        """Whether everything that was answered has been read: the answer to one more question comes next."""
        self.tell(call("ping", "is that all?"))
        answer = self.hear()
        return isinstance(answer, dict) and answer["id"] == "is that all?"

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _frame(self) -> bytes:
        match self.way.framing:
            case "netstrings":
                size = int(self._until(b":"))
                body = self._take(size + 1)
                assert body[-1:] == b","
                return body[:-1]
            case "prefixed":
                return self._take(int.from_bytes(self._take(4), "big"))
        return self._until(b"\n")

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._held:
            self._more()
        found, _, self._held = self._held.partition(mark)
        return found

    def _take(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        found, self._held = self._held[:size], self._held[size:]
        return found

    def _more(self) -> None:
        some = self.socket.recv(65536)
        if not some:
            assert not self._held, f"the stream ended within an answer: {self._held!r}"
            raise EOFError
        self._held += some


@contextlib.contextmanager
def speaking(
    server: Server, way: Way, tls: ssl.SSLContext | None = None, address: str = HOST, seconds: float = 20
) -> Iterator[Speaker]:
    """Speak to a server in one way, from an address. ``tls``: how, where the way is TLS."""
    with contextlib.ExitStack() as opened:
        if way.transport == "udp":
            udp = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp.bind((address, 0))
            udp.connect((HOST, server.ports["udp"]))
            udp.settimeout(seconds)
            yield Speaker(way, udp)
            return
        made = opened.enter_context(
            socket.create_connection((HOST, server.ports[way.transport]), seconds, (address, 0))
        )
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if way.transport == "tls":
            assert tls is not None
            made = opened.enter_context(tls.wrap_socket(made, server_hostname=HOST))
        yield Speaker(way, made)


def is_gone(opened: socket.socket) -> bool:
    """Whether the server has closed a connection; waits for that, or for an answer."""
    try:
        return opened.recv(65536) == b""
    except (ConnectionError, ssl.SSLError):
        return True
