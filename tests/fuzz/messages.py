"""Random messages of every method: mostly right, with wrong parts in any place."""

from __future__ import annotations

from typing import Any

from conformance.book import PASSWORD
from fuzz.rounds import Case
from fuzz.values import BROKEN, Members, value

from identengine.model.records import Digest
from identengine.wire.jsonrpc.methods import METHODS

RIGHT: dict[str, tuple[Any, ...]] = {
    "call_id": ("call-1", "call-2", "ü", "c" * 300),
    "leg_id": ("leg-1", "leg-2"),
    "direction": ("origination", "termination", " termination "),
    "account_id": (1, "1", 15, "15"),
    "src_ip": ("10.0.0.1", "10.0.0.5", "10.0.0.6", "10.0.0.8", "10.0.0.9", "10.0.0.15", "10.0.9.9", "2001:db8::1"),
    "src_port": (5060, "5060"),
    "protocol": ("SIP", "sip"),
    "gateway": ("g1",),
    "name": ("acme", "nobody"),
    "password": (PASSWORD, "wrong"),
    "src_number": ("+44 20 7000", "44207000"),
    "dst_number": ("44171", "77#44171", "+44171", "3#44171"),
    "interval": (60, "60"),
    "list_id": ("list-1", "list-2"),
    "part": (1, "1", 2),
    "parts": (1, "2"),
    "confirm_empty": (True, False),
    "token": ("token of one", "token of two"),
    "switch": ("sbc1",),
    "algorithm": ("MD5", "SHA-256", "md5"),
    "qop": ("auth", "auth-int", ""),
    "username": ("acme",),
}
"""Usual values of each parameter."""
IDS: tuple[Any, ...] = (1, 0, "a", "é", 2**53, -7, None, "x" * 40, 1.5)
ODD_IDS: tuple[Any, ...] = ("x" * 254, "x" * 257, "\ud800", True, [], {}, [1], 10**30, -0.0, "", 2**63, 2**64)


def message(case: Case) -> Any:
    """Return a message as a value, most of them with a method that exists."""
    if case.often(0.02):
        return value(case)
    name = case.choice(tuple(METHODS)) if case.often(0.97) else case.choice(("", "Authorize", "pign", "x" * 99))
    parts: list[tuple[Any, Any]] = [("jsonrpc", "2.0"), ("id", _id(case)), ("method", name)]
    if name not in METHODS or METHODS[name].has_params or case.often(0.2):
        parts.append(("params", parameters(case, name)))
    if case.often(0.1):
        parts.pop(case.randrange(len(parts)))
    if case.often(0.1):
        parts[case.randrange(len(parts))] = (case.choice(("jsonrpc", "id", "method", "params")), value(case))
    if case.often(0.1):
        parts.append((case.choice(("jsonrpc", "id", "method", "params", "result", "error", "x", "")), value(case)))
    if case.often(0.02):
        parts.insert(case.randrange(len(parts) + 1), (value(case), value(case)))
    if case.often(0.3):
        case.shuffle(parts)
    if case.often(0.03):
        parts.append(("x", case.choice(BROKEN)))
    return Members(parts)


def batch(case: Case) -> Any:
    """Return an array of messages, or one message."""
    if case.often(0.9):
        return message(case)
    return [message(case) for _ in range(case.choice((0, 1, 2, 5, 20)))]


def good(number: int) -> dict[str, Any]:
    """Return a message whose answer is known: account 18, which is as good as account 19."""
    return {
        "jsonrpc": "2.0",
        "id": f"good {number}",
        "method": "identify",
        "params": {"src_ip": "10.0.0.18", "dst_number": "44171"},
    }


def _id(case: Case) -> Any:
    return case.choice(IDS) if case.often(0.9) else case.choice(ODD_IDS)


def parameters(case: Case, name: str) -> Any:
    """Return parameters of a method, with wrong ones among them."""
    if name not in METHODS or case.often(0.03):
        return value(case)
    fields = METHODS[name].params.__struct_fields__
    chosen: list[tuple[Any, Any]] = [
        (field, _of(case, field))
        for field in fields
        if case.often(0.9 if field in ("src_ip", "dst_number") else 0.4)
    ]
    if case.often(0.2):
        chosen.append((case.choice((*fields, "token", "x", "")), value(case)))
    if case.often(0.02):
        chosen.append((case.choice(fields) if fields else "x", case.choice(BROKEN)))
    if case.often(0.2):
        case.shuffle(chosen)
    return Members(chosen)


def _of(case: Case, field: str) -> Any:
    if case.often(0.2):
        return value(case)
    if field == "digest":
        return Members((name, _of(case, name)) for name in Digest.__struct_fields__ if case.often(0.8))
    if field == "calls":
        return [_entry(case) for _ in range(case.choice((0, 1, 2, 30)))]
    return case.choice(RIGHT.get(field, ("x", "0a4f113b")))


def _entry(case: Case) -> Any:
    if case.often(0.1):
        return value(case)
    names = ("call_id", "leg_id", "direction", "call_id")
    return [_of(case, name) if case.often(0.8) else None for name in names[: case.choice((1, 1, 2, 3, 4))]]
