"""Every transport, framing and encoding gives the same answers, to the last field (interfaces.md 3)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import CONNECTED, WIRES, Switch, Wire, call
from support.tls import TLS_FILES, Authority

from identengine.model.records import Account, Client, ClientStatus, Did, IdentBy, SrcPolicy
from identengine.store.vault import Vault, default_key_file

PASSWORD = "right horse £"
NAMES = "Größe Telecom 电话 \N{TELEPHONE RECEIVER}"
CLIENTS = [
    Client(id=1, name=NAMES, rate_table="client's"),
    Client(id=2, name="full", capacity=0),
    Client(id=3, name="of a full reseller", parent_id=2),
    Client(id=4, name="blocked", status=ClientStatus.BLOCKED),
]
_TERM: dict[str, Any] = {
    "term_enabled": True,
    "term_rate_table": "out",
    "term_tag": "blue",
    "term_protocol": "SIP",
    "term_proxy": "proxy.example;transport=tcp",
    "term_port": 5080,
}
ACCOUNTS = [
    ip_account(1, "10.0.0.1", orig_rate_table="gold", orig_routing_plan="plan ÷ 1", orig_tag="tág"),
    ip_account(2, "10.0.2.0/24", tech_prefix="77#"),
    Account(id=3, client_id=1, name="named", ident_by=IdentBy.NAME, ident=("acmé",)),
    Account(id=4, client_id=1, name="ani", ident_by=IdentBy.ANI, ident=("442070001",)),
    ip_account(5, "10.0.0.5", src_policy=SrcPolicy.REJECT),
    ip_account(6, "10.0.0.6", src_policy=SrcPolicy.OVERWRITE),
    ip_account(7, "10.0.0.7", src_policy=SrcPolicy.OVERWRITE),
    ip_account(8, "10.0.0.8", orig_capacity=1),
    ip_account(9, "10.0.0.9", orig_cps=0),
    ip_account(10, "10.0.0.10", orig_enabled=False),
    ip_account(11, "10.0.0.11", client_id=4),
    ip_account(12, "10.0.0.12", gateways=("G1",)),
    ip_account(13, "10.0.0.13", term_port=5070),
    ip_account(14, "10.0.0.14", term_protocol="h323"),
    ip_account(15, "10.0.0.15", tech_prefix="9", **_TERM),
    ip_account(16, "10.0.0.16", client_id=2),
    ip_account(17, "10.0.0.17", client_id=3),
    ip_account(18, "10.0.0.18"),
    ip_account(19, "10.0.0.18"),
    ip_account(20, "10.0.0.18", client_id=2, tech_prefix="1"),
    ip_account(21, "10.0.0.18", client_id=3, tech_prefix="1"),
    ip_account(22, "2001:db8::/32"),
    *[ip_account(100 + n, "10.0.9.9", tech_prefix=f"{n}#") for n in range(60)],
]
DIDS = [Did(number="4420", account_id=5), Did(number="4420111", account_id=6)]


def _digest(algorithm: str, password: str = PASSWORD) -> dict[str, object]:
    hashed: Callable[[bytes], Any] = md5 if algorithm == "MD5" else sha256

    def of(*parts: str) -> str:
        found: str = hashed(":".join(parts).encode()).hexdigest()
        return found

    response = of(of("acmé", "sip.example", password), "n0", "00000001", "c0", "auth", of("INVITE", "sip:44@x"))
    return {
        "username": "acmé",
        "realm": "sip.example",
        "nonce": "n0",
        "uri": "sip:44@x",
        "method": "INVITE",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": "c0",
        "response": response,
        "algorithm": algorithm,
    }


Step = tuple[str, dict[str, object], dict[str, object]]
"""A method, its parameters, and some of what it must be answered: of the result, or of the error."""
_TO: dict[str, object] = {"dst_number": "44171"}


def _from(last: str, **more: object) -> dict[str, object]:
    return {"src_ip": f"10.0.0.{last}"} | _TO | more


def _no(reason: str, **more: object) -> dict[str, object]:
    return {"accepted": False, "reason": reason} | more


def _wrong(field: str, **more: object) -> dict[str, object]:
    return {"code": -32602, "data": {"field": field} | more}


_DECISIONS: list[tuple[dict[str, object], dict[str, object]]] = [
    (
        _from("1", src_number="+44 20-70", src_port=5060, protocol="SIP"),
        {"account_id": 1, "client_name": NAMES, "rate_table": "gold", "routing_plan": "plan ÷ 1", "tag": "tág"},
    ),
    (_from("1", src_port="5060"), {"account_id": 1, "matched": "10.0.0.1"}),
    (_from("1", gateway=None, name=None, unknown=[{"x": [1.5, True, None]}]), {"account_id": 1}),
    ({"src_ip": "10.0.2.200", "dst_number": "77#44"}, {"account_id": 2, "tech_prefix": "77#", "dst_number": "44"}),
    ({"name": "acmé", "password": PASSWORD} | _TO, {"account_id": 3, "matched_by": "name", "matched": "acmé"}),
    ({"name": "acmé", "digest": _digest("MD5")} | _TO, {"account_id": 3}),
    ({"digest": _digest("SHA-256")} | _TO, {"account_id": 3}),
    ({"name": "acmé", "digest": _digest("MD5", "wrong")} | _TO, _no("bad_password", account_id=None)),
    ({"name": "acmé", "password": "wrong"} | _TO, _no("bad_password")),
    ({"name": "acmé", "password": ""} | _TO, _no("bad_password")),
    ({"name": "acmé"} | _TO, _no("auth_required")),
    ({"src_ip": "198.51.100.1", "src_number": "442070001"} | _TO, {"account_id": 4, "matched_by": "ani"}),
    (_from("5", src_number="44 20"), {"account_id": 5, "src_number": "4420"}),
    (_from("5", src_number="4421"), _no("src_not_allowed")),
    (_from("6", src_number="1"), {"account_id": 6, "src_number": "4420111", "src_rewritten": True}),
    (_from("7", src_number="1"), _no("no_did")),
    (_from("9"), {}),
    (_from("10"), _no("account_disabled")),
    (_from("11"), _no("client_blocked", client_id=4)),
    (_from("12", gateway="G2"), _no("gateway_mismatch")),
    (_from("13", src_port=1), _no("port_mismatch")),
    (_from("14", protocol="sip"), _no("protocol_mismatch")),
    ({"src_ip": "10.0.2.222", "dst_number": "44"}, _no("tech_prefix_mismatch")),
    ({"src_ip": "192.0.2.1"} | _TO, _no("unknown_source", sip_code=403, q850=21)),
    (_from("18"), {"account_id": 18, "ambiguous": True}),
    (_from("18", dst_number="144"), _no("ambiguous")),
    ({"src_ip": "2001:DB8:0::1"} | _TO, {"account_id": 22, "matched": "2001:db8::/32"}),
    ({"src_ip": "10.0.0.1"}, _no("invalid_destination")),
    ({"src_ip": "10.0.0.1", "dst_number": "4\uff14"}, _no("invalid_destination")),
    (
        {"src_ip": "10.0.0.1:5060 ~ 电话"} | _TO,
        _no("invalid_request", field="src_ip", value="10.0.0.1:5060 ~ 电话"),
    ),
    (_from("1", src_port=70000), _no("invalid_request", field="src_port", value="70000")),
    (_from("1", src_port=-1), _no("invalid_request", field="src_port", value="-1")),
    (_from("1", src_port=2**63), _no("invalid_request", value=str(2**63))),
    (_from("1", direction="sideways"), _no("invalid_request", field="direction")),
    (
        {"direction": "termination", "account_id": 15} | _TO,
        {"matched_by": "account_id", "dst_number": "944171", "host": "10.0.0.15", "port": 5080, "protocol": "SIP"},
    ),
    ({"direction": "termination", "account_id": "15"} | _TO, {"proxy": "proxy.example;transport=tcp"}),
    ({"direction": "termination", "account_id": 99} | _TO, _no("unknown_source")),
    ({"direction": "termination", "account_id": 1} | _TO, _no("account_disabled")),
    ({}, _no("unknown_source")),
    (_from("1", src_ip=5), _wrong("src_ip", value=5)),
    (_from("1", src_ip=[1.5, "é"]), _wrong("src_ip", value=[1.5, "é"])),
    (_from("1", src_port=5060.5), _wrong("src_port", value=5060.5)),
    (_from("1", src_port=True), _wrong("src_port", value=True)),
    (_from("1", password=5), _wrong("password")),
    (_from("1", digest="x"), _wrong("digest")),
    (_from("1", digest={"username": 5}), _wrong("digest.username", value=5)),
    (_from("1", name={"x": "y" * 200}), _wrong("name")),
]

_SAME: list[Step] = [(method, *one) for method in ("authorize", "identify") for one in _DECISIONS]

_LIVES: list[Step] = [
    # a call's life, on an account that has one place
    ("authorize", _from("8", call_id="a ~ 电话"), {"accepted": True, "lease": 200}),
    ("authorize", _from("8", call_id="a ~ 电话"), {"accepted": True, "lease": 200}),
    ("authorize", _from("8", call_id="b"), _no("account_capacity")),
    ("identify", _from("8", call_id="b"), {"accepted": True}),
    ("start", {"call_id": "a ~ 电话"}, {"ok": True}),
    ("authorize", _from("8", call_id="a ~ 电话"), _no("invalid_request", field="call_id", value="a ~ 电话")),
    ("update", {"call_id": "a ~ 电话", "interval": "60"}, {"ok": True}),
    ("update", {"call_id": "a ~ 电话", "interval": 60}, {"ok": True}),
    ("start", _from("8", call_id="over"), {"ok": True, "overcommit": True}),
    ("stop", {"call_id": "over", "direction": "origination"}, {"ok": True, "freed": 1}),
    ("stop", {"call_id": "a ~ 电话"}, {"ok": True, "freed": 1}),
    ("stop", {"call_id": "a ~ 电话"}, {"ok": True, "unknown": True, "freed": 0}),
    ("start", {"call_id": "a ~ 电话"}, {"ok": True, "unknown": True}),
    # rejects by limits
    ("authorize", _from("9", call_id="c"), _no("cps_exceeded")),
    ("authorize", _from("16", call_id="c"), _no("client_capacity")),
    ("authorize", _from("17", call_id="c"), _no("reseller_capacity")),
    # both directions of one call, and legs
    ("authorize", _from("1", call_id="l", leg_id="1"), {"accepted": True}),
    ("authorize", _from("1", call_id="l", leg_id="2"), {"accepted": True}),
    (
        "authorize",
        {"call_id": "l", "direction": "termination", "account_id": 15} | _TO,
        {"accepted": True, "lease": 200, "host": "10.0.0.15"},
    ),
    ("stop", {"call_id": "l", "leg_id": "2"}, {"ok": True, "freed": 1}),
    ("start", {"call_id": "l"}, {"ok": True}),
    # lists
    ("sync", {"list_id": "1", "part": 1, "parts": 2, "calls": [["l", "1", "origination"]]}, {"ok": True}),
    ("sync", {"list_id": "1", "part": "2", "parts": "2", "calls": [["l"], ["nobody's", None]]}, {"missing": 1}),
    ("sync", {"list_id": "2", "calls": []}, {"ok": True}),
    ("sync", {"list_id": "3", "calls": [], "confirm_empty": True}, {"ok": True}),
    ("sync", {"list_id": "4", "calls": [["l", 5]]}, _wrong("calls", value=[["l", 5]])),
    ("sync", {"list_id": "4", "calls": ["l"]}, _wrong("calls", value=["l"])),
    ("sync", {"list_id": "4", "calls": [["l", None, "sideways"]]}, {"code": -32602}),
    ("sync", {"list_id": "4", "calls": [], "confirm_empty": "yes"}, _wrong("confirm_empty", value="yes")),
    ("sync", {"calls": []}, {"code": -32602}),
    ("sync", {}, {"code": -32602}),
    # what is wrong in the other methods
    ("start", {}, {"code": -32602}),
    ("stop", {"call_id": None}, {"code": -32602}),
    ("stop", {"call_id": 5}, _wrong("call_id", value=5)),
    ("stop", {"call_id": "x", "direction": "sideways"}, _wrong("direction", value="sideways")),
    ("update", {"call_id": "x", "interval": "soon"}, _wrong("interval", value="soon")),
    ("update", {"call_id": "x", "interval": 1.5}, _wrong("interval", value=1.5)),
    ("finish", {"call_id": "x"}, {"code": -32601}),
    ("", {}, {"code": -32601}),
    ("explain", _from("1"), {"cut": False}),
    ("explain", _from("18"), {"cut": False}),
    ("explain", {"src_ip": 5}, _wrong("src_ip", value=5)),
    ("ping", {}, {"version": 1}),
    ("ping", {"anything": 1}, {"version": 1}),
    ("switch_down", {}, {"ok": True, "freed": 2}),
    ("switch_up", {}, {"ok": True, "freed": 0}),
]
STEPS = [*_SAME, *_LIVES]


def _address(number: int) -> str:
    """Return where the switch of one way is: each has call ids of its own."""
    return f"127.0.1.{number + 1}"


class Served(msgspec.Struct):
    """A server, and how to speak to it."""

    server: Server
    tls: ssl.SSLContext

    def open(self, wire: Wire) -> AbstractContextManager[Switch]:
        """Speak in one way, as the switch that always does."""
        return self.server.switch(wire, self.tls, _address(WIRES.index(wire)))


HTTP_TOKEN = "of the one that asks by HTTP".replace(" ", "-")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("transports")
    vault = Vault.from_file(default_key_file(folder / "store"), create=True)
    sealed = [
        msgspec.structs.replace(account, password=vault.encrypt(PASSWORD)) if account.id == 3 else account
        for account in ACCOUNTS
    ]
    put_rows(folder / "store", sealed, CLIENTS, DIDS)
    authority = Authority()
    authority.certify(folder)
    listen = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\nhttp = "{HOST}:0"\n'
    switches = "".join(
        f'[[switch]]\nname = "switch {n}"\naddresses = ["{_address(n)}"]\n' for n in range(len(WIRES))
    )
    switches += f'[[switch]]\nname = "http"\naddresses = ["127.0.1.99"]\ntoken = "{HTTP_TOKEN}"\n'
    config = f"{listen}{TLS_FILES}[identify]\nstrict_ambiguity = true\n{switches}"
    with serving(Path(folder), config) as server:
        yield Served(server, authority.client())


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def switch(request: pytest.FixtureRequest, served: Served) -> Iterator[Switch]:
    with served.open(request.param) as opened:
        yield opened


@pytest.fixture(params=CONNECTED, ids=lambda wire: wire.name)
def connected(request: pytest.FixtureRequest, served: Served) -> Iterator[Switch]:
    with served.open(request.param) as opened:
        yield opened


def _outcome(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what an answer says, without what differs from one moment to the next."""
    assert set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    assert answer["jsonrpc"] == "2.0"
    found: dict[str, Any] = answer.get("result") or answer["error"]
    return {name: value for name, value in found.items() if name != "uptime"}


