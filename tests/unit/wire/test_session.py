"""Sessions: a peer is a switch by its address, by `auth`, by a certificate, or by a name that it may speak for."""

from __future__ import annotations

import msgspec
import pytest
from unit.wire.asking import GOOD, NEVER, OPTIONS, SWITCHES, Run, call, meet, on_connection, over_udp, switch

from identengine.net.access import Peers
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.jsonrpc.reader import MAX_WRONG


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_auth_once_a_connection(codec: Codec) -> None:
    run, session = Run(), meet("10.2.0.1")
    answers = on_connection(
        run,
        session,
        call("ping", 1),
        call("auth", 2, token="wrong"),
        call("ping", 3),
        call("auth", 4, token="token of two"),
        call("authorize", 5, **NEVER),
        codec=codec,
    )
    assert [answer["id"] for answer in answers] == [1, 2, 3, 4, 5]
    assert ["error" in answer for answer in answers] == [True, True, True, False, False]
    assert answers[3]["result"] == {"ok": True}
    assert run.wrong == ["10.2.0.1"]
    (answer,) = on_connection(run, session, call("authorize", 6, **NEVER), codec=codec)
    assert answer["result"]["reason"] == "unknown_source"
    assert run.rejected == ["two", "two"]


def test_who_is_known_by_a_certificate_may_show_its_own_token_and_no_other() -> None:
    switches = [*SWITCHES, switch("third", "10.5.0.0/16", "token of third")]
    session = Peers(switches, OPTIONS, "tls").meet("10.5.0.1", ["both.example"])
    assert session is not None
    run = Run()
    right, wrong = on_connection(
        run, session, call("auth", token="token of both"), call("auth", token="token of third")
    )
    assert right["result"] == {"ok": True}
    assert wrong["error"]["data"]["field"] == "token"
    assert run.wrong == ["10.5.0.1"]
    on_connection(run, session, call(**NEVER))
    assert run.rejected == ["both"]


@pytest.mark.parametrize("host", ["10.1.0.1", "10.2.0.1"])
def test_of_many_wrong_messages_in_an_array_few_are_complained_of(host: str) -> None:
    run = Run()
    good = call("authorize", "good", token="token of one", **NEVER)
    wrong = call("authorize", "wrong", token="token of one", src_ip=5)
    answers = [one for array in over_udp(run, host, [good, *[wrong] * 700]) for one in array]
    assert answers[0]["result"]["reason"] == "unknown_source"
    assert [one["error"]["code"] for one in answers[1:]] == [-32602] * (MAX_WRONG + 1) + [-32600]
    assert "skipped" in answers[-1]["error"]["message"]


@pytest.mark.parametrize("depth", [10, 60, 500, 900, 940, 964, 975, 990, 1100])
@pytest.mark.parametrize("field", [b"digest", b"src_ip"])
def test_a_value_as_deep_as_the_stack_costs_no_other_message(depth: int, field: bytes) -> None:
    run = Run()
    deep = (
        b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":{"%b":' % field
        + b'{"a":' * depth
        + b"1"
        + b"}" * depth
    )
    session = Peers(SWITCHES, OPTIONS).find("10.1.0.1")
    assert session is not None
    good = msgspec.json.encode(call("ping", 2))
    answers, places = run.responder.datagrams([deep + b"}}", good], [session] * 2)
    assert (len(answers), places) == (2, None)
    assert "result" in msgspec.json.decode(answers[1])


def test_a_wrong_auth_changes_nothing() -> None:
    run, session = Run(), meet("10.2.0.1")
    on_connection(run, session, call("auth", token="token of two"), call("auth", token="x"), call(**NEVER))
    assert run.rejected == ["two"]


@pytest.mark.parametrize("params", [{}, {"token": None}, {"token": 5}, {"switch": "one"}])
def test_auth_without_a_token(params: dict[str, object]) -> None:
    session = meet("10.2.0.1")
    (answer,) = on_connection(Run(), session, call("auth", **params))
    assert (answer["error"]["code"], answer["error"]["data"]["field"]) == (-32602, "token")
    assert session.peer is None


