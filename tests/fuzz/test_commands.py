"""Streams of commands of RESP, right or damaged, with and without token.

Invariant: each command has one reply, well formed and in order. A damaged stream ends with an error and is closed.
No command without the token of its switch has a result. The next right command has the right reply.
"""

from __future__ import annotations

from typing import Any

import hiredis
from fuzz.commands import GOOD, array, command, inline
from fuzz.mutation import TOKENS, mutated, pieces
from fuzz.rounds import Case, Rounds, rounds
from fuzz.subject import EITHER, PLAIN, WITH_TOKEN, Subject, session, subject

from identengine.wire.deferred import DeferredCount
from identengine.wire.resp.framer import Commands
from identengine.wire.resp.responder import Reports, RespResponder

LINES = (*TOKENS, b"*1\r\n", b"$4\r\n", b"$-1\r\n", b"*-1\r\n", b"$999999999\r\n", b"*4096\r\n", b"'", b"|", b"=")
MESSAGE_BYTES = 4096


@rounds(150)
def test_commands(cases: Rounds) -> None:
    for case in cases.within_memory():
        with case, subject() as asked:
            for _ in range(4):
                one_connection(case, asked)


def one_connection(case: Case, asked: Subject) -> None:
    host = case.choice((PLAIN, PLAIN, WITH_TOKEN, EITHER))
    commands = [command(case) for _ in range(case.choice((1, 3, 20)))]
    stream = b"".join((array if case.often(0.9) else inline)(one) for one in commands)
    if host == WITH_TOKEN and case.often(0.3):
        stream = array((b"AUTH", b"token of one")) + stream
    damaged = case.often(0.4)
    case.input = stream = mutated(case, stream, tokens=LINES) if damaged else stream
    link = Link(asked, host)
    for piece in pieces(case, stream):
        link.feed(piece)
    replies = link.replies()
    assert len(replies) == link.messages + (link.framer.error is not None and not link.ended_early)
    if link.framer.error is not None:
        assert link.closed
    if link.session.peer is None:
        assert all(isinstance(one, hiredis.HiredisError) or one == "OK" for one in replies)
    if not link.closed and not link.framer.pending and host == PLAIN:
        link.feed(array(GOOD))
        assert link.replies()[-1][:3] == [1, None, 18]
    asked.sound()
    asked.report()


class Link:
    """A connection without a socket."""

    def __init__(self, asked: Subject, host: str) -> None:
        self.asked, self.session = asked, session(host)
        reports = Reports(asked._reject, asked._wrong_token, asked._malformed)
        self.responder = RespResponder(asked.engine, asked.responder.batches, lambda: 1.0, reports)
        self.respond = self.responder.connection()
        self.framer, self.owed = Commands(MESSAGE_BYTES), DeferredCount()
        self.messages, self.closed, self.ended_early = 0, False, False
        self.answers: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Let the responder answer one read."""
        if self.closed:
            return
        messages = self.framer.feed(data)
        batches = self.asked.responder.batches
        batches.begin()
        try:
            answers, self.closed = self.respond(
                messages, self.session, self.framer.error, self.answers.append, self.owed, False
            )
        finally:
            batches.end()
        self.answers += answers
        self.asked.work()  # deferred answers follow, before the next turn
        assert not self.owed.count
        self.messages += len(messages)
        if self.closed and (
            self.framer.error is None or self.session.refused
        ):  # QUIT, or too many without a token
            self.ended_early = True
            self.messages = len(self.replies())

    def replies(self) -> list[Any]:
        """Return all replies as an independent decoder reads them."""
        reader = hiredis.Reader(encoding="utf-8", errors="replace")
        reader.feed(b"".join(self.answers))
        found: list[Any] = []
        while (reply := reader.gets()) is not False:
            found.append(reply)
        assert not reader.has_data()
        return found
