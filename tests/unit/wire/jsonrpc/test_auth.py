"""The token of a message decides which switch it is from (interfaces.md 3, "Who may ask")."""

from __future__ import annotations

import msgspec
import pytest
from unit.wire.asking import GOOD, NEVER, OPTIONS, Run, call, meet, on_connection, over_udp, switch

from identengine.net.access import Peers
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.jsonrpc.reader import MAX_WRONG


@pytest.mark.parametrize(
    ("host", "token", "who"),
    [
        ("10.1.0.1", None, "plain"),
        ("10.1.0.1", "whatever", "plain"),  # no switch at this address has a token, so it is an unknown parameter
        ("10.2.0.1", "token of one", "one"),
        ("10.2.0.1", "token of two", "two"),
        ("10.2.0.1", "token of near", None),
        ("10.2.2.1", "token of near", "near"),
        ("10.2.2.1", "token of one", None),  # the longest network wins, then the token
        ("10.2.0.1", "token of on", None),
        ("10.2.0.1", "", None),
        ("10.2.0.1", None, None),
        ("10.3.0.1", None, "open"),
        ("10.3.0.1", "token of closed", "closed"),
        ("10.3.0.1", "token of one", None),
        ("10.5.0.1", "token of both", "both"),
    ],
)
def test_tokens_in_each_datagram(host: str, token: str | None, who: str | None) -> None:
    run = Run()
    params = NEVER | ({} if token is None else {"token": token})
    (answer,) = over_udp(run, host, call(**params))
    if who is None:
        assert answer["error"]["code"] == -32602
        assert answer["error"]["data"] == {"field": "token"}
        assert not run.rejected
        assert run.wrong == ([host] if token else [])
    else:
        assert answer["result"]["reason"] == "unknown_source"
        assert run.rejected == [who]
        assert not run.wrong


@pytest.mark.parametrize(
    "method", ["authorize", "identify", "explain", "start", "stop", "sync", "switch_up", "ping"]
)
def test_nothing_is_said_without_a_token(method: str) -> None:
    run = Run()
    (answer,) = over_udp(run, "10.2.0.1", call(method, call_id="c", **GOOD))
    assert answer["error"]["data"]["field"] == "token"
    assert over_udp(run, "10.2.0.1", {"jsonrpc": "2.0", "method": method}) == []


@pytest.mark.parametrize("token", [5, False, ["token of one"], {"token": "token of one"}])
def test_a_token_of_another_type_is_wrong(token: object) -> None:
    run = Run()
    (answer,) = over_udp(run, "10.2.0.1", call(token=token, **GOOD))
    assert answer["error"]["data"] == {"field": "token"}
    assert "token of one" not in str(answer)
    assert run.wrong == ["10.2.0.1"]


@pytest.mark.parametrize("token", [None, "", " ", "\t\n"])
def test_a_blank_token_is_absent(token: object) -> None:
    run = Run()
    (answer,) = over_udp(run, "10.2.0.1", call(token=token, **GOOD))
    assert answer["error"]["data"] == {"field": "token"}
    (answer,) = over_udp(run, "10.3.0.1", call(token=token, **NEVER))
    assert (run.rejected, run.wrong) == (["open"], [])


def test_each_message_of_an_array_has_its_token() -> None:
    run = Run()
    many = [call(message_id=n, token=f"token of {who}", **NEVER) for n, who in enumerate(["one", "two", "near"])]
    ((*answers,),) = over_udp(run, "10.2.0.1", many)
    assert ["result" in answer for answer in answers] == [True, True, False]
    assert run.rejected == ["one", "two"]


def test_a_right_token_in_a_message_counts_for_it_alone() -> None:
    run, session = Run(), meet("10.2.0.1")
    assert not session.authenticated
    on_connection(run, session, call("authorize", 1, token="token of two", **NEVER), call("authorize", 2, **NEVER))
    assert run.rejected == ["two"]
    assert session.authenticated, "the connection counts as authenticated all the same"


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_after_auth_the_token_of_a_message_decides_for_that_message(codec: Codec) -> None:
    run, session = Run(), meet("10.2.0.1")
    answers = on_connection(
        run,
        session,
        call("auth", 1, token="token of one"),
        call("authorize", 2, token="token of two", **NEVER),
        call("authorize", 3, **NEVER),
        call("authorize", 4, token="token of near", **NEVER),
        call("ping", 5, token="wrong"),
        call("stop", 6, call_id="c", token=5),
        call("authorize", 7, token="", **NEVER),
        call("authorize", 8, token=None, **NEVER),
        call("authorize", 9, token="token of one", **NEVER),
        codec=codec,
    )
    assert [one["id"] for one in answers if "error" in one] == [4, 5, 6]
    for answer in answers[3:6]:
        assert answer["error"]["code"] == -32602
        assert answer["error"]["data"] == {"field": "token"}
    assert run.rejected == ["two", "one", "one", "one", "one"]
    assert run.wrong == ["10.2.0.1"] * 3


def test_after_auth_each_message_of_an_array_has_its_token() -> None:
    run, session = Run(), meet("10.2.0.1")
    on_connection(run, session, call("auth", token="token of one"))
    tokens: list[dict[str, object]] = [{}, {"token": "token of two"}, {"token": "wrong"}, {"token": None}]
    many = [call("authorize", n, **NEVER, **token) for n, token in enumerate(tokens)]
    notes: list[object] = [{"jsonrpc": "2.0", "method": "ping", "params": {"token": "wrong"}}]
    (answers,) = on_connection(run, session, many + notes)
    assert [one["id"] for one in answers if "error" in one] == [2]
    assert run.rejected == ["one", "two", "one"]
    assert run.wrong == ["10.2.0.1"] * 2, "a notification with a wrong token is counted, and gets no answer"


