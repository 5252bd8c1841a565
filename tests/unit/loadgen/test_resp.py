"""RESP in the load generator: its commands and replies as hiredis reads them."""

from __future__ import annotations

import random
from typing import Any

import hiredis
import pytest

from identengine.client.exchange import MAX_ANSWER
from identengine.errors import WireError
from identengine.loadgen.mix import Judge, Line
from identengine.loadgen.pattern import Pattern
from identengine.loadgen.resp import Resp

DECISION = b"*12\r\n:1\r\n$-1\r\n:17\r\n:3\r\n$4\r\n\r\n\xc3\xa9\r\n$0\r\n\r\n"
DECISION += b"$1\r\nA\r\n$-1\r\n$-1\r\n$-1\r\n$1\r\n9\r\n:5\r\n"
REPLIES = (
    DECISION + b'+OK\r\n-ERR wrong use\r\n:-5\r\n$11\r\n{"ok":true}\r\n*2\r\n*1\r\n:1\r\n*0\r\n*-1\r\n$-1\r\n'
)


def told(raw: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(raw)
    return reader.gets()


def test_commands_are_those_of_a_redis_client() -> None:
    interface = Resp("secret")
    params: dict[str, object] = {"call_id": "{n:4}=%é", "src_port": 5060, "calls": [["a", None]], "none": None}
    made = Pattern(lambda number, filled: interface.render("authorize", filled, number), params, random.Random(1))
    command = ["IDENT.AUTH", "call_id=0042=%é", "src_port=5060", 'calls=[["a",null]]']
    assert told(made.fill(1, 42)) == [word.encode() for word in command]
    assert not made.numbered
    assert told(interface.render("switch_up", {}, "")) == [b"IDENT.SWITCH_UP"]
    assert told(interface.render("ping", {}, "")) == [b"PING"]
    assert told(interface.opening() or b"") == [b"AUTH", b"secret"]
    assert Resp(None).opening() is None


def test_replies_however_they_are_cut() -> None:
    whole = Resp(None).reader().feed(REPLIES)
    for cut in range(len(REPLIES)):
        reader = Resp(None).reader()
        assert [*reader.feed(REPLIES[:cut]), *reader.feed(REPLIES[cut:])] == whole
    other = hiredis.Reader()
    other.feed(REPLIES)
    for reply in whole:
        theirs = other.gets()
        if reply.error is None:
            assert told(reply.result) == theirs
        else:
            assert (reply.error.code, reply.error.message) == ("ERR", "wrong use")
            assert str(theirs) == "ERR wrong use"
    assert len(whole) == 8


@pytest.mark.parametrize(
    "said",
    [b"garbage\r\n", b"*x\r\n", b"$3\r\nabcd\r\n", b"$99999999\r\n", b"*-2\r\n", b"$" + b"1" * 5000 + b"\r\n",
     b"+" + b"x" * (MAX_ANSWER + 1)],
)  # fmt: skip
def test_what_is_no_reply(said: bytes) -> None:
    with pytest.raises(WireError):
        Resp(None).reader().feed(said)


def test_replies_are_judged() -> None:
    interface = Resp(None)
    line = Line("authorize", {}, {"accepted": True, "account_id": 17, "src_number": "\r\né", "matched": "x"})
    judge = Judge(line, interface.decoder("authorize"), interface.carried("authorize"))
    assert judge.result(DECISION) == ("accepted", None)
    assert judge.result(DECISION.replace(b":17", b":18")).wrong == "authorize: account_id: expected 17, got 18"
    assert judge.result(b"*1\r\n:1\r\n").outcome == "not understood"
    assert judge.result(b"+OK\r\n").outcome == "not understood"
    stop = Judge(Line("stop", {}, {"freed": 1}), interface.decoder("stop"), interface.carried("stop"))
    assert stop.result(b'$21\r\n{"ok":true,"freed":1}\r\n') == ("done", None)
    assert stop.result(b"*1\r\n:1\r\n").outcome == "not understood"
    ping = Judge(Line("ping"), interface.decoder("ping"), interface.carried("ping"))
    assert ping.result(b"+PONG\r\n").outcome == "pong"
