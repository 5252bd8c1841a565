"""The requests of the conformance suite over each wire, and fields that their answers must have."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5, sha256
from typing import Any

from conformance.book import NAMES, PASSWORD


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
"""A method, its parameters, and fields that its result or its error must have."""
TO: dict[str, object] = {"dst_number": "44171"}


def from_ip(last: str, **more: object) -> dict[str, object]:
    return {"src_ip": f"10.0.0.{last}"} | TO | more


def _no(reason: str, **more: object) -> dict[str, object]:
    return {"accepted": False, "reason": reason} | more


def _wrong(field: str, **more: object) -> dict[str, object]:
    return {"code": -32602, "data": {"field": field} | more}


_DECISIONS: list[tuple[dict[str, object], dict[str, object]]] = [
    (
        from_ip("1", src_number="+44 20-70", src_port=5060, protocol="SIP"),
        {"account_id": 1, "client_name": NAMES, "rate_table": "gold", "routing_plan": "plan ÷ 1", "tag": "tág"},
    ),
    (from_ip("1", src_port="5060"), {"account_id": 1, "matched": "10.0.0.1"}),
    (from_ip("1", src_port="5060", protocol="SIP", gateway="g"), {"account_id": 1}),
    (from_ip("1", gateway=None, name=None, unknown=[{"x": [1.5, True, None]}]), {"account_id": 1}),
    (from_ip("1", account_id=2**64 - 1), {"account_id": 1}),
    (from_ip("1", account_id=-(2**63)), {"account_id": 1}),
    (from_ip("1", account_id="9" * 300), {"account_id": 1}),
    (from_ip("1", account_id="a vendor"), {"account_id": 1}),
    ({"src_ip": "10.0.2.200", "dst_number": "77#44"}, {"account_id": 2, "tech_prefix": "77#", "dst_number": "44"}),
    ({"name": "acmé", "password": PASSWORD} | TO, {"account_id": 3, "matched_by": "name", "matched": "acmé"}),
    ({"name": "acmé", "digest": _digest("MD5")} | TO, {"account_id": 3}),
    ({"digest": _digest("SHA-256")} | TO, {"account_id": 3}),
    ({"digest": _digest("MD5") | {"algorithm": " "}} | TO, {"account_id": 3}),
    ({"digest": _digest("MD5") | {"response": " "}} | TO, _no("bad_password")),
    ({"digest": _digest("MD5") | {"username": " "}} | TO, _no("unknown_source")),
    (from_ip("1", digest={"username": " ", "realm": ""}), {"account_id": 1}),
    ({"digest": {"username": "acme", "nonce": "x"}} | TO, {"accepted": False}),
    ({"name": "acmé", "digest": _digest("MD5", "wrong")} | TO, _no("bad_password", account_id=None)),
    ({"name": "acmé", "password": "wrong"} | TO, _no("bad_password")),
    ({"name": "acmé", "password": ""} | TO, _no("bad_password")),
    ({"name": "acmé"} | TO, _no("auth_required")),
    ({"src_ip": "198.51.100.1", "src_number": "442070001"} | TO, {"account_id": 4, "matched_by": "ani"}),
    (from_ip("5", src_number="44 20"), {"account_id": 5, "src_number": "4420"}),
    (from_ip("5", src_number="4421"), _no("src_not_allowed")),
    (from_ip("6", src_number="1"), {"account_id": 6, "src_number": "4420111", "src_rewritten": True}),
    (from_ip("7", src_number="1"), _no("no_did")),
    (from_ip("9"), {}),
    (from_ip("10"), _no("account_disabled")),
    (from_ip("11"), _no("client_blocked", client_id=4)),
    (from_ip("12", gateway="G2"), _no("gateway_mismatch")),
    (from_ip("13", src_port=1), _no("port_mismatch")),
    (from_ip("14", protocol="sip"), _no("protocol_mismatch")),
    ({"src_ip": "10.0.2.222", "dst_number": "44"}, _no("tech_prefix_mismatch")),
    ({"src_ip": "192.0.2.1"} | TO, _no("unknown_source", sip_code=403, q850=21)),
    (from_ip("18"), {"account_id": 18, "ambiguous": True}),
    (from_ip("18", dst_number="144"), _no("ambiguous")),
    ({"src_ip": "2001:DB8:0::1"} | TO, {"account_id": 22, "matched": "2001:db8::/32"}),
    ({"src_ip": "10.0.0.1"}, _no("invalid_destination")),
    ({"src_ip": "10.0.0.1", "dst_number": "4\uff14"}, _no("invalid_destination")),
    (
        {"src_ip": "10.0.0.1:5060 ~ 电话"} | TO,
        _no("invalid_request", field="src_ip", value="10.0.0.1:5060 ~ 电话"),
    ),
    (from_ip("1", src_port=70000), _no("invalid_request", field="src_port", value="70000")),
    (from_ip("1", src_port=-1), _no("invalid_request", field="src_port", value="-1")),
    (from_ip("1", src_port=2**63), _no("invalid_request", value=str(2**63))),
    (from_ip("1", direction="sideways"), _no("invalid_request", field="direction")),
    (
        {"direction": "termination", "account_id": 15} | TO,
        {"matched_by": "account_id", "dst_number": "944171", "host": "10.0.0.15", "port": 5080, "protocol": "SIP"},
    ),
    ({"direction": "termination", "account_id": "15"} | TO, {"proxy": "proxy.example;transport=tcp"}),
    (
        {"direction": "termination", "account_id": "15", "src_number": "+44 20 7000"} | TO,
        {"account_id": 15, "src_number": "44207000"},
    ),
    ({"direction": "termination", "account_id": 99} | TO, _no("unknown_source")),
    ({"direction": "termination", "account_id": 1} | TO, _no("account_disabled")),
    ({}, _no("unknown_source")),
    (from_ip("1", src_ip=5), _wrong("src_ip", value=5)),
    (from_ip("1", src_ip=[1.5, "é"]), _wrong("src_ip", value=[1.5, "é"])),
    (from_ip("1", src_port=5060.5), _wrong("src_port", value=5060.5)),
    (from_ip("1", src_port=True), _wrong("src_port", value=True)),
    (from_ip("1", password=5), _wrong("password")),
    (from_ip("1", digest="x"), _wrong("digest")),
    (from_ip("1", digest={"username": 5}), _wrong("digest.username", value=5)),
    (from_ip("1", name={"x": "y" * 200}), _wrong("name")),
]

_SAME: list[Step] = [(method, *one) for method in ("authorize", "identify") for one in _DECISIONS]

_LIVES: list[Step] = [
    # the life of a call, on an account with one slot
    ("authorize", from_ip("8", call_id="a ~ 电话"), {"accepted": True, "lease": 200}),
    ("authorize", from_ip("8", call_id="a ~ 电话"), {"accepted": True, "lease": 200}),
    ("authorize", from_ip("8", call_id="b"), _no("account_capacity")),
    ("identify", from_ip("8", call_id="b"), {"accepted": True}),
    ("start", {"call_id": "a ~ 电话"}, {"ok": True}),
    ("authorize", from_ip("8", call_id="a ~ 电话"), _no("invalid_request", field="call_id", value="a ~ 电话")),
    ("update", {"call_id": "a ~ 电话", "interval": "60"}, {"ok": True}),
    ("update", {"call_id": "a ~ 电话", "interval": 60}, {"ok": True}),
    ("start", from_ip("8", call_id="over"), {"ok": True, "overcommit": True}),
    ("stop", {"call_id": "over", "direction": "origination"}, {"ok": True, "freed": 1}),
    ("stop", {"call_id": "a ~ 电话"}, {"ok": True, "freed": 1}),
    ("stop", {"call_id": "a ~ 电话"}, {"ok": True, "unknown": True, "freed": 0}),
    ("start", {"call_id": "a ~ 电话"}, {"ok": True, "unknown": True}),
    # the user name of a digest identifies an unknown call, as a name does
    ("start", {"call_id": "d", "digest": {"username": "acmé"}}, {"ok": True, "unknown": None}),
    ("stop", {"call_id": "d"}, {"ok": True, "freed": 1}),
    ("start", {"call_id": "d2", "digest": {"username": " ", "realm": "r"}}, {"ok": True, "unknown": True}),
    # a call without an id holds no slot
    ("authorize", from_ip("1"), {"accepted": True, "unreserved": True}),
    ("identify", from_ip("1"), {"accepted": True, "unreserved": None}),
    # rejects by limits
    ("authorize", from_ip("9", call_id="c"), _no("cps_exceeded")),
    ("authorize", from_ip("16", call_id="c"), _no("client_capacity")),
    ("authorize", from_ip("17", call_id="c"), _no("reseller_capacity")),
    # both directions of one call, and legs
    ("authorize", from_ip("1", call_id="l", leg_id="1"), {"accepted": True}),
    ("authorize", from_ip("1", call_id="l", leg_id="2"), {"accepted": True}),
    (
        "authorize",
        {"call_id": "l", "direction": "termination", "account_id": 15} | TO,
        {"accepted": True, "lease": 200, "host": "10.0.0.15"},
    ),
    ("stop", {"call_id": "l", "leg_id": "2"}, {"ok": True, "freed": 1}),
    ("start", {"call_id": "l"}, {"ok": True}),
    # lists
    ("sync", {"list_id": "1", "part": 1, "parts": 2, "calls": [["l", "1", "origination"]]}, {"ok": True}),
    ("sync", {"list_id": "1", "part": "2", "parts": "2", "calls": [["l"], ["nobody's", None]]}, {"missing": 1}),
    ("sync", {"list_id": "1", "calls": [["l"]]}, {"ok": True, "missing": 0, "freed": 0, "repeated": True}),
    ("sync", {"list_id": "2", "calls": []}, {"ok": True}),
    ("sync", {"list_id": "3", "calls": [], "confirm_empty": True}, {"ok": True}),
    ("sync", {"list_id": "4", "calls": [["l", 5.5]]}, _wrong("calls", value=[["l", 5.5]])),
    ("sync", {"list_id": "4", "calls": ["l"]}, _wrong("calls", value=["l"])),
    ("sync", {"list_id": "4", "calls": [["l", None, "sideways"]]}, {"code": -32602}),
    ("sync", {"list_id": "4", "calls": [], "confirm_empty": "yes"}, _wrong("confirm_empty", value="yes")),
    ("sync", {"calls": []}, {"code": -32602}),
    ("sync", {}, {"code": -32602}),
    # errors of the other methods
    ("start", {}, {"code": -32602}),
    ("stop", {"call_id": None}, {"code": -32602}),
    ("stop", {"call_id": 5.5}, _wrong("call_id", value=5.5)),
    ("stop", {"call_id": "x", "direction": "sideways"}, _wrong("direction", value="sideways")),
    ("update", {"call_id": "x", "interval": "soon"}, _wrong("interval", value="soon")),
    ("update", {"call_id": "x", "interval": 1.5}, _wrong("interval", value=1.5)),
    ("finish", {"call_id": "x"}, {"code": -32601}),
    ("", {}, {"code": -32601}),
    ("explain", from_ip("1"), {"cut": False}),
    ("explain", {"src_ip": 5}, _wrong("src_ip", value=5)),
    ("ping", {}, {"version": 1}),
    ("ping", {"anything": 1}, {"version": 1}),
    ("switch_down", {}, {"ok": True, "freed": 2}),
    ("sync", {"list_id": "1", "calls": [["l"]]}, {"ok": True, "missing": 1, "freed": 0, "repeated": None}),
    ("switch_up", {}, {"ok": True, "freed": 0}),
]
STEPS = [*_SAME, *_LIVES]