# What asks by method and parameters, and so HTTP too.


def _has(outcome: dict[str, Any], wanted: dict[str, object]) -> bool:
    return {name: outcome.get(name) for name in wanted} == wanted


@pytest.fixture(scope="module")
def told(served: Served) -> Callable[[Wire], list[dict[str, Any]]]:
    """Return what each step is answered in one way; asked once."""
    found: dict[Wire, list[dict[str, Any]]] = {}

    def of(wire: Wire) -> list[dict[str, Any]]:
        if wire not in found:
            with served.open(wire) as switch:
                found[wire] = [_outcome(switch.exchange(method, params)) for method, params, _ in STEPS]
        return found[wire]

    return of


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_the_same_answers_in_every_way(wire: Wire, told: Callable[[Wire], list[dict[str, Any]]]) -> None:
    answers = told(wire)
    unlike = [one for one in zip(STEPS, answers, strict=True) if not _has(one[1], one[0][2])]
    assert not unlike
    assert answers == told(WIRES[0])


def test_the_same_answers_by_http(served: Served, told: Callable[[Wire], list[dict[str, Any]]]) -> None:
    """Errors are those of HTTP, with the code and the parameter that JSON-RPC names."""
    base = f"http://{HOST}:{served.server.ports['http']}/v1"
    there = httpx.HTTPTransport(local_address="127.0.1.99")
    with httpx.Client(headers={"Authorization": f"Bearer {HTTP_TOKEN}"}, timeout=20, transport=there) as client:
        for step, first in zip(STEPS, told(WIRES[0]), strict=True):
            answer = client.post(f"{base}/{step[0]}", json=step[1])
            found = answer.json()
            if first.get("code") == -32601:
                assert answer.status_code == 404, step
            elif "code" in first:
                named = {name: found[name] for name in ("field", "value") if name in found}
                assert (answer.status_code, found["code"], named) == (400, first["code"], first.get("data", {})), (
                    step
                )
            else:
                found.pop("uptime", None)
                assert (answer.status_code, list(found.items())) == (200, list(first.items())), step


