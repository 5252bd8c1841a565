"""Who asks: tokens in each message, by `auth` once a connection, or the name that our own HTTP process gives."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from identengine.config.readers import Secret
from identengine.config.schema import Switch
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.identify.builder import build
from identengine.model.addresses import parse_network
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Decision, IdentBy, Request
from identengine.net.access import Peers
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, Codec
from identengine.wire.jsonrpc.responder import MAX_WRONG, Responder
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
    """A responder, with what it was told to tell."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.rejected: list[str] = []
        self.too_old = 0
        engine = Engine()
        account = Account(id=1, client_id=1, name="one", ident_by=IdentBy.IP, ident=("10.0.0.5",))
        engine.take_up(build(OPTIONS, 7, bytes(32), [Client(id=1, name="c")], [account], []))
        self.responder = Responder(engine, lambda: 1.0, self._reject, None, self.wrong.append, self._old)

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


@pytest.mark.parametrize(
    ("host", "token", "who"),
    [
        ("10.1.0.1", None, "plain"),
        ("10.1.0.1", "whatever", "plain"),  # an unknown parameter of a switch that needs none
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


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_auth_once_a_connection(codec: Codec) -> None:
    run, session = Run(), meet("10.2.0.1")
    answers = on_connection(
        run,
        session,
        call("ping", 1),
        call("auth", 2, token="token of nobody"),
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


def test_a_right_token_in_a_message_counts_for_it_alone() -> None:
    run, session = Run(), meet("10.2.0.1")
    assert not session.authenticated
    on_connection(run, session, call("authorize", 1, token="token of two", **NEVER), call("authorize", 2, **NEVER))
    assert run.rejected == ["two"]
    assert session.authenticated, "though the connection is not one of a stranger's any more"


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
    """Only the switch of the certificate may show a token: a token of another switch is wrong."""
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
    answers = [one for array in over_udp(run, host, [good, *[1] * 999]) for one in array]
    assert answers[0]["result"]["reason"] == "unknown_source"
    assert [one["error"]["code"] for one in answers[1:]] == [-32600] * (MAX_WRONG + 2)
    assert "not looked at" in answers[-1]["error"]["message"]


def test_many_messages_without_a_token_in_an_array_are_not_all_looked_at() -> None:
    run = Run()
    many = [call("authorize", n, token="wrong", **NEVER) for n in range(900)]
    answers = [one for array in over_udp(run, "10.2.0.1", many) for one in array]
    assert len(answers) == MAX_WRONG + 2
    assert len(run.wrong) == MAX_WRONG + 1


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
    assert meet("10.5.0.1", "tls").peer is None  # its token would do


def test_who_has_shown_itself_stays_that_switch_when_switches_change() -> None:
    session = meet("10.2.0.1")
    assert session.authenticate("token of two")
    again = session.reauthenticate(meet("10.2.0.1"))
    assert again.peer is not None
    assert again.peer.name == "two"
    renewed = Peers([switch("two", "10.2.0.0/16", "another token")], OPTIONS, "tcp").meet("10.2.0.1")
    assert renewed is not None
    assert session.reauthenticate(renewed).peer is None


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
    """A connection that shows one with each message is not one of a stranger because the switches change."""
    session = meet("10.2.0.1")
    on_connection(Run(), session, call("ping", token="token of two"))
    assert (session.authenticated, session.peer) == (True, None)
    again = session.reauthenticate(meet("10.2.0.1"))
    assert (again.authenticated, again.peer) == (True, None)
    assert again.reauthenticate(meet("10.2.0.1")).authenticated
    renewed = Peers([switch("two", "10.2.0.0/16", "another token")], OPTIONS, "tcp").meet("10.2.0.1")
    assert renewed is not None
    assert not again.reauthenticate(renewed).authenticated


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
    assert answers[6]["error"]["code"] == -32603  # it was decided: this engine holds no calls
