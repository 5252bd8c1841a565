"""The same decision, to the last field, through every interface (interfaces.md 3 to 6).

Each interface has a switch of its own, so that no answer is a repeated one. An array of RESP and a reply of RADIUS
carry some of the fields, and these must be equal.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
import httpx
import msgspec
import pytest
from conformance.book import ACCOUNTS, CLIENTS, DIDS, PASSWORD
from support import HOST
from support.books import put_rows
from support.http import url, wait_for_http
from support.radclient import SECRET, SIGNED, ask
from support.server import Server, serving
from support.switch import CONNECTED, WIRES, call
from support.tls import TLS_FILES, Authority
from support.waiting import PATIENCE

from identengine.store.vault import Vault, default_key_file
from identengine.wire.resp.writers import PLACES

TOKEN, HTTP, RADIUS = "of-the-one-that-asks", "127.0.2.98", "127.0.2.99"
RESP = ("127.0.2.81", "127.0.2.82", "127.0.2.83")
AUTHORITY = Authority()
LISTEN = "".join(
    f'{kind} = ["{HOST}:0"]\n' for kind in ("udp", "tcp", "tls", "radius_auth", "radius_acct")
) + f'http = "{HOST}:0"\n'  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "accepted": {"src_ip": "10.0.0.1", "src_number": "33", "dst_number": "44"},
    "without caller": {"src_ip": "10.0.0.1", "dst_number": "44"},
    "tech prefix": {"src_ip": "10.0.2.9", "src_number": "+33 1", "dst_number": "77#44"},
    "no tech prefix": {"src_ip": "10.0.2.9", "src_number": "33", "dst_number": "44"},
    "name and password": {"name": "acmé", "password": PASSWORD, "dst_number": "44"},
    "wrong password": {"name": "acmé", "password": "x=y|z", "dst_number": "44"},
    "calling number": {"src_ip": "198.51.100.1", "src_number": "+44 2070-001", "dst_number": "44"},
    "caller not allowed": {"src_ip": "10.0.0.5", "src_number": "33", "dst_number": "44"},
    "caller overwritten": {"src_ip": "10.0.0.6", "src_number": "33", "dst_number": "44"},
    "no number to show": {"src_ip": "10.0.0.7", "src_number": "33", "dst_number": "44"},
    "calls per second": {"src_ip": "10.0.0.9", "dst_number": "44"},
    "disabled": {"src_ip": "10.0.0.10", "dst_number": "44"},
    "blocked": {"src_ip": "10.0.0.11", "dst_number": "44"},
    "gateway": {"src_ip": "10.0.0.12", "gateway": "g1", "dst_number": "44"},
    "wrong gateway": {"src_ip": "10.0.0.12", "gateway": "g2", "dst_number": "44"},
    "port": {"src_ip": "10.0.0.13", "src_port": "5070", "dst_number": "44"},
    "wrong port": {"src_ip": "10.0.0.13", "src_port": "5071", "dst_number": "44"},
    "protocol": {"src_ip": "10.0.0.14", "protocol": "H323", "dst_number": "44"},
    "vendor": {"src_ip": "10.0.0.15", "direction": "termination", "dst_number": "944"},
    "client full": {"src_ip": "10.0.0.16", "dst_number": "44"},
    "reseller full": {"src_ip": "10.0.0.17", "dst_number": "44"},
    "ambiguous": {"src_ip": "10.0.0.18", "dst_number": "44"},
    "IPv6": {"src_ip": "2001:DB8::1", "src_number": "33", "dst_number": "44"},
    "unknown": {"src_ip": "192.0.2.1", "src_number": "33", "dst_number": "44"},
    "wrong address": {"src_ip": "10.0.0.256", "dst_number": "44"},
    "wrong number": {"src_ip": "10.0.0.1", "dst_number": "4x4"},
    "no number": {"src_ip": "10.0.0.1", "src_number": "33"},
}


def requests() -> list[dict[str, Any]]:
    return [{"call_id": f"every {number}", **fields} for number, fields in enumerate(CASES.values())]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("every")
    vault = Vault.from_file(default_key_file(folder / "store"), create=True)
    sealed = [
        msgspec.structs.replace(account, password=vault.encrypt(PASSWORD)) if account.id == 3 else account
        for account in ACCOUNTS
    ]
    put_rows(folder / "store", sealed, CLIENTS, DIDS)
    AUTHORITY.certify(folder)
    addresses = [*(address(number) for number in range(len(WIRES))), *RESP]
    switches = "".join(f'[[switch]]\nname = "at {one}"\naddresses = ["{one}"]\n' for one in addresses)
    switches += f'[[switch]]\nname = "http"\naddresses = ["{HTTP}"]\ntoken = "{TOKEN}"\n'
    switches += f'[[switch]]\nname = "radius"\naddresses = ["{RADIUS}"]\nsecret = "{SECRET}"\n'
    with serving(folder, f"[listen]\n{LISTEN}{TLS_FILES}{switches}") as running:
        wait_for_http(running)
        yield running


def address(number: int) -> str:
    """Return the address of the switch of one of WIRES."""
    return f"127.0.2.{number + 1}"


@pytest.fixture(scope="module")
def expected(server: Server) -> list[dict[str, Any]]:
    """Return the decisions over UDP, in JSON."""
    udp = next(number for number, wire in enumerate(WIRES) if wire not in CONNECTED)
    found = over_wire(server, udp)
    reasons = {one["reason"] for one in found if not one["accepted"]}
    assert len(reasons) > 10
    assert sum(one["accepted"] for one in found) > 8
    return found


def over_wire(server: Server, number: int) -> list[dict[str, Any]]:
    with server.switch(WIRES[number], AUTHORITY.client(), address(number)) as switch:
        return switch.burst(call("authorize", place, **one) for place, one in enumerate(requests()))


@pytest.mark.parametrize("number", range(len(WIRES)), ids=lambda number: WIRES[number].name)
def test_json_rpc(server: Server, expected: list[dict[str, Any]], number: int) -> None:
    assert over_wire(server, number) == expected


def test_http(server: Server, expected: list[dict[str, Any]]) -> None:
    transport = httpx.HTTPTransport(local_address=HTTP)
    with httpx.Client(
        base_url=url(server), headers={"Authorization": f"Bearer {TOKEN}"}, transport=transport, timeout=PATIENCE
    ) as client:
        found = [client.post("/v1/authorize", json=one).json() for one in requests()]
    assert found == expected


# ---- RESP


def fields(request: dict[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in request.items()]


def pipelined(server: Server, source: str, commands: list[list[str]]) -> list[Any]:
    """Return the replies to a pipeline."""
    reader = hiredis.Reader(encoding="utf-8")
    pack: Any = hiredis.pack_command
    port = server.ports["tcp"]
    with socket.create_connection((HOST, port), PATIENCE, source_address=(source, 0)) as raw:
        raw.sendall(b"".join(pack(tuple(command)) for command in commands))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reader.feed(raw.recv(1 << 16))
            while (reply := reader.gets()) is not False:
                replies.append(reply)
    return replies


def test_resp_in_json(server: Server, expected: list[dict[str, Any]]) -> None:
    replies = pipelined(server, RESP[0], [["IDENT.AUTHJ", *fields(one)] for one in requests()])
    assert [json.loads(reply) for reply in replies] == expected


@pytest.mark.parametrize(
    ("source", "written"),
    [(RESP[1], fields), (RESP[2], lambda request: ["|".join(fields(request))])],
    ids=["several arguments", "a single argument"],
)
def test_resp_in_arrays(
    server: Server,
    expected: list[dict[str, Any]],
    source: str,
    written: Callable[[dict[str, Any]], list[str]],
) -> None:
    asked = requests()
    if source == RESP[2]:  # the separator of a single argument is no part of a value
        asked = [{name: str(value).replace("|", "/") for name, value in one.items()} for one in asked]
    replies = pipelined(server, source, [["IDENT.AUTH", *written(one)] for one in asked])
    assert replies == [
        [int(one[place]) if place == "accepted" else one.get(place) for place in PLACES] for one in expected
    ]


# ---- RADIUS

ATTRIBUTES = {
    "call_id": "Acct-Session-Id",
    "src_ip": "h323-remote-address",
    "src_number": "Calling-Station-Id",
    "dst_number": "Called-Station-Id",
    "name": "User-Name",
    "password": "User-Password",
    "gateway": "h323-gw-id",
    "protocol": "session-protocol",
}
PAIRS = {
    "src_number": "xpgk-src-number-out",
    "dst_number": "xpgk-dst-number-out",
    "account_id": "account",
    "client_id": "client",
    "rate_table": "rate-table",
    "routing_plan": "routing-plan",
    "tag": "tag",
    "host": "host",
    "port": "port",
    "protocol": "protocol",
    "proxy": "proxy",
}
REJECTED_PAIRS = {"sip_code": "sip-code", "q850": "q850"}


def attributes(request: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the attributes in which a gateway sends the fields of a request."""
    for name, value in request.items():
        if name == "src_port":
            yield "Cisco-AVPair", f"xpgk-source-port={value}"
        elif name == "direction":
            yield "h323-call-origin", "originate"
        else:
            yield ATTRIBUTES[name], value
    yield SIGNED


def test_radius(server: Server, expected: list[dict[str, Any]]) -> None:
    for title, request, decision in zip(CASES, requests(), expected, strict=True):
        reply = ask(server.ports["radius_auth"], "auth", *attributes(request), source=RADIUS)
        assert (reply.code == "Access-Accept") is decision["accepted"], title
        assert reply.reason == decision.get("reason"), title
        carried = PAIRS if decision["accepted"] else REJECTED_PAIRS
        wanted = {pair: str(decision[name]) for name, pair in carried.items() if decision.get(name) is not None}
        found = {name: plain(value) for name, value in reply.pairs.items()}
        assert found == wanted, title


def plain(printed: str) -> str:
    """Return a value as it was before radclient printed its bytes that are not ASCII as octal numbers."""
    return printed.encode().decode("unicode_escape").encode("latin-1").decode() if "\\" in printed else printed
