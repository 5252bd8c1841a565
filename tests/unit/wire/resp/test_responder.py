"""Commands and their replies, in order, as one batch (interfaces.md 4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.callsets import held, is_consistent
from support.faults import at_every_line
from unit.wire.resp.session import ACCEPTED, FIELDS, Asked, Link, Parsed, array, authorize, parsed

from identengine.calls.backend import Deferred, LegResult
from identengine.stats.registry import PLACE, REGISTRY
from identengine.wire.jsonrpc.codec import JSON
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.resp.writers import PLACES


@pytest.fixture(params=[True, False], ids=["usual", "general"])
def asked(request: pytest.FixtureRequest) -> Asked:
    return Asked(usual=request.param)


@pytest.fixture
def link(asked: Asked) -> Link:
    return asked.connect()


def read(reply: Parsed) -> Any:
    """Return the JSON in a bulk string."""
    assert isinstance(reply, bytes)
    return json.loads(reply)


# ---- decisions


def test_an_accepted_call_is_an_array(link: Link) -> None:
    assert link.ask(*authorize("a")) == ACCEPTED
    assert link.ask("IDENT.AUTH", "call_id=b", *FIELDS[:2]) == [*ACCEPTED[:4], None, *ACCEPTED[5:]]


def test_a_rejected_call_is_an_array(asked: Asked, link: Link) -> None:
    reply = link.ask("IDENT.AUTH", "call_id=a", "src_ip=192.0.2.9", "dst_number=44")
    assert reply == [0, b"unknown_source", *[None] * 7, 403, None, 7]
    assert asked.rejected == ["unknown_source"]


def test_the_command_with_json_returns_all_fields(link: Link) -> None:
    found = read(link.ask(*authorize("a", command="IDENT.AUTHJ")))
    assert found["accepted"] is True
    assert (found["account_name"], found["matched_by"], found["lease"]) == ("trunk", "ip", 200)
    found = read(link.ask("IDENT.AUTHJ", "call_id=a", "src_ip=192.0.2.9", "dst_number=44"))
    assert (found["accepted"], found["reason"], found["q850"]) == (False, "unknown_source", 21)


def test_the_array_has_the_fields_of_the_json(link: Link) -> None:
    for fields in (FIELDS, FIELDS[:2], ("src_ip=10.0.0.5",), ("src_ip=x", "dst_number=44"),
                   ("direction=termination", "account_id=18", "dst_number=44")):  # fmt: skip
        json_reply = read(link.ask("IDENT.AUTHJ", "call_id=j", *fields))
        reply = link.ask("IDENT.AUTH", "call_id=r", *fields)
        assert isinstance(reply, list)
        texts = [one.decode() if isinstance(one, bytes) else one for one in reply]
        assert texts == [json_reply.get(place) for place in PLACES]


def test_a_retransmission_gets_the_decision_in_its_own_form(asked: Asked, link: Link) -> None:
    for first, second in (("IDENT.AUTH", "IDENT.AUTHJ"), ("IDENT.AUTHJ", "IDENT.AUTH")):
        link.ask(*authorize(first, command=first))
        again = link.ask(*authorize(first, command=second))
        assert again == ACCEPTED if second == "IDENT.AUTH" else read(again)["account_id"] == 17
    assert len(held(asked.calls)) == 2


def test_identify_holds_no_slot(asked: Asked, link: Link) -> None:
    assert link.ask(*authorize("a", command="IDENT.IDENTIFY")) == ACCEPTED
    assert not held(asked.calls)
    assert read(link.ask(*authorize("a", command="IDENT.EXPLAIN")))["decision"]["account_id"] == 17


def test_the_life_of_a_call(asked: Asked, link: Link) -> None:
    link.ask(*authorize("a"))
    assert read(link.ask("IDENT.START", "call_id=a", "interval=60")) == {"ok": True}
    assert read(link.ask("IDENT.UPDATE", "call_id=a")) == {"ok": True}
    assert read(link.ask("IDENT.STOP", "call_id=a|direction=origination")) == {"ok": True, "freed": 1}
    assert read(link.ask("IDENT.STOP", "call_id=a")) == {"ok": True, "unknown": True, "freed": 0}
    assert not held(asked.calls)


def test_lists_and_resets(link: Link) -> None:
    link.ask(*authorize("a"))
    assert read(link.ask("IDENT.SYNC", "list_id=1", "calls=a", 'calls=["gone"]'))["missing"] == 1
    link.asked.now += 1
    assert link.ask("IDENT.SWITCH_UP") is not None


def test_one_interface_counts(asked: Asked, link: Link) -> None:
    link.ask(*authorize("a"))
    link.ask(*authorize("b", command="IDENT.IDENTIFY"))
    series = next(one for one in REGISTRY if one.name == "requests_authorize").series
    counted = {name: asked.cells[PLACE["requests_authorize"] + n] for n, name in enumerate(series)}
    assert {name for name, count in counted.items() if count} == {("resp", "authorize")}


def test_a_command_is_the_same_in_any_form(link: Link) -> None:
    names = ("IDENT.IDENTIFY", "ident.identify", "Ident.Identify")
    replies = [link.ask(*authorize("a", command=name)) for name in names]
    replies += [link.ask("IDENT.IDENTIFY", "|".join(("call_id=a", *FIELDS)))]
    replies += link.send(b"ident.identify call_id=a src_ip=10.0.0.5 dst_number=9944 src_number=33\r\n")
    assert replies == [ACCEPTED] * 5


# ---- order and batches


def test_a_pipeline_is_one_batch_in_order(asked: Asked, link: Link) -> None:
    commands = [authorize(f"c{n}") if n % 2 else ("ECHO", str(n)) for n in range(8)]
    before = asked.mirror.rows
    replies = link.all(*commands)
    assert replies == [ACCEPTED if n % 2 else str(n).encode() for n in range(8)]
    assert before == {}
    assert len(held(asked.calls)) == 4


def test_an_answer_waits_for_a_deferred_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    link = asked.connect()
    deferred = [Deferred(), Deferred()]
    waiting = iter(deferred)
    general = asked.engine.answer
    monkeypatch.setattr(
        asked.engine, "answer", lambda ask: next(waiting) if ask.method == "switch_up" else general(ask)
    )
    commands = [("ECHO", "1"), ("IDENT.SWITCH_UP",), authorize("a"), ("IDENT.SWITCH_UP",), ("ECHO", "2")]
    assert link.all(*commands) == [b"1"]
    assert link.owed.count == 2
    deferred[1].finish(LegResult(True, freed=2))
    assert link.late == []
    deferred[0].finish(LegResult(True, freed=1))
    assert link.owed.count == 0
    replies = parsed(b"".join(link.late))
    assert [read(replies[0]), replies[1], read(replies[2]), replies[3]] == [
        {"ok": True, "freed": 1}, ACCEPTED, {"ok": True, "freed": 2}, b"2"]  # fmt: skip


def test_a_deferred_answer_may_be_complete_within_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    link = asked.connect()
    deferred = Deferred()
    monkeypatch.setattr(asked.engine, "answer", lambda _: deferred)
    asked.batches.begin()
    answers = link.answers(array("ECHO", "1") + array("IDENT.SWITCH_UP") + array("ECHO", "2"))
    deferred.finish(LegResult(True))
    assert link.late == []
    asked.batches.end()
    assert parsed(b"".join(answers)) == [b"1", b'{"ok":true}', b"2"]
    assert (link.late, link.owed.count) == ([], 0)


def test_calls_that_cannot_be_stored_are_rejected(asked: Asked, link: Link) -> None:
    link.ask(*authorize("old"))
    asked.mirror.broken = True
    replies = link.all(
        authorize("a"), ("PING",), authorize("b", command="IDENT.AUTHJ"), ("IDENT.STOP", "call_id=x")
    )
    assert isinstance(replies[0], list)
    assert replies[0][:2] == [0, b"overload"]
    assert replies[1] == "+PONG"
    assert read(replies[2])["reason"] == "overload"
    assert asked.rejected == ["overload", "overload"]
    asked.mirror.broken = False
    asked.now += 0.1
    asked.calls.work(asked.now)
    is_consistent(asked.calls, asked.mirror, "")
    assert {name.partition("\0")[2] for name, _ in held(asked.calls)} == {"old"}


def test_protocols_share_a_batch(asked: Asked, link: Link) -> None:
    native = Responder(asked.engine, lambda: asked.now, lambda *_: None, batches=asked.batches)
    message = b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"call_id":"b","src_ip":"10.0.0.5","dst_number":"9944"}}'  # noqa: E501
    asked.mirror.broken = True
    asked.batches.begin()
    ours = link.answers(array(*authorize("a")))
    theirs, _ = native.stream(JSON, [message], link.session)
    asked.batches.end()
    assert b"overload" in ours[0]
    assert b"overload" in theirs[0]
    assert asked.batches.joined == []


def test_a_fault_at_any_line_rejects_one_command() -> None:
    commands = [
        authorize("a"),
        authorize("b", command="IDENT.AUTHJ"),
        authorize("a"),
        ("IDENT.START", "call_id=a"),
        ("PING",),
        authorize("x", "src_ip=192.0.2.9"),
        ("IDENT.STOP", "call_id=a"),
        authorize("c"),
    ]
    isolated = 0
    for injector in at_every_line(MemoryError, "engine", "calls", "identify", "wire/resp", step=2):
        asked = Asked()
        link = asked.connect()
        replies = injector.run(lambda link=link: link.all(*commands))  # type: ignore[misc]
        asked.now += 0.1
        asked.calls.work(asked.now)
        is_consistent(asked.calls, asked.mirror, injector.raised_in)
        if not isinstance(replies, list) or not injector.raised_in:
            continue
        assert len(replies) == len(commands)
        wrong = [one for one in replies if "internal" in str(one)]
        assert len(wrong) <= 1 or asked.engine.faults.total > asked.engine.before_end, injector.raised_in
        isolated += len(wrong) == 1
    assert isolated > 30


def test_commands_that_waited_too_long_are_shed(asked: Asked, link: Link) -> None:
    link.ask(*authorize("a"))
    commands = [authorize("b"), ("IDENT.START", "call_id=a"), ("IDENT.STOP", "call_id=a"), ("PING",)]
    replies = link.send(b"".join(array(*command) for command in commands), too_old=True)
    assert isinstance(replies[0], list)
    assert replies[0][:2] == [0, b"overload"]
    assert replies[1] == "-BUSY the server is overloaded. Ask again later."
    assert read(replies[2])["freed"] == 1
    assert replies[3] == "+PONG"


def test_without_a_book() -> None:
    link = Asked(ready=False).connect()
    replies = link.all(authorize("a"), authorize("a", command="IDENT.EXPLAIN"), ("PING",), ("INFO",))
    assert isinstance(replies[0], list)
    assert replies[0][:2] == [0, b"not_ready"]
    assert replies[1:3] == ["-LOADING no book is loaded yet. Ask again later.", "+PONG"]
    assert isinstance(replies[3], bytes)
    assert b"book_version:\r\n" in replies[3]
    for command in ("IDENT.START", "IDENT.UPDATE"):
        assert link.ask(*authorize("b", command=command)) == replies[1], "the switch repeats it"


def test_many_explanations_at_once(link: Link) -> None:
    replies = link.all(*[authorize("a", command="IDENT.EXPLAIN")] * 17)
    assert isinstance(replies[16], str)
    assert replies[16].startswith("-BUSY more than 16 requests for explain at once")
