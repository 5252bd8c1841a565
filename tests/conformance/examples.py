"""The worked examples of engine.md 3 as one table: rows of a book, requests, and their answers.

Plain data, so that the same table can be asked in process and over every transport.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PASSWORD = "right horse"

CLIENTS: tuple[dict[str, Any], ...] = tuple({"id": number, "name": f"client {number}"} for number in range(1, 8))
"""Accounts by the columns of interfaces.md 1. Account A1 belongs to client 1, A2 to client 2, and so on."""

ACCOUNTS: tuple[dict[str, Any], ...] = (
    {"id": 1, "client_id": 1, "name": "A1", "ident_by": "ip", "ident": ["10.0.0.5"]},
    {"id": 2, "client_id": 2, "name": "A2", "ident_by": "ip", "ident": ["10.0.0.5"], "tech_prefix": "77#"},
    {"id": 3, "client_id": 3, "name": "A3", "ident_by": "ip", "ident": ["10.0.0.0/24"], "tech_prefix": "99#"},
    {"id": 4, "client_id": 4, "name": "A4", "ident_by": "ip", "ident": ["0.0.0.0/0"], "tech_prefix": "55#"},
    {"id": 5, "client_id": 5, "name": "A5", "ident_by": "name", "ident": ["acme"], "password": PASSWORD},
    {"id": 6, "client_id": 6, "name": "A6", "ident_by": "ani", "ident": ["442070001"]},
    {"id": 7, "client_id": 7, "name": "A7", "ident_by": "ip", "ident": ["10.0.0.5"], "gateways": ["G2"]},
)
"""Passwords are in clear, as in a book that an operator writes."""


@dataclass(frozen=True)
class Example:
    """A row of the table: a request, and fields that its answer must have."""

    title: str
    request: dict[str, Any]
    answer: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    """Keys of ``[identify]`` that differ from the defaults."""
    accounts: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Columns that differ from ACCOUNTS, by account id."""
    clients: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Columns that differ from CLIENTS, by client id."""


def _found(account: int, dst_number: str) -> dict[str, Any]:
    return {
        "accepted": True,
        "account_id": account,
        "account_name": f"A{account}",
        "client_id": account,
        "client_name": f"client {account}",
        "dst_number": dst_number,
    }


def _rejected(reason: str) -> dict[str, Any]:
    return {"accepted": False, "reason": reason, "sip_code": 403}


_A2_DISABLED = {2: {"orig_enabled": False, "term_enabled": False}}
_CLIENT_2_BLOCKED = {2: {"status": "blocked"}}

EXAMPLES = (
    Example("one address", {"src_ip": "10.0.0.5", "dst_number": "44171"}, _found(1, "44171")),
    Example("tech prefix", {"src_ip": "10.0.0.5", "dst_number": "77#44171"}, _found(2, "44171")),
    Example("mask first", {"src_ip": "10.0.0.5", "dst_number": "99#44171"}, _found(1, "99#44171")),
    Example(
        "tech prefix first",
        {"src_ip": "10.0.0.5", "dst_number": "99#44171"},
        _found(3, "44171"),
        options={"rank": "tech_prefix_first"},
    ),
    Example("a network", {"src_ip": "10.0.0.9", "dst_number": "99#44"}, _found(3, "44")),
    Example("no prefix", {"src_ip": "10.0.0.9", "dst_number": "44"}, _rejected("tech_prefix_mismatch")),
    Example("any address", {"src_ip": "10.0.0.9", "dst_number": "55#44"}, _found(4, "44")),
    Example("gateway", {"src_ip": "10.0.0.5", "gateway": "g2", "dst_number": "44"}, _found(7, "44")),
    Example("no gateway", {"src_ip": "10.0.0.5", "dst_number": "44"}, _found(1, "44")),
    Example(
        "name and right password",
        {"src_ip": "10.0.0.5", "name": "acme", "password": PASSWORD, "dst_number": "44"},
        _found(5, "44") | {"matched_by": "name", "matched": "acme"},
    ),
    Example(
        "name and wrong password",
        {"src_ip": "10.0.0.5", "name": "acme", "password": "wrong", "dst_number": "44"},
        _rejected("bad_password"),
    ),
    Example(
        "a name that no account bears",
        {"src_ip": "10.0.0.5", "name": "442070001", "dst_number": "44"},
        _found(1, "44") | {"matched_by": "ip", "matched": "10.0.0.5"},
    ),
    Example(
        "calling number",
        {"src_ip": "198.51.100.8", "src_number": "+44 2070-001", "dst_number": "44"},
        _found(6, "44") | {"matched_by": "ani", "matched": "442070001", "src_number": "442070001"},
    ),
    Example(
        "a disabled account hides no other account",
        {"src_ip": "10.0.0.5", "dst_number": "77#44"},
        _found(1, "77#44"),
        accounts=_A2_DISABLED,
    ),
    Example(
        "a blocked client is no fall-through",
        {"src_ip": "10.0.0.5", "dst_number": "77#44"},
        _rejected("client_blocked") | {"account_id": 2, "client_id": 2},
        clients=_CLIENT_2_BLOCKED,
    ),
)
