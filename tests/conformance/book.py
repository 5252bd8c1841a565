"""The book of the conformance suite, and the switches that ask."""

from __future__ import annotations

from typing import Any

from support.books import ip_account
from support.switch import WIRES

from identengine.model.records import Account, Client, ClientStatus, Did, IdentBy, SrcPolicy

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
HTTP_TOKEN = "of-the-one-that-asks-by-HTTP"
HTTP_ADDRESS = "127.0.1.99"


def address_of(number: int) -> str:
    """Return the address of the switch of one of WIRES. Each switch has call ids of its own."""
    return f"127.0.1.{number + 1}"


def switches() -> str:
    """Return the switches as sections of a config: one for each wire, and one for HTTP."""
    sections = [f'[[switch]]\nname = "switch {n}"\naddresses = ["{address_of(n)}"]\n' for n in range(len(WIRES))]
    sections.append(f'[[switch]]\nname = "http"\naddresses = ["{HTTP_ADDRESS}"]\ntoken = "{HTTP_TOKEN}"\n')
    return "".join(sections)