def test_each_kind_of_reject_is_among_them(told: Callable[[Wire], list[dict[str, Any]]]) -> None:
    found = {answer.get("reason") for answer in told(WIRES[0])} - {None}
    assert len(found) == 18
    assert {answer["code"] for answer in told(WIRES[0]) if "code" in answer} == {-32601, -32602}


# What belongs to JSON-RPC: its ids, notifications and arrays.

_ASKS: list[tuple[str, dict[str, object]]] = [
    ("ping", {}),
    ("authorize", _from("1")),
    ("stop", {"call_id": 5}),
    ("no", {}),
]


@pytest.mark.parametrize(
    "message_id",
    [0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 1.5, -0.25, "", "1", "é ~ 电话", None, "x" * 200],
)
def test_ids_keep_their_type(switch: Switch, message_id: object) -> None:
    for method, params in _ASKS:
        answer = switch.exchange(method, params, message_id)
        assert answer["id"] == message_id
        assert type(answer["id"]) is type(message_id)


@pytest.mark.parametrize("message_id", [True, [], ["x"], {}, {"x": 1}, "x" * 300])
def test_other_ids_are_refused(switch: Switch, message_id: object) -> None:
    answer = switch.exchange("ping", {}, message_id)
    assert answer["id"] is None
    assert answer["error"]["code"] == -32600


