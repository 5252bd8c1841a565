"""RADIUS packets of several switches in one read, right or damaged.

Invariant: each packet gets at most one reply, or is counted by its cause. A reply has at most 4,096 bytes. The
secret of its request proves it, and it returns the Proxy-State. A packet without a proof gets none. No packet
raises an exception or becomes an ``internal_error``. A right packet in the same read has the right reply.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Sequence
from hashlib import md5
from hmac import compare_digest
from typing import Any

from fuzz.packets import packet
from fuzz.rounds import Case, Rounds, rounds
from fuzz.subject import OPTIONS, Subject, subject
from pyrad.dictionary import Dictionary
from pyrad.packet import AuthPacket
from support.radiuspackets import SECRET, attribute

from identengine.config.schema import Radius, Switch
from identengine.config.secret import Secret
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.model.addresses import parse_network
from identengine.model.records import Decision, Request
from identengine.net.access import Peers
from identengine.wire.batches import EngineBatches
from identengine.wire.deferred import DeferredCount
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.packet import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    LONGEST_PACKET,
    STATUS_SERVER,
    Packet,
    decode,
    encoded,
)
from identengine.wire.radius.responder import DroppedPacket, RadiusResponder, Reports

PLAIN, STRICT, BOTH = "10.1.0.1", "10.2.0.1", "10.3.0.1"
"""Addresses: of a switch that need not sign, of a switch that must, and of two switches with their secrets."""
OTHER = SharedSecret(b"the secret of the other switch")
READS = 8
"""Number of reads of a case."""
MOST = 16
"""Largest number of packets in a read."""
REPLIES = {
    ACCESS_REQUEST: (ACCESS_ACCEPT, ACCESS_REJECT),
    ACCOUNTING_REQUEST: (ACCOUNTING_RESPONSE,),
    STATUS_SERVER: (ACCESS_ACCEPT, ACCOUNTING_RESPONSE),
}
EMPTY = Dictionary()
SECRETS = {PLAIN: (SECRET,), STRICT: (SECRET,), BOTH: (SECRET, OTHER)}
"""The secrets of the switches at each address."""


def switch(name: str, host: str, secret: SharedSecret, **radius: Any) -> Switch:
    network, _ = parse_network(host)
    return Switch(
        name=name, scope=name, networks=(network,), secret=Secret(secret.secret.decode()), radius=Radius(**radius)
    )


PEERS = Peers(
    [
        switch("plain", PLAIN, SECRET, require_message_authenticator=False, reply=("cisco", "sip_avp")),
        switch("strict", STRICT, SECRET, require_message_authenticator=True, ignore_password=Secret("cisco")),
        switch("first", BOTH, SECRET, limit_proxy_state=True),
        switch("second", BOTH, OTHER),
    ],
    OPTIONS,
    "radius",
)


class Server:
    """A responder of RADIUS on the engine of a subject, and the counts of its reports."""

    def __init__(self, asked: Subject) -> None:
        self.asked, self.counts, self._now = asked, Counter[str](), 1.0
        self.batches = EngineBatches(asked.engine, self._time, lambda: asked.mirror.clock() + self._now)
        reports = Reports(self._rejected, self._too_old, self._dropped, self._bad_parameter, self._duplicate)
        self.responder = RadiusResponder(asked.engine, self.batches, self._time, reports)
        self.owed = DeferredCount()
        self.late: list[tuple[int, bytes]] = []

    def ports(self) -> list[int]:
        return [1024 + place % 3 for place in range(64)]

    def answer_later(self, place: int, answers: Sequence[bytes]) -> None:
        self.late += [(place, answer) for answer in answers]

    def _time(self) -> float:
        self._now += 0.01
        return self._now

    def _rejected(self, _: Asker, __: Request, decision: Decision) -> None:
        assert decision.reason != "internal_error"

    def _too_old(self) -> None:
        self.counts["too old"] += 1

    def _dropped(self, _: DroppedPacket) -> None:
        self.counts["dropped"] += 1

    def _bad_parameter(self, _: Asker, __: BadParameter) -> None:
        self.counts["bad parameter"] += 1

    def _duplicate(self) -> None:
        self.counts["duplicate"] += 1

    def read(
        self,
        hosts: Sequence[str],
        received: Sequence[bytes],
        *,
        accounting: bool,
        too_old: Sequence[bool] | None,
    ) -> dict[int, bytes]:
        """Return the replies to one read by place, also those that are complete later."""
        before = self.counts.total()
        sessions = [session for host in hosts if (session := PEERS.find(host))]
        respond = self.responder.accounting if accounting else self.responder.authentication
        self.batches.begin()
        try:
            replies, places = respond(received, sessions, self, self.owed, too_old)
        finally:
            self.batches.end()
        self.asked.work()
        self.asked.sound()
        assert places is not None
        found = [*zip(places, replies, strict=True), *self.late]
        self.late.clear()
        assert len(found) == len(dict(found))
        assert len(received) <= len(found) + self.counts.total() - before, "a packet got no reply, and no count"
        return dict(found)


@rounds(120)
def test_radius(cases: Rounds) -> None:
    for case in cases.within_memory():
        with case, subject() as asked:
            server = Server(asked)
            for number in range(READS):
                read(case, server, number)
            asked.report()


def read(case: Case, server: Server, number: int) -> None:
    """Let the responder answer one read, in which one packet is right."""
    accounting = case.often(0.5)
    hosts = [case.choice(tuple(SECRETS)) for _ in range(case.randint(1, MOST))]
    received = [packet(case, case.choice(SECRETS[host]), accounting=accounting) for host in hosts]
    for place in range(len(hosts)):
        if case.often(0.1):  # a duplicate
            other = case.randrange(len(hosts))
            hosts[place], received[place] = hosts[other], received[other]
    place = case.randrange(len(hosts))
    hosts[place], received[place] = STRICT, good(number, accounting=accounting)
    case.input = received
    too_old = [case.often(0.1) and one != place for one in range(len(hosts))] if case.often(0.3) else None
    replies = server.read(hosts, received, accounting=accounting, too_old=too_old)
    for at, reply in replies.items():
        check(received[at], reply, SECRETS[hosts[at]])
    assert replies[place][0] == (ACCOUNTING_RESPONSE if accounting else ACCESS_ACCEPT)


def good(number: int, *, accounting: bool) -> bytes:
    """Return a packet whose reply is known: account 18, or a report of a call."""
    attributes = encoded(
        [
            attribute("h323-remote-address", "10.0.0.18"),
            attribute("Called-Station-Id", "44171"),
            *([attribute("Acct-Status-Type", 2), attribute("Acct-Session-Id", "good")] if accounting else []),
        ]
    )
    code = ACCOUNTING_REQUEST if accounting else ACCESS_REQUEST
    return SECRET.request(code, number, number.to_bytes(16, "big"), attributes)


def check(raw: bytes, reply: bytes, secrets: Sequence[SharedSecret]) -> None:
    """Check a reply: its size, its proof by the secret of its request, and its attributes as pyrad reads them."""
    request = decode(raw)
    assert len(reply) <= LONGEST_PACKET
    assert reply[0] in REPLIES[request.code]
    assert reply[1] == raw[1]
    assert is_proven(request, secrets)
    signed = reply[:4] + request.authenticator + reply[20:]
    secret = next(one.secret for one in secrets if md5(signed + one.secret).digest() == reply[4:20])
    read = AuthPacket(packet=reply, secret=secret, dict=EMPTY)
    if request.code == ACCOUNTING_REQUEST:
        assert 80 not in read
    else:
        assert reply[20:22] == b"\x50\x12"
        zeroed = signed[:22] + bytes(16) + signed[38:]
        assert compare_digest(hmac.digest(secret, zeroed, "md5"), reply[22:38])
    assert reply[0] != ACCESS_REJECT or read[18] != [b"internal_error"]
    states = read[33] if 33 in read else []  # noqa: SIM401 - the default of pyrad's packets is another list
    assert states == [value for key, value in request.attributes if key == 33]


def is_proven(request: Packet, secrets: Sequence[SharedSecret]) -> bool:
    """Return True if a secret of the source proves a request. Only one switch may send without a proof."""
    if request.code == ACCOUNTING_REQUEST:
        return any(one.authenticates(request) for one in secrets)
    if request.signature_at:
        return any(one.signs(request) for one in secrets)
    return request.code == ACCESS_REQUEST and secrets is SECRETS[PLAIN]
