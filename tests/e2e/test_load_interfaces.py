"""``identengine load``: one mix over each interface has the same outcomes. No call is held at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support import HOST
from support.books import ip_account, put_rows
from support.cli import run
from support.operator import held
from support.server import Server, serving

from identengine.model.records import Client

SECRET = "5b0e7c1f94d24aa8"
VARIABLE = "LOAD_TEST_SECRET"
TOKEN = "c1d80f2b67e94a35"
TOKEN_VARIABLE = "LOAD_TEST_TOKEN"
CONFIG = f"""
[listen]
udp = ["{HOST}:0"]
tcp = ["{HOST}:0"]
tls = ["{HOST}:0"]
radius_auth = ["{HOST}:0"]
radius_acct = ["{HOST}:0"]
[tls]
certificate = "server.pem"
key = "server.key"
[calls]
path = "calls"
max_legs = 3000
[[switch]]
name = "native"
addresses = ["{HOST}"]
[[switch]]
name = "closed"
addresses = ["{HOST}"]
token = {{ env = "{TOKEN_VARIABLE}" }}
[[switch]]
name = "gateway"
addresses = ["{HOST}"]
secret = {{ env = "{VARIABLE}" }}
[switch.radius]
require_message_authenticator = true
"""
ACCEPTED = {
    "accepted": True,
    "account_id": 1,
    "client_id": 1,
    "src_number": "33145",
    "rate_table": "gold",
    "routing_plan": "europe",
    "tag": "a tag",
}
MIX: list[dict[str, object]] = [
    {
        "method": "authorize",
        "params": {"call_id": "{n}", "src_ip": "10.0.0.1", "src_number": "33145", "dst_number": "7#44{random:5}"},
        "expect": ACCEPTED,
    },
    {"method": "start", "params": {"call_id": "{n}"}, "expect": {"ok": True}},
    {
        "method": "authorize",
        "params": {"call_id": "x{n}", "src_ip": "10.9.9.9", "dst_number": "44"},
        "expect": {"accepted": False, "reason": "unknown_source", "sip_code": 403},
    },
    {"method": "stop", "params": {"call_id": "{n-20}"}, "expect": {"ok": True}},
    {"method": "ping"},
]


def mix(folder: Path) -> Path:
    path = folder / "mix.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in MIX))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("load")
    account = ip_account(
        1,
        "10.0.0.1",
        tech_prefix="7#",
        orig_rate_table="gold",
        orig_routing_plan="europe",
        orig_tag="a tag",
        orig_capacity=200,
    )
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert(HOST)
    certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    put_rows(folder / "store", [account], [Client(id=1, name="customer")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, SECRET)
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        with serving(folder, CONFIG) as running:
            yield running


@pytest.mark.parametrize("how", [("--window", 100), ("--rate", 2000)], ids=["window", "rate"])
@pytest.mark.parametrize("scheme", ["udp", "tcp", "resp", "radius"])
def test_one_mix_over_each_interface(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, how: tuple[str, int]
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    path = mix(tmp_path)
    port = server.ports[{"radius": "radius_auth", "resp": "tcp"}.get(scheme, scheme)]
    words = [f"{scheme}://{HOST}:{port}", path, *how, "--requests", 1000, "--connections", 2, "--timeout", 20]
    if scheme == "radius":
        words += ["--secret-env", VARIABLE, "--accounting-port", server.ports["radius_acct"]]
    said = run("load", *words, "--json")
    assert said.status == 0, said
    report = said.json["report"]
    assert (report["sent"], report["answered"], report["lost"], report["wrong"]) == (1000, 1000, 0, 0)
    assert {(one["method"], one["outcome"]): one["count"] for one in report["outcomes"]} == {
        ("authorize", "accepted"): 200,
        ("authorize", "unknown_source"): 200,
        ("start", "done"): 200,
        ("stop", "done"): 200,
        ("ping", "pong"): 200,
    }
    assert held(server) == 0


def test_resp_over_tls_with_a_token(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"resps://{HOST}:{server.ports['tls']}", mix(tmp_path), "--ca", server.folder / "ca.pem"]
    words += ["--requests", 500, "--connections", 3, "--token-env", TOKEN_VARIABLE, "--timeout", 20]
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    said = run("load", *words, "--json")
    assert said.status == 0, said
    assert [one["count"] for one in said.json["report"]["outcomes"]] == [100] * 5
    monkeypatch.setenv(TOKEN_VARIABLE, "quite another")
    refused = run("load", *words)
    assert (refused.status, refused.out) == (1, "")
    assert "the server rejected the token" in refused.err