def test_notifications(switch: Switch) -> None:
    notes = [
        call("authorize", ..., call_id="n", **_from("1")),
        call("start", ..., call_id="n"),
        call("authorize", ..., src_ip=5),
        call("no such", ...),
        call("stop", ...),
        [call("ping", ...), call("identify", ..., **_from("1"))],
    ]
    switch.send(*notes)
    assert switch.is_drained()
    assert switch.exchange("stop", {"call_id": "n"})["result"] == {"ok": True, "freed": 1}


def test_what_is_no_request(switch: Switch) -> None:
    good = call("ping")
    wrong: list[object] = [
        {},
        [],
        {"id": 5},
        good | {"jsonrpc": "1.0"},
        good | {"method": 5},
        good | {"params": "x"},
        good | {"params": ["x"]},
        call("authorize") | {"params": ["10.0.0.1"]},
    ]
    codes = []
    for message in wrong:
        switch.send(message)
        codes.append(switch.receive()["error"]["code"])
    assert codes == [-32600] * 5 + [-32602] * 3


def test_an_answer_is_not_answered(switch: Switch) -> None:
    switch.send({"jsonrpc": "2.0", "id": 1, "result": {}}, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}})
    assert switch.is_drained()


def _all(switch: Switch, count: int) -> list[Any]:
    """Return the answers to an array, in how many parts they may come."""
    found: list[Any] = []
    while len(found) < count:
        part = switch.receive()
        assert isinstance(part, list)
        assert part
        found += part
    return found