def test_a_name_in_escapes_is_the_name_of_a_token() -> None:
    run, session = Run(), meet("10.2.0.1")
    on_connection(run, session, call("auth", token="token of one"))
    raw = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"t\\u006fken":"wrong"}}'
    (answer,), _ = run.responder.stream(JSON, [raw], session)
    assert msgspec.json.decode(answer)["error"]["data"] == {"field": "token"}


def test_a_wrong_token_in_an_old_message_is_wrong() -> None:
    run, session = Run(), meet("10.2.0.1")
    on_connection(run, session, call("auth", token="token of one"))
    (answer,) = on_connection(run, session, call("stop", call_id="c", token="wrong"), too_old=True)
    assert answer["error"]["data"] == {"field": "token"}


@pytest.mark.parametrize(
    ("token", "who"),
    [
        (None, "certified"),
        ("token of both", "both"),
        ("token of third", None),
        ("wrong", None),
    ],
)
def test_a_token_beside_a_certificate(token: str | None, who: str | None) -> None:
    """Only the token of the certificate's own switch is valid."""
    switches = [
        switch("both", "10.5.0.0/16", "token of both", "both.example"),
        switch("certified", "10.5.0.0/16", None, "certified.example"),
        switch("third", "10.5.0.0/16", "token of third"),
    ]
    certificate = "both.example" if who == "both" else "certified.example"
    session = Peers(switches, OPTIONS, "tls").meet("10.5.0.1", [certificate])
    assert session is not None
    run = Run()
    params = NEVER | ({} if token is None else {"token": token})
    (answer,) = on_connection(run, session, call(**params))
    assert run.rejected == ([who] if who else [])
    assert ("error" in answer) == (who is None)
    assert run.wrong == ([] if who else ["10.5.0.1"])
    if certificate == "certified.example" and who is None:
        (answer,) = on_connection(run, session, call("auth", token=token))
        assert answer["error"]["data"] == {"field": "token"}


def test_of_an_array_with_one_right_token_the_wrong_messages_are_not_all_looked_at() -> None:
    run = Run()
    many = [call("authorize", n, token="token of one" if n == 0 else "wrong", **NEVER) for n in range(900)]
    answers = [one for array in over_udp(run, "10.2.0.1", many) for one in array]
    assert len(answers) == MAX_WRONG + 3
    assert len(run.wrong) == MAX_WRONG + 1
    assert "skipped" in answers[-1]["error"]["message"]


def test_wrong_tokens_in_auth_are_wrong_messages() -> None:
    run, session = Run(), meet("10.2.0.1")
    on_connection(run, session, call("auth", token="token of one"))
    (answers,) = on_connection(run, session, [call("auth", n, token="wrong") for n in range(900)])
    assert len(answers) == MAX_WRONG + 2
    assert len(run.wrong) == MAX_WRONG + 1


def test_after_a_change_of_switches_the_token_of_a_message_decides_by_the_new_ones() -> None:
    run, session = Run(), meet("10.2.0.1")
    on_connection(run, session, call("auth", token="token of one"))
    switches = [
        switch("one", "10.2.0.0/16", "token of one"),
        switch("two", "10.2.0.0/16", "another token"),
    ]
    fresh = Peers(switches, OPTIONS, "tcp").meet("10.2.0.1")
    assert fresh is not None
    again = session.reauthenticate(fresh)
    old, new, none = on_connection(
        run,
        again,
        call(token="token of two", **NEVER),
        call(token="another token", **NEVER),
        call(**NEVER),
    )
    assert old["error"]["data"] == {"field": "token"}
    assert run.rejected == ["two", "one"]
    assert "result" in new
    assert "result" in none


def test_a_token_of_a_message_counts_while_it_is_one_of_the_switches() -> None:
    """A connection with a token in each message stays authenticated when the switches change."""
    session = meet("10.2.0.1")
    on_connection(Run(), session, call("ping", token="token of two"))
    assert (session.authenticated, session.peer) == (True, None)
    again = session.reauthenticate(meet("10.2.0.1"))
    assert (again.authenticated, again.peer) == (True, None)
    assert again.reauthenticate(meet("10.2.0.1")).authenticated
    renewed = Peers([switch("two", "10.2.0.0/16", "another token")], OPTIONS, "tcp").meet("10.2.0.1")
    assert renewed is not None
    assert not again.reauthenticate(renewed).authenticated


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=lambda codec: codec.name)
@pytest.mark.parametrize("params", [{"token": "token of one"}, {"token": "wrong"}, {}], ids=repr)
@pytest.mark.parametrize("connected", [True, False])
def test_auth_as_a_notification_has_no_answer(codec: Codec, params: dict[str, str], connected: bool) -> None:
    run, session = Run(), meet("10.2.0.1")
    raw = codec.encode({"jsonrpc": "2.0", "method": "auth", "params": params})
    if connected:
        assert run.responder.stream(codec, [raw], session) == ([], False)
        assert (session.peer is not None) == (params.get("token") == "token of one")
    else:
        assert run.responder.datagrams([raw], [session])[0] == []
        assert session.peer is None
