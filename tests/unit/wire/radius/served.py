"""A responder of RADIUS over a small book and a set of calls, and packets that ask it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

from support.callsets import Copy

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.config.schema import Radius, Switch
from identengine.config.secret import Secret
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.engine.settings import EngineSettings
from identengine.identify.builder import build
from identengine.model.addresses import parse_network
from identengine.model.attributes import ATTRIBUTES
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Decision, IdentBy, Request
from identengine.net.access import Peers
from identengine.wire.batches import EngineBatches
from identengine.wire.deferred import DeferredCount
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.packet import (
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    STATUS_SERVER,
    Packet,
    decode,
    encode,
    encoded,
    vendor_key,
)
from identengine.wire.radius.responder import DroppedPacket, RadiusResponder, Reports

HOST, OTHER, STRANGER = "192.0.2.1", "192.0.2.2", "192.0.2.99"
SECRET, OTHER_SECRET = b"9f3b1c77d0a4e852", b"77d0a4e8529f3b1c"
OPTIONS = IdentifyOptions()
CLIENTS = [Client(id=1, name="one")]
ACCOUNTS = [
    Account(id=1, client_id=1, name="trunk", ident_by=IdentBy.IP, ident=("10.0.0.1",), orig_capacity=2),
    Account(id=2, client_id=1, name="wide", ident_by=IdentBy.IP, ident=("10.0.0.2",), term_enabled=True),
    Account(id=3, client_id=1, name="long", ident_by=IdentBy.IP, ident=("10.0.0.3",), orig_tag="x" * 255),
    Account(id=4, client_id=1, name="phone", ident_by=IdentBy.NAME, ident=("alice",), password="enc:hush"),
]
_AUTHENTICATORS = count(1)


def switch(name: str = "gw", address: str = HOST, secret: bytes = SECRET, **radius: Any) -> Switch:
    network, _ = parse_network(address)
    return Switch(
        name=name, scope=name, networks=(network,), secret=Secret(secret.decode()), radius=Radius(**radius)
    )


class Opened:
    """A vault whose tokens are in clear."""

    def reveal(self, token: str) -> str:
        """Return the password of a token."""
        return token.removeprefix("enc:")


class Served:
    """A responder whose clock stands until a test moves it."""

    def __init__(self, *switches: Switch, ready: bool = True, usual: bool = True, max_legs: int = 100) -> None:
        self.mirror = Copy()
        self.calls = Calls(Settings(max_legs=max_legs), self.mirror)
        self.engine = Engine(EngineSettings(vault=Opened()), calls=self.calls)  # type: ignore[arg-type]  # see Opened
        self.now = 1000.0
        if ready:
            self.engine.take_up(build(OPTIONS, 7, bytes(32), CLIENTS, ACCOUNTS, []))
        self.rejected: list[str | None] = []
        self.dropped: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.late: list[tuple[int, bytes]] = []
        self.owed = DeferredCount()
        self.batches = EngineBatches(self.engine, lambda: self.now, lambda: self.now)
        reports = Reports(self._rejected, self._too_old, self._dropped, self._wrong, self._duplicate)
        self.responder = RadiusResponder(self.engine, self.batches, lambda: self.now, reports, usual=usual)
        self.configure(*(switches or (switch(),)))

    def configure(self, *switches: Switch) -> None:
        """Use other switches, as after SIGHUP."""
        self.peers = Peers(switches, OPTIONS, "radius")

    def _rejected(self, _: Asker, __: Request, decision: Decision) -> None:
        self.rejected.append(decision.reason)

    def _too_old(self) -> None:
        self.counts["too_old"] += 1

    def _dropped(self, packet: DroppedPacket) -> None:
        self.dropped.append((packet.host, packet.cause.value))

    def _wrong(self, _: Asker, wrong: BadParameter) -> None:
        self.wrong.append(wrong.field)

    def _duplicate(self) -> None:
        self.counts["duplicate"] += 1

    @property
    def held(self) -> int:
        """Number of legs that hold slots."""
        return self.calls.gauges().held

    # ---- as the senders of a read

    def ports(self) -> list[int]:
        """Return the source ports of the packets."""
        return self._ports

    def answer_later(self, place: int, answers: Sequence[bytes]) -> None:
        """Note a deferred reply."""
        self.late += [(place, answer) for answer in answers]

    # ---- asking

    def together(
        self,
        *packets: bytes,
        accounting: bool = False,
        host: str = HOST,
        ports: Sequence[int] | None = None,
        too_old: Sequence[bool] | None = None,
    ) -> dict[int, bytes]:
        """Return the replies to packets of one read, by their places."""
        self._ports = list(ports or [1024] * len(packets))
        session = self.peers.find(host)
        assert session is not None
        respond = self.responder.accounting if accounting else self.responder.authentication
        self.batches.begin()
        try:
            replies, places = respond(packets, [session] * len(packets), self, self.owed, too_old)
        finally:
            self.batches.end()
        assert places is not None
        assert len(replies) == len(places) == len(set(places))
        assert all(len(reply) <= 4096 for reply in replies)
        return dict(zip(places, replies, strict=True))

    def ask(self, packet: bytes, **how: Any) -> bytes | None:
        """Return the reply to one packet, or None if it gets none."""
        accounting = how.pop("accounting", packet[:1] == bytes((ACCOUNTING_REQUEST,)))
        return self.together(packet, accounting=accounting, **how).get(0)

    def decided(self, packet: bytes, **how: Any) -> int | None:
        """Return the code of the reply to one packet, or None if it gets none."""
        reply = self.ask(packet, **how)
        return None if reply is None else reply[0]


def access(
    call_id: str = "c",
    source: str = "10.0.0.1",
    *more: tuple[str, object],
    secret: bytes = SECRET,
    signed: bool = True,
    identifier: int = 7,
) -> bytes:
    """Return an Access-Request with a random authenticator."""
    pairs = [("h323-remote-address", source), ("Called-Station-Id", "44123"), ("Acct-Session-Id", call_id), *more]
    authenticator = next(_AUTHENTICATORS).to_bytes(16, "big")
    if signed:
        return SharedSecret(secret).request(ACCESS_REQUEST, identifier, authenticator, _attributes(*pairs))
    return encode(ACCESS_REQUEST, identifier, authenticator, _attributes(*pairs))


def account(
    status: int | None,
    session: str | None = "c",
    *more: tuple[str, object],
    secret: bytes = SECRET,
    identifier: int = 9,
) -> bytes:
    """Return an Accounting-Request. It is the same packet if it is made twice."""
    pairs: list[tuple[str, object]] = [] if status is None else [("Acct-Status-Type", status)]
    pairs += [] if session is None else [("Acct-Session-Id", session)]
    return unsigned_accounting(_attributes(*pairs, *more), secret, identifier)


def unsigned_accounting(attributes: bytes, secret: bytes = SECRET, identifier: int = 9) -> bytes:
    """Return an Accounting-Request without a Message-Authenticator (RFC 2866, section 3)."""
    from hashlib import md5

    head = encode(ACCOUNTING_REQUEST, identifier, bytes(16), attributes)
    return head[:4] + md5(head + secret).digest() + head[20:]


def status_server(secret: bytes = SECRET, *, signed: bool = True, identifier: int = 1) -> bytes:
    """Return a Status-Server."""
    authenticator = next(_AUTHENTICATORS).to_bytes(16, "big")
    if signed:
        return SharedSecret(secret).request(STATUS_SERVER, identifier, authenticator, b"")
    return encode(STATUS_SERVER, identifier, authenticator, b"")


def texts(reply: bytes, name: str) -> list[str]:
    """Return the values of an attribute of a reply."""
    return [value.decode() for key, value in decode(reply).attributes if key == _key(name)]


def is_authentic(reply: bytes, request: bytes, secret: bytes = SECRET) -> bool:
    """Return True if a client with this secret accepts the reply."""
    packet: Packet = decode(reply)
    return packet.identifier == request[1] and SharedSecret(secret).answers(packet, request[4:20])


def _attributes(*pairs: tuple[str, object]) -> bytes:
    return encoded((_key(name), _value(value)) for name, value in pairs)


def _value(value: object) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(4, "big")
    return value if isinstance(value, bytes) else str(value).encode()


def _key(name: str) -> int:
    one = ATTRIBUTES[name]
    return vendor_key(one.vendor, one.type) if one.vendor else one.type
