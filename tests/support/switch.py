"""Every way of asking a server: transports, framings and encodings, spoken alike."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec

from support import HOST

if TYPE_CHECKING:
    from support.server import Server

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


def request(method: str = "authorize", message_id: object = 1, **params: object) -> bytes:
    """Return a message that asks for ``method``; a message_id of ``...`` makes it a notification."""
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    if message_id is not ...:
        message["id"] = message_id
    return json.dumps(message).encode()


def lines(opened: socket.socket, count: int) -> list[bytes]:
    """Return the next ``count`` lines; nothing may come behind them yet."""
    some = b""
    while some.count(b"\n") < count:
        more = opened.recv(65536)
        assert more, f"the connection ended after {some!r}"
        some += more
    assert some.endswith(b"\n")
    assert some.count(b"\n") == count
    return some.splitlines()


def read_all(opened: socket.socket) -> bytes:
    """Return what comes up to the end of the stream."""
    everything = b""
    while some := opened.recv(65536):
        everything += some
    return everything


BURST = 500
"""Messages that are sent before their answers are read."""


class Talker:
    """A connection of a switch, from an address of its own; answers are the ``result`` of each."""

    def __init__(self, server: Server, address: str = HOST) -> None:
        self._socket = socket.create_connection((HOST, server.ports["tcp"]), 20, (address, 0))
        self._lines = self._socket.makefile("rb")

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self._socket.sendall(request(method, 0, **params))
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for an answer."""
        answer = json.loads(self._lines.readline())
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def send(self, message: bytes) -> None:
        """Send a message and do not wait."""
        self._socket.sendall(message)

    def burst(self, messages: Iterable[bytes]) -> list[dict[str, Any]]:
        """Send many messages with ids of their own; return the results by ascending id."""
        source = iter(messages)
        answers: list[dict[str, Any]] = []
        while some := list(islice(source, BURST)):
            self._socket.sendall(b"".join(some))
            answers += [json.loads(self._lines.readline()) for _ in some]
        answers.sort(key=lambda answer: answer["id"])
        assert all("result" in answer for answer in answers), answers[0]
        return [answer["result"] for answer in answers]

    def authorize(self, call_id: str, source: str = "10.0.0.1", **params: object) -> dict[str, Any]:
        """Ask for a call from an address."""
        return self.ask("authorize", call_id=call_id, src_ip=source, dst_number="44171", **params)

    def active(self, *call_ids: str, source: str = "10.0.0.1") -> None:
        """Have calls authorized, and start them."""
        for call_id in call_ids:
            assert self.authorize(call_id, source)["accepted"]
            assert self.ask("start", call_id=call_id) == {"ok": True}

    def tell(self, list_id: str, *call_ids: str, **params: object) -> dict[str, Any]:
        """Say which calls there are, in one message."""
        return self.ask("sync", list_id=list_id, calls=[[call_id] for call_id in call_ids], **params)

    def held(self, *call_ids: str) -> list[str]:
        """Return which of these calls hold a slot; they are stopped by that."""
        return [call_id for call_id in call_ids if self.ask("stop", call_id=call_id).get("freed")]

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()


@contextlib.contextmanager
def talker(server: Server, address: str = HOST) -> Iterator[Talker]:
    """Talk to a server from an address."""
    opened = Talker(server, address)
    try:
        yield opened
    finally:
        opened.close()
