"""Datagrams of many senders in one read, right or damaged, with and without token.

Invariant: each datagram has at most its own answers, each of at most 1,400 bytes, well formed and with its id. No
message without a token of its sender has a result. A right datagram in the same read has the right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fuzz.messages import batch, good
from fuzz.mutation import mutated
from fuzz.rounds import Case, Rounds, rounds
from fuzz.subject import EITHER, PLAIN, WITH_TOKEN, Subject, check, decoded, session, subject
from fuzz.values import to_json, to_messagepack

from identengine.wire.jsonrpc.answers import DATAGRAM
from identengine.wire.jsonrpc.codec import JSON
from identengine.wire.jsonrpc.replies import codec_of

READS = 8
"""Number of reads of a case."""
MOST = 16
"""Largest number of datagrams in a read."""


class Late:
    """The senders of a read. It keeps the deferred answers."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []

    def ports(self) -> list[int]:
        return [5060] * 64

    def answer_later(self, place: int, answers: Sequence[bytes]) -> None:
        self.answers += [(place, answer) for answer in answers]


@rounds(120)
def test_datagrams(cases: Rounds) -> None:
    for case in cases.within_memory():
        with case, subject() as asked:
            for number in range(READS):
                read(case, asked, number)


def read(case: Case, asked: Subject, number: int) -> None:
    """Let the responder answer one read, in which one datagram is right."""
    hosts = [case.choice((PLAIN, WITH_TOKEN, EITHER)) for _ in range(case.randint(1, MOST))]
    received = [datagram(case) for _ in hosts]
    place = case.randrange(len(hosts))
    hosts[place], received[place] = PLAIN, JSON.encode(good(number))
    case.input = received
    old = [case.often(0.1) and one != place for one in range(len(hosts))] if case.often(0.3) else None
    late = Late()
    sessions = [session(host, "udp") for host in hosts]
    answers, places = asked.responder.datagrams(received, sessions, late, too_old=old)
    asked.work()
    asked.sound()
    asked.report()
    assert len(answers) == len(hosts if places is None else places)
    found = [*zip(range(len(hosts)) if places is None else places, answers, strict=True), *late.answers]
    for at, answer in found:
        assert len(answer) <= DATAGRAM
        read_answers = check(decoded(codec_of(received[at]), answer))
        if hosts[at] == WITH_TOKEN and b"token of" not in received[at] and b"\\u" not in received[at]:
            assert not any("result" in one for one in read_answers)
    for at, host in enumerate(hosts):
        if host == WITH_TOKEN and b"token of" not in received[at] and b"\\u" not in received[at]:
            assert sum(len(answer) for place_of, answer in found if place_of == at) <= len(received[at])
    (right,) = [decoded(JSON, answer) for at, answer in found if at == place]
    assert (right["id"], right["result"]["account_id"]) == (f"good {number}", 18)
    assert not any(one.peer for one, host in zip(sessions, hosts, strict=True) if host == WITH_TOKEN)


def datagram(case: Case) -> bytes:
    """Return a datagram that may be right, wrong or damaged."""
    if case.often(0.05):
        return case.randbytes(case.choice((0, 1, 2, 20, 1400)))
    value: Any = batch(case)
    raw = (to_json if case.often(0.5) else to_messagepack)(case, value)
    return mutated(case, raw) if case.often(0.4) else raw