def test_arrays(switch: Switch) -> None:
    many: list[object] = [
        call("ping", 1),
        call("ping", ...),
        call("no", "2"),
        3,
        call("authorize", 4.5, **_from("1")),
        [call("ping")],
        call("stop", None, call_id=5),
    ]
    switch.send(many)
    answers = _all(switch, 6)
    assert [answer["id"] for answer in answers] == [1, "2", None, 4.5, None, None]
    assert [_outcome(answer).get("code") for answer in answers] == [None, -32601, -32600, None, -32600, -32602]
    assert answers[3]["result"]["account_id"] == 1
    assert switch.is_drained()


def test_calls_within_an_array_are_decided_in_order(switch: Switch) -> None:
    lives = [
        call("authorize", 1, call_id="x", **_from("8")),
        call("authorize", 2, call_id="y", **_from("8")),
        call("stop", 3, call_id="x"),
        call("authorize", 4, call_id="y", **_from("8")),
        call("stop", 5, call_id="y"),
    ]
    switch.send(lives)
    results = [answer["result"] for answer in _all(switch, 5)]
    assert [result.get("accepted", result.get("freed")) for result in results] == [True, False, 1, True, 1]


def test_an_array_whose_answer_needs_several_datagrams(switch: Switch) -> None:
    many = [call("authorize" if n % 3 else "ping", n, **_from("1")) for n in range(90)]
    switch.send(many)
    assert [answer["id"] for answer in _all(switch, 90)] == list(range(90))
    if switch.wire.transport == "udp":
        assert max(switch.answer_bytes) <= 1400
        assert len(switch.answer_bytes) > 3
    else:
        assert len(switch.answer_bytes) == 1


