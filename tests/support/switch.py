"""A switch that asks a server the same way over every transport, framing and encoding, or sends raw bytes."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import msgspec

from support import HOST
from support.waiting import PATIENCE

Framing: TypeAlias = Literal["lines", "netstrings", "prefixed"]
Encoding: TypeAlias = Literal["json", "msgpack"]
MOST_UNREAD = 128 << 20
"""Number of bytes that exceeds the buffers of sockets and a server."""
BURST = 500
"""Number of messages that are sent before their answers are read."""


class Wire(NamedTuple):
    """A transport and the framing of its messages."""

    transport: Literal["tcp", "tls", "udp"]
    framing: Framing | None
    encoding: Encoding

    @property
    def name(self) -> str:
        """Name for test ids."""
        return "-".join(filter(None, self))


TCP = Wire("tcp", "lines", "json")
TLS = Wire("tls", "lines", "json")
UDP = Wire("udp", None, "json")
WIRES = (
    TCP,
    Wire("tcp", "netstrings", "json"),
    Wire("tcp", "prefixed", "msgpack"),
    TLS,
    Wire("tls", "netstrings", "json"),
    Wire("tls", "prefixed", "msgpack"),
    UDP,
    Wire("udp", None, "msgpack"),
)
CONNECTED = tuple(wire for wire in WIRES if wire.framing is not None)
OVER_TCP = tuple(wire for wire in WIRES if wire.transport == "tcp")


def call(method: str, message_id: object = 1, **params: object) -> dict[str, object]:
    """Return a JSON-RPC request. One with the id ``...`` is a notification."""
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    return message if message_id is ... else message | {"id": message_id}


def request(method: str = "authorize", message_id: object = 1, **params: object) -> bytes:
    """Return a request as JSON: the bytes of :func:`call`."""
    return json.dumps(call(method, message_id, **params)).encode()


class Switch:
    """A switch with one connection, or one datagram socket, to a server. A context manager."""

    def __init__(self, wire: Wire, opened: socket.socket) -> None:
        self.wire = wire
        self.socket = opened
        self._held = b""
        self.answer_bytes: list[int] = []
        """Size of each answer received, in bytes."""

    @classmethod
    def connect(
        cls,
        port: int,
        wire: Wire = TCP,
        tls: ssl.SSLContext | None = None,
        address: str = HOST,
        *,
        to: str = HOST,
        seconds: float = PATIENCE,
    ) -> Self:
        """Connect from ``address`` to ``to``, with ``tls`` if the wire is TLS. ``seconds`` limits each wait."""
        if wire.transport == "udp":
            family = socket.AF_INET6 if ":" in to else socket.AF_INET
            udp = socket.socket(family, socket.SOCK_DGRAM)
            udp.bind(("::" if ":" in to else address, 0))
            udp.connect((to, port))
            udp.settimeout(seconds)
            return cls(wire, udp)
        source = None if ":" in to else (address, 0)
        opened = socket.create_connection((to, port), seconds, source)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wire.transport == "tls":
            assert tls is not None
            try:
                opened = tls.wrap_socket(opened, server_hostname=to)
            except BaseException:
                opened.close()
                raise
        return cls(wire, opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    # Messages and answers, whole.

    def send(self, *messages: object) -> None:
        """Send messages, all at once over a connection, else one per datagram. Bytes are sent as they are."""
        raw = [message if isinstance(message, bytes) else self.encoded(message) for message in messages]
        if self.wire.framing is not None:
            self.socket.sendall(b"".join(raw))
            return
        for datagram in raw:
            self.socket.send(datagram)

    def end_sending(self) -> None:
        """Close the sending side of the connection. Answers can still be received."""
        self.socket.shutdown(socket.SHUT_WR)

    def receive(self) -> Any:
        """Return the next answer. Raise EOFError at the end of the stream."""
        raw = self.receive_raw()
        return json.loads(raw) if self.wire.encoding == "json" else msgspec.msgpack.decode(raw)

    def receive_raw(self) -> bytes:
        """Return the next answer as it was encoded, without its frame. Raise EOFError at the end of the stream."""
        raw = self._frame() if self.wire.framing is not None else self.socket.recv(65536)
        self.answer_bytes.append(len(raw))
        return raw

    def answers(self, count: int) -> list[Any]:
        """Return the next ``count`` answers. Fail if more have arrived with them."""
        found = [self.receive() for _ in range(count)]
        assert not self._held, f"more was answered: {self._held!r}"
        return found

    def rest(self) -> list[Any]:
        """Return all further answers, up to the end of the stream."""
        answers = []
        with contextlib.suppress(EOFError):
            while True:
                answers.append(self.receive())
        return answers

    def is_drained(self) -> bool:
        """Return True if every answer has been read: the next one answers a further request, sent now."""
        self.send(call("ping", "is that all?"))
        answer = self.receive()
        return isinstance(answer, dict) and answer["id"] == "is that all?"

    def has_nothing(self) -> bool:
        """Return True if no unread bytes have arrived. Do not wait."""
        self.socket.setblocking(False)
        try:
            return not self._held and not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def is_closed(self) -> bool:
        """Return True if the server closed the connection. Wait for that, or for an answer."""
        return is_closed(self.socket)

    def exchange(self, method: str, params: Mapping[str, object], message_id: object = 1) -> dict[str, Any]:
        """Send one request and return its whole answer."""
        self.send(call(method, message_id, **params))
        answer: dict[str, Any] = self.receive()
        return answer

    # Results: what a switch does with its calls.

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Send one request and return its result."""
        self.send(call(method, 0, **params))
        return self.result()

    def result(self) -> dict[str, Any]:
        """Return the result of the next answer."""
        answer = self.receive()
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def burst(self, messages: Iterable[object]) -> list[dict[str, Any]]:
        """Send many requests, ``BURST`` at a time. Return the results by ascending id."""
        source = iter(messages)
        answers: list[dict[str, Any]] = []
        while some := list(islice(source, BURST)):
            self.send(*some)
            answers += [self.receive() for _ in some]
        answers.sort(key=lambda answer: answer["id"])
        assert all("result" in answer for answer in answers), answers[0]
        return [answer["result"] for answer in answers]

    def authorize(self, call_id: str, source: str = "10.0.0.1", **params: object) -> dict[str, Any]:
        """Authorize a call from an address."""
        return self.ask("authorize", call_id=call_id, src_ip=source, dst_number="44171", **params)

    def activate(self, *call_ids: str, source: str = "10.0.0.1") -> None:
        """Authorize calls and start them."""
        for call_id in call_ids:
            assert self.authorize(call_id, source)["accepted"]
            assert self.ask("start", call_id=call_id) == {"ok": True}

    def sync(self, list_id: str, *call_ids: str, **params: object) -> dict[str, Any]:
        """Send the list of all calls in one message."""
        return self.ask("sync", list_id=list_id, calls=[[call_id] for call_id in call_ids], **params)

    def stop(self, *call_ids: str) -> list[str]:
        """Stop calls. Return those that held a slot."""
        return [call_id for call_id in call_ids if self.ask("stop", call_id=call_id).get("freed")]

    # Bytes.

    def encoded(self, message: object) -> bytes:
        """Return a message in its frame."""
        raw = json.dumps(message, ensure_ascii=False).encode()
        return self.framed(raw if self.wire.encoding == "json" else msgspec.msgpack.encode(message))

    def framed(self, raw: bytes) -> bytes:
        """Return an encoded message in its frame."""
        match self.wire.framing:
            case "netstrings":
                return b"%d:%b," % (len(raw), raw)
            case "prefixed":
                return len(raw).to_bytes(4, "big") + raw
        return raw

    def _frame(self) -> bytes:
        match self.wire.framing:
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


def is_closed(opened: socket.socket) -> bool:
    """Return True if the server closed a connection. Wait for that, or for an answer."""
    try:
        return opened.recv(65536) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def send_until_stuck(opened: socket.socket, stream: bytes, others: Callable[[], object]) -> int:
    """Send ``stream`` repeatedly without reading until the server stops reading. Return the number of bytes sent.

    ``others`` sends other requests to the server, so that it has had its turns. Raise AssertionError if the server
    never stops.
    """
    opened.setblocking(False)
    sent = stuck = 0
    while stuck < 30:
        assert sent < MOST_UNREAD, "it reads on and on"
        try:
            sent += opened.send(stream[sent % len(stream) :])
            stuck = 0
        except BlockingIOError:
            others()
            stuck += 1
    return sent


def read_all(opened: socket.socket) -> bytes:
    """Return all bytes up to the end of a stream."""
    everything = b""
    while some := opened.recv(65536):
        everything += some
    return everything
