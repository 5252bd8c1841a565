"""A responder over a small book, and functions that ask it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, RoomLeft
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.identify.builder import build
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Decision, IdentBy, Request
from identengine.wire.codes import PARSE_ERROR
from identengine.wire.jsonrpc.answers import DATAGRAM
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK
from identengine.wire.jsonrpc.replies import codec_of
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.session import Peer, Session

OPTIONS = IdentifyOptions()


PEER = Peer("sbc1", OPTIONS, Asker("sbc1", "sbc1"))


VISITOR = Session("127.0.0.1", PEER)


CLIENT = Client(id=1, name="Client One")


SHARED = [
    Account(id=n, client_id=1, name=f"shared {n}", ident_by=IdentBy.IP, ident=("10.0.0.9",), tech_prefix=f"{n}#")
    for n in range(10, 60)
]


ACCOUNTS = [
    Account(id=1, client_id=1, name="one", ident_by=IdentBy.IP, ident=("10.0.0.5",)),
    Account(id=2, client_id=1, name="ü" * 250, ident_by=IdentBy.IP, ident=("10.0.0.6",), orig_tag="t" * 250),
    Account(
        id=3,
        client_id=1,
        name="three",
        ident_by=IdentBy.IP,
        ident=("10.0.0.7",),
        orig_tag="ж" * 255,
        orig_rate_table="ж" * 255,
        orig_routing_plan="ж" * 255,
    ),
    *SHARED,
]


class Forgetful:
    """A mirror that keeps nothing."""

    room_left = RoomLeft.AMPLE
    generation = 0

    def complete(self) -> None:
        pass

    def write(self, changes: Changes) -> None:
        pass


def responder(rejected: list[tuple[str, str | None]] | None = None, *, ready: bool = True) -> Responder:
    engine = Engine(calls=Calls(Settings(max_legs=100), Forgetful()))
    if ready:
        engine.take_up(build(OPTIONS, 7, bytes(32), [CLIENT], ACCOUNTS, []))

    def on_reject(asker: Asker, request: Request, decision: Decision) -> None:
        if rejected is not None:
            rejected.append((asker.switch, decision.reason))

    return Responder(engine, lambda: 12.3456, on_reject)


def datagram(message: bytes, **how: Any) -> list[Any]:
    answers, _ = responder(**how).datagrams([message], [VISITOR])
    assert all(len(answer) <= DATAGRAM for answer in answers)
    decode = json.loads if codec_of(message) is JSON else msgspec.msgpack.decode
    return [decode(answer) for answer in answers]


def packed(message: object, **how: Any) -> list[Any]:
    """Return the answers to an object in MessagePack, and check that a stream gives the same answers."""
    raw = msgspec.msgpack.encode(message)
    answers, _ = responder(**how).datagrams([raw], [VISITOR])
    assert all(len(answer) <= DATAGRAM for answer in answers)
    over_stream, _ = responder(**how).stream(MESSAGEPACK, [raw], VISITOR)
    assert len(answers) != 1 or over_stream == answers
    return [msgspec.msgpack.decode(answer) for answer in answers]


def ask(message: object, **how: Any) -> Any:
    """Return the answer to one message, and check that datagrams and MessagePack give the same answer."""
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    (line,), broken = responder(**how).stream(JSON, [raw], VISITOR)
    answer = json.loads(line)
    (over_udp,) = datagram(raw, **how)
    if codec_of(raw) is JSON:
        assert over_udp == answer
    else:  # a datagram with this first byte is MessagePack
        assert over_udp["error"]["code"] in (-32600, -32700)
    assert line.count(b"\n") == 0
    if not isinstance(message, bytes):
        assert packed(message, **how) == [answer]
    code = answer.get("error", {}).get("code") if isinstance(answer, dict) else None
    assert broken == (code == PARSE_ERROR)
    return answer


def call(method: object = "authorize", params: object = None, **members: object) -> dict[str, object]:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params} | members
    return {name: value for name, value in message.items() if value is not ...}


GOOD = {"src_ip": "10.0.0.5", "dst_number": "44171"}


PARSE, INVALID, NO_METHOD, PARAMS = -32700, -32600, -32601, -32602