@pytest.mark.parametrize(("count", "fits"), [(1000, True), (1001, False)])
def test_the_largest_array(switch: Switch, count: int, fits: bool) -> None:
    switch.send([{"jsonrpc": "2.0", "id": 1, "method": "ping"}] * count)
    if fits:
        assert [one["id"] for one in _all(switch, count)] == [1] * count
    else:
        assert switch.receive()["error"]["code"] == -32600


def test_of_an_array_of_wrong_messages_some_are_complained_of(switch: Switch) -> None:
    switch.send([{}] * 1000)
    answers = _all(switch, 18)
    assert [one["error"]["code"] for one in answers] == [-32600] * 18
    assert "what is behind them was not looked at" in answers[-1]["error"]["message"]


def test_explanations_are_cut_over_udp_alone(switch: Switch) -> None:
    whole = switch.exchange("explain", {"src_ip": "10.0.9.9"} | _TO)["result"]
    if switch.wire.transport == "udp":
        assert switch.answer_bytes[0] <= 1400
        assert whole["cut"] is True
        assert 3 < len(whole["candidates"]) < 60
    else:
        assert whole["cut"] is False
        assert len(whole["candidates"]) == 60
    assert whole["decision"]["reason"] == "tech_prefix_mismatch"


def test_more_explanations_than_are_given_at_once(switch: Switch) -> None:
    switch.send([call("explain", n, **_from("1")) for n in range(20)])
    codes = [_outcome(answer).get("code") for answer in _all(switch, 20)]
    assert codes == [None] * 16 + [-32002] * 4