def test_auth_is_for_connections() -> None:
    (answer,) = over_udp(Run(), "10.2.0.1", call("auth", token="token of one"))
    assert answer["error"]["code"] == -32601


def test_the_http_process_speaks_for_any_switch() -> None:
    run = Run()
    session = Peers(SWITCHES, OPTIONS, "http").host("the HTTP process")
    answers = on_connection(
        run, session, call(**GOOD), call("auth", switch="nobody"), call("auth", switch="one"), call(**NEVER)
    )
    assert ["error" in answer for answer in answers] == [True, True, False, False]
    assert run.rejected == ["one"]
    assert session.peer is not None
    assert session.peer.asker.interface == "http"


def test_certificates_count_over_tls_alone() -> None:
    assert Peers(SWITCHES, OPTIONS, "udp").find("10.4.0.1") is None
    assert Peers(SWITCHES, OPTIONS, "tcp").meet("10.4.0.1", ["sbc.example"]) is None
    tls = Peers(SWITCHES, OPTIONS, "tls")
    assert tls.meet("10.4.0.1") is None
    assert tls.meet("10.4.0.1", ["other.example"]) is None
    assert tls.meet("10.1.0.1", ["sbc.example"]).peer.name == "plain"  # type: ignore[union-attr]
    certified = tls.meet("10.4.0.1", ["x", "sbc.example"])
    assert certified is not None
    assert certified.peer is not None
    assert (certified.peer.name, certified.peer.asker.interface) == ("certified", "tls")
    assert meet("10.5.0.1", "tls", "both.example").peer.name == "both"  # type: ignore[union-attr]
    assert meet("10.5.0.1", "tls").peer is None  # its token would authenticate it


def test_who_has_shown_itself_stays_that_switch_when_switches_change() -> None:
    session = meet("10.2.0.1")
    assert session.authenticate("token of two")
    again = session.reauthenticate(meet("10.2.0.1"))
    assert again.peer is not None
    assert again.peer.name == "two"
    renewed = Peers([switch("two", "10.2.0.0/16", "another token")], OPTIONS, "tcp").meet("10.2.0.1")
    assert renewed is not None
    assert session.reauthenticate(renewed).peer is None


def test_of_old_datagrams_only_stops_are_served() -> None:
    run = Run()
    messages = [call("authorize", 1, **GOOD), call("stop", 2, call_id="c"), call("ping", 3), b"garbage", [5]]
    answers = over_udp(run, "10.1.0.1", *messages, [call("stop", 4, call_id="c"), call("start", 5)], too_old=True)
    ids = [one["id"] for answer in answers for one in (answer if isinstance(answer, list) else [answer])]
    assert ids == [2, 4]
    assert run.too_old == 5


def test_old_messages_of_a_connection_are_answered_and_not_decided() -> None:
    run = Run()
    messages = [
        call("authorize", 1, direction="termination", **GOOD),
        call("identify", 2, **GOOD),
        call("explain", 3, **GOOD),
        call("start", 4, call_id="c"),
        call("ping", 5),
        call("stop", 6, call_id="c"),
    ]
    answers = {one["id"]: one for one in on_connection(run, meet("10.1.0.1"), *messages, too_old=True)}
    assert list(answers) == [1, 2, 3, 4, 5, 6]
    for decided in (1, 2):
        result = answers[decided]["result"]
        assert (result["accepted"], result["reason"], result["sip_code"]) == (False, "overload", 503)
    assert answers[1]["result"]["direction"] == "termination"
    assert [answers[n]["error"]["code"] for n in (3, 4)] == [-32002, -32002]
    assert "result" in answers[5]
    assert answers[6]["error"]["code"] == -32603  # it was decided, and this engine has no set of calls
