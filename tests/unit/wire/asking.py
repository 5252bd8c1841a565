"""Switches that ask a responder, for tests of sessions and tokens."""

from __future__ import annotations

from typing import Any

import msgspec

from identengine.config.schema import Switch
from identengine.config.secret import Secret
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.identify.builder import build
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Decision, IdentBy, Request
from identengine.net.access import Peers
from identengine.wire.jsonrpc.codec import JSON, Codec
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.session import Session

OPTIONS = IdentifyOptions()
GOOD = {"src_ip": "10.0.0.5", "dst_number": "44171"}
NEVER = {"src_ip": "10.0.0.9", "dst_number": "44171"}


def switch(name: str, network: str, token: str | None = None, certificate: str | None = None) -> Switch:
    return Switch(
        name=name,
        scope=name,
        networks=(parse_network(network)[0],),
        token=Secret(token) if token else None,
        certificate=certificate,
    )


SWITCHES = [
    switch("plain", "10.1.0.0/16"),
    switch("one", "10.2.0.0/16", "token of one"),
    switch("two", "10.2.0.0/16", "token of two"),
    switch("near", "10.2.2.0/24", "token of near"),
    switch("open", "10.3.0.0/16"),
    switch("closed", "10.3.0.0/16", "token of closed"),
    switch("certified", "10.4.0.0/16", None, "sbc.example"),
    switch("both", "10.5.0.0/16", "token of both", "both.example"),
]


class Run:
    """A responder that records what it reports."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.rejected: list[str] = []
        self.too_old = 0
        engine = Engine()
        account = Account(id=1, client_id=1, name="one", ident_by=IdentBy.IP, ident=("10.0.0.5",))
        engine.take_up(build(OPTIONS, 7, bytes(32), [Client(id=1, name="c")], [account], []))
        self.responder = Responder(
            engine, lambda: 1.0, self._reject, on_wrong_token=self.wrong.append, on_too_old=self._old
        )

    def _reject(self, asker: Asker, request: Request, decision: Decision) -> None:
        self.rejected.append(asker.switch)

    def _old(self) -> None:
        self.too_old += 1


def call(method: str = "authorize", message_id: object = 1, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": message_id, "method": method, "params": params}


def over_udp(run: Run, host: str, *messages: object, too_old: bool = False) -> list[Any]:
    session = Peers(SWITCHES, OPTIONS).find(host)
    assert session is not None
    raws = [msgspec.msgpack.encode(message) for message in messages]
    answers, _ = run.responder.datagrams(raws, [session] * len(raws), too_old=[too_old] * len(raws))
    return [msgspec.msgpack.decode(one) for one in answers]


def on_connection(
    run: Run, session: Session, *messages: object, codec: Codec = JSON, too_old: bool = False
) -> list[Any]:
    decode = msgspec.json.decode if codec is JSON else msgspec.msgpack.decode
    raws = [codec.encode(message) for message in messages]
    answers, _ = run.responder.stream(codec, raws, session, too_old=too_old)
    return [decode(one) for one in answers]


def meet(host: str, interface: Any = "tcp", *names: str) -> Session:
    session = Peers(SWITCHES, OPTIONS, interface).meet(host, names)
    assert session is not None
    return session
