"""Gateways that ask by RADIUS: radclient sends the packets of docs/switches/gateway as in their manuals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import HOST, ROOT
from support.books import ip_account, put_rows
from support.operator import asked, counted, held
from support.radclient import Reply, ask
from support.server import Server, serving

from identengine.model.records import Account, Client, IdentBy

RECIPE = ROOT / "docs" / "switches" / "gateway"
SECRET = "of-gateways-and-the-engine"
CALLER, CUSTOMER, VENDOR = "442079460100", "192.0.2.40", "198.51.100.7"
ACCOUNTS = [
    Account(id=1, client_id=1, name="trunk", ident_by=IdentBy.ANI, ident=(CALLER,), gateways=("gw1",)),
    ip_account(2, CUSTOMER, client_id=1, orig_capacity=1),
    ip_account(900, VENDOR, client_id=2, orig_enabled=False, term_enabled=True),
]


class Gateway(NamedTuple):
    """A gateway of the recipe."""

    files: str
    """Begin of the names of its files."""
    source: str
    """The loopback address in place of its address."""
    account: int


CISCO, SMG = Gateway("cisco", "127.0.0.20", 1), Gateway("smg", "127.0.0.21", 2)


def config() -> str:
    """Return the config of the recipe on loopback."""
    text = re.sub(r'\["192\.0\.2\.8:\d+"\]', f'["{HOST}:0"]', (RECIPE / "identengine.toml").read_text())
    text = re.sub(r"{ env = .* }", f'"{SECRET}"', text)
    return re.sub(r'\["192\.0\.2\.(2\d)"\]', r'["127.0.0.\1"]', text)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    put_rows(tmp_path / "store", ACCOUNTS, [Client(id=1, name="customer"), Client(id=2, name="vendor")])
    with serving(tmp_path, config()) as running:
        yield running


def packets(gateway: Gateway, kind: str) -> list[list[tuple[str, str]]]:
    """Return the packets of a file: a name and a value for each attribute."""
    texts = (RECIPE / f"{gateway.files}-{kind}.txt").read_text().split("\n\n")
    return [[(name, value) for name, value in re.findall(r'^([\w-]+) = "?(.*?)"?$', text, re.M)] for text in texts]


def authorized(server: Server, gateway: Gateway, *more: tuple[str, str]) -> Reply:
    """Ask for the call of the recipe. ``more`` replaces attributes."""
    (packet,) = packets(gateway, "access")
    request = [*(pair for pair in packet if pair[0] not in dict(more)), *more]
    return ask(server.ports["radius_auth"], "auth", *request, secret=SECRET, source=gateway.source)


def report(server: Server, gateway: Gateway, packet: list[tuple[str, str]]) -> None:
    """Send accounting. It must be answered."""
    reply = ask(server.ports["radius_acct"], "acct", *packet, secret=SECRET, source=gateway.source)
    assert reply.code == "Accounting-Response"


def legs(server: Server) -> dict[str, tuple[int, str]]:
    """Return account and state of each direction that is held."""
    return {row["direction"]: (row["account_id"], row["state"]) for row in asked(server, ask="calls")["rows"]}


@pytest.mark.parametrize("gateway", [CISCO, SMG], ids=["cisco", "smg"])
def test_the_whole_life_of_a_call(server: Server, gateway: Gateway) -> None:
    reply = authorized(server, gateway)
    assert reply.code == "Access-Accept"
    assert reply.values("h323-return-code") == ["0"]
    assert reply.pairs["account"] == str(gateway.account)
    assert legs(server) == {"origination": (gateway.account, "reserved")}
    start, other_start, update, other_update, stop, other_stop = packets(gateway, "accounting")
    report(server, gateway, start)
    assert legs(server) == {"origination": (gateway.account, "active")}
    for each in (other_start, update, other_update, start):
        report(server, gateway, each)
        assert legs(server) == {"origination": (gateway.account, "active"), "termination": (900, "active")}
    report(server, gateway, other_stop)
    assert legs(server) == {"origination": (gateway.account, "active")}
    report(server, gateway, stop)
    assert held(server) == 0
    for late in (start, other_start, stop):
        report(server, gateway, late)
    assert held(server) == 0
    assert counted(server, "overcommits") == 0


def test_a_failed_call_frees_its_slot(server: Server) -> None:
    assert authorized(server, SMG).code == "Access-Accept"
    full = authorized(server, SMG, ("Acct-Session-Id", "another"))
    assert (full.code, full.reason) == ("Access-Reject", "account_capacity")
    assert full.pairs == {"sip-code": "480", "q850": "34"}
    for packet in packets(SMG, "accounting")[4:]:
        report(server, SMG, packet)
    assert held(server) == 0
    assert authorized(server, SMG, ("Acct-Session-Id", "another")).code == "Access-Accept"


@pytest.mark.parametrize(
    ("gateway", "attribute", "reason"),
    [
        (SMG, ("Called-Station-Id", "+"), "invalid_destination"),
        (CISCO, ("Calling-Station-Id", "442079460199"), "unknown_source"),
        (CISCO, ("NAS-Identifier", "gw2"), "gateway_mismatch"),
        (CISCO, ("Called-Station-Id", "x" * 65), "invalid_destination"),
    ],
)
def test_rejects(server: Server, gateway: Gateway, attribute: tuple[str, str], reason: str) -> None:
    reply = authorized(server, gateway, attribute)
    assert (reply.code, reply.reason) == ("Access-Reject", reason)
    assert reply.values("h323-return-code") != ["0"]
    assert held(server) == 0


def test_a_gateway_that_reports_one_side(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", ACCOUNTS, [Client(id=1, name="customer"), Client(id=2, name="vendor")])
    one_side = config().replace("map = {", "map = { direction = [],")
    start, update, stop = packets(SMG, "accounting")[1::2]
    with serving(tmp_path, one_side) as server:
        assert authorized(server, SMG).code == "Access-Accept"
        for each in (start, update):
            report(server, SMG, each)
            assert legs(server) == {"origination": (2, "active")}
        report(server, SMG, stop)
        assert held(server) == 0


def test_a_gateway_that_restarts(server: Server) -> None:
    assert authorized(server, CISCO).code == "Access-Accept"
    assert authorized(server, SMG).code == "Access-Accept"
    report(server, CISCO, [("Acct-Status-Type", "Accounting-On"), ("NAS-IP-Address", "192.0.2.20")])
    assert legs(server) == {"origination": (2, "reserved")}