def test_a_value_given_back_that_fits_no_datagram(switch: Switch) -> None:
    result = switch.exchange("authorize", {"src_ip": "9" * 2000} | _TO)["result"]
    assert (result["reason"], result["field"]) == ("invalid_request", "src_ip")
    assert (len(result["value"]) < 100) == (switch.wire.transport == "udp")


def test_whole_and_byte_by_byte(connected: Switch) -> None:
    messages = [call("ping", 1), call("authorize", 2, **_from("1", src_number="é")), [call("no", 3)]]
    stream = b"".join(map(connected.encoded, messages))
    connected.socket.sendall(stream)
    whole = [connected.receive() for _ in messages]
    for place in range(len(stream)):
        connected.socket.sendall(stream[place : place + 1])
    pieces = [connected.receive() for _ in messages]
    for found in (whole, pieces):
        del found[0]["result"]["uptime"]
    assert whole == pieces


def test_cut_at_each_place(connected: Switch) -> None:
    message = connected.encoded(call("ping", "é", token="x"))
    for place in range(1, len(message)):
        connected.socket.sendall(message[:place])
        connected.socket.sendall(message[place:])
    assert [connected.receive()["id"] for _ in range(1, len(message))] == ["é"] * (len(message) - 1)


def test_what_comes_at_once_is_answered_at_once(connected: Switch) -> None:
    connected.send(*[call("authorize", n, **_from("1")) for n in range(20)])
    some = connected.socket.recv(65536)
    assert len(some) > 20 * 150
    connected._held = some
    assert [connected.receive()["id"] for _ in range(20)] == list(range(20))


def test_large_pipelines_both_ways(connected: Switch) -> None:
    count = 3000
    messages = [call("explain" if n % 500 == 0 else "authorize", n, **_from("1")) for n in range(count)]
    sent = b"".join(map(connected.encoded, messages))
    heard: list[int] = []
    place = 0
    while len(heard) < count:  # as much again as was answered: neither side has to hold all
        while place < len(sent) and place - len(sent) * len(heard) // count < 200_000:
            connected.socket.sendall(sent[place : place + 10_000])
            place += 10_000
        heard.append(connected.receive()["id"])
    assert heard == list(range(count))


def test_a_stream_that_goes_wrong_is_answered_up_to_there_and_closed(connected: Switch) -> None:
    connected.send(call("ping", 1), call("ping", 2))
    # A length beyond what is allowed, or what no message begins with; in a good frame where that is possible.
    connected.socket.sendall(
        {"lines": b"nonsense", "netstrings": b"99999:{", "prefixed": b"\xff" * 9}[_framing(connected)]
    )
    answers = connected.rest()
    assert [answer["id"] for answer in answers] == [1, 2, None]
    assert answers[-1]["error"]["code"] == -32700


_GARBAGE = {
    "json": [b"{]", b"{}x", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', b"\xc1", b""],
    "msgpack": [b"\xc1", b"\x81\xa1", b"\x80\x80", b"\xdd\xff\xff\xff\xff\x01", b""],
}


@pytest.mark.parametrize("place", range(6))
def test_a_framed_message_that_cannot_be_parsed(connected: Switch, place: int) -> None:
    if _framing(connected) == "lines" or place >= len(_GARBAGE[connected.wire.encoding]):
        return  # nothing frames it
    garbage = _GARBAGE[connected.wire.encoding][place]
    connected.send(call("ping", 1))
    connected.socket.sendall(connected.framed(garbage) + connected.encoded(call("ping", 2)))
    answers = connected.rest()
    assert [answer["id"] for answer in answers] == [1, None]
    assert answers[-1]["error"]["code"] == -32700


def _framing(switch: Switch) -> str:
    assert switch.wire.framing is not None
    return switch.wire.framing
