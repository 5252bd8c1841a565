"""HTTP (interfaces.md 6) of a real server: decisions, roles, and errors."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import HOST
from support.http import BOSS, CONFIG, GOOD, NOC, SWITCH, asking, make_book, url, web_serving
from support.server import Server
from support.switch import read_all, request
from support.waiting import wait_for

from identengine.stats.metrics import CONTENT_TYPE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("http")
    make_book(folder)
    with web_serving(folder) as running:
        yield running


@pytest.fixture
def switch(server: Server) -> Iterator[httpx.Client]:
    with asking(server) as client:
        yield client


def test_the_life_of_a_call(switch: httpx.Client) -> None:
    held = {"call_id": "life", "src_ip": "10.0.0.2", "dst_number": "44171"}
    assert switch.post("/v1/authorize", json=held).json()["accepted"]
    refused = switch.post("/v1/authorize", json=held | {"call_id": "second"}).json()
    assert (refused["accepted"], refused["reason"]) == (False, "account_capacity")
    assert switch.post("/v1/start", json={"call_id": "life"}).json() == {"ok": True}
    assert switch.post("/v1/update", json={"call_id": "life", "interval": 60}).json() == {"ok": True}
    assert switch.post("/v1/sync", json={"list_id": "1", "calls": [["life"], ["gone"]]}).json()["missing"] == 1
    assert switch.post("/v1/stop", json={"call_id": "life"}).json() == {"ok": True, "freed": 1}
    assert switch.post("/v1/stop", json={"call_id": "life"}).json() == {"ok": True, "unknown": True, "freed": 0}
    assert switch.post("/v1/switch_up").json()["ok"] is True
    assert switch.post("/v1/switch_down", json={"whatever": 1}).json()["ok"] is True


def test_a_call_over_http_belongs_to_the_switch_of_the_token(server: Server, switch: httpx.Client) -> None:
    call = {"call_id": "scoped", **GOOD}
    assert switch.post("/v1/authorize", json=call).json()["accepted"]
    assert server.ask_tcp(request("stop", call_id="scoped"))["result"]["unknown"], "another switch"
    answer = server.ask_udp(request("stop", call_id="scoped", token=SWITCH))
    assert answer["result"]["freed"] == 1, "the same switch, by its token"


def test_ping_names_the_process_that_decides(server: Server, switch: httpx.Client) -> None:
    pong = switch.post("/v1/ping").json()
    assert pong["pid"] == server.decider
    assert pong["version"] == 1


@pytest.mark.parametrize(
    ("path", "needed"),
    [("/v1/authorize", SWITCH), ("/v1/sync", SWITCH), ("/v1/ping", SWITCH), ("/metrics", NOC), ("/metrics", BOSS)],
)
def test_roles(server: Server, path: str, needed: str) -> None:
    may = {SWITCH} if needed == SWITCH else {NOC, BOSS}
    method = "POST" if path.startswith("/v1") else "GET"
    with asking(server, None) as client:

        def ask(authorization: str | None) -> httpx.Response:
            body = {"list_id": "roles"} if path == "/v1/sync" else {}
            headers = {} if authorization is None else {"Authorization": authorization}
            return client.request(method, path, headers=headers, json=body if method == "POST" else None)

        for token in (SWITCH, NOC, BOSS):
            answer = ask(f"Bearer {token}")
            assert answer.status_code == (200 if token in may else 403), token
            assert answer.status_code == 200 or answer.json()["status"] == 403
        for wrong in (None, "Bearer wrong", "Bearer", "", f"Basic {needed}", needed, f"Bearer {needed}x"):
            answer = ask(wrong)
            assert answer.status_code == 401, wrong
            assert answer.headers["www-authenticate"].startswith('Bearer realm="identengine"')
            assert answer.json()["status"] == 401
        assert ask(f"bearer {needed}").status_code == 200, "RFC 9110: the scheme is compared without case"


def test_a_switchs_token_counts_from_its_addresses_alone(server: Server) -> None:
    for token, address in (
        ("token-of-far", "another address"),
        ("token-of-wide", "an address in a smaller network of another switch"),
    ):
        with asking(server, token) as client:
            for path in ("/v1/ping", "/v1/authorize"):
                answer = client.post(path, headers={"X-Forwarded-For": "192.0.2.7"})
                assert answer.status_code == 401, "X-Forwarded-For counts only from a trusted proxy"
                assert answer.json() == {"status": 401, "message": "unknown bearer token"}
            assert client.get("/metrics").json() == answer.json()
        name = token.removeprefix("token-of-")
        server.logged(f'rejected HTTP token of "{name}" from {address} from "127.0.0.1"')


def test_paths_that_need_no_token(server: Server) -> None:
    with asking(server, None) as client:
        assert client.get("/healthz").json() == {"alive": True}
        assert client.get("/readyz").json() == {"ready": True, "reasons": []}
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_head_is_get_without_the_body(server: Server) -> None:
    with asking(server, None) as client:
        for path in ("/healthz", "/readyz", "/openapi.json", "/metrics"):
            got, head = client.get(path), client.head(path)
            assert head.status_code == got.status_code
            assert head.headers["content-type"] == got.headers["content-type"]
            assert head.content == b""


@pytest.mark.parametrize(
    ("body", "field", "part"),
    [
        (b"", None, "expected the parameters as a JSON object"),
        (b"[]", None, "expected the parameters as a JSON object"),
        (b'"text"', None, "expected the parameters as a JSON object"),
        (b"{", None, "not parsable as JSON"),
        (b'{"src_ip": "\xff"}', None, "not parsable as JSON"),
        (b'{"src_ip": "x"} {}', None, "not parsable as JSON"),
        (b'{"src_ip":"x"},"method":"stop","y":{}', None, "not parsable as JSON"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", None, "not parsable as JSON"),
        (b'{"src_ip": 1}', "src_ip", "src_ip: expected a string, got 1"),
        (b'{"src_port": 1.5}', "src_port", "src_port: expected an integer or a string of digits, got 1.5"),
        (b'{"digest": []}', "digest", "digest: expected an object"),
        (b'{"digest": {"nonce": 5}}', "digest.nonce", "digest.nonce: expected a string"),
        (b'{"password": 5}', "password", "password: expected a string"),
    ],
)
def test_wrong_bodies(switch: httpx.Client, body: bytes, field: str | None, part: str) -> None:
    answer = switch.post("/v1/authorize", content=body)
    problem = answer.json()
    assert answer.status_code == problem["status"] == 400
    assert part in problem["message"]
    assert problem.get("field") == field
    if field == "password":
        assert "value" not in problem
    assert switch.post("/v1/ping").status_code == 200, "the same connection stays open"


def test_an_error_of_the_engine_names_the_field(switch: httpx.Client) -> None:
    answer = switch.post("/v1/start", json={"call_id": "x", "interval": "soon"})
    assert answer.status_code == 400
    assert answer.json() == {
        "status": 400,
        "code": -32602,
        "message": 'interval: expected a number of seconds from 1 to 604800, got "soon"',
        "field": "interval",
        "value": "soon",
    }


def test_half_of_a_surrogate_pair_is_decided_as_over_tcp(server: Server, switch: httpx.Client) -> None:
    body = b'{"src_ip": "10.0.0.1", "dst_number": "44171", "name": "\\ud800"}'
    over_tcp = server.ask_tcp(b'{"jsonrpc":"2.0","id":1,"method":"identify","params":%b}' % body)["result"]
    assert switch.post("/v1/identify", content=body).json() == over_tcp


def test_too_large_a_body(switch: httpx.Client) -> None:
    for size in (65536, 70_000, 5_000_000):
        answer = switch.post("/v1/authorize", content=b'{"x":"%b"}' % (b"x" * size))
        assert (answer.status_code, answer.json()["status"]) == (413, 413)
    big = {"list_id": "big", "calls": [[f"call {number}"] for number in range(4000)]}
    assert switch.post("/v1/sync", content=json.dumps(big, separators=(",", ":"))).status_code == 200
    escaped = {"list_id": "big", "calls": [["x" * 65_480]]}
    assert switch.post("/v1/sync", content=json.dumps(escaped)).status_code in (200, 413)
    assert switch.post("/v1/ping").status_code == 200


def test_no_such_path_or_method(switch: httpx.Client) -> None:
    for answer, status in (
        (switch.get("/nowhere"), 404),
        (switch.post("/v1/nothing"), 404),
        (switch.get("/v1/authorize"), 405),
        (switch.delete("/v1/authorize"), 405),
        (switch.post("/healthz"), 405),
    ):
        assert answer.status_code == answer.json()["status"] == status
    assert "POST" in switch.get("/v1/authorize").headers["allow"]


def test_bytes_that_are_not_http_are_answered_400(server: Server) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n", b"x" * 100_000):
        with socket.create_connection((HOST, server.ports["http"]), 20) as opened:
            try:
                opened.sendall(garbage)
                assert read_all(opened).startswith(b"HTTP/1.1 400 ")
            except ConnectionError:  # the server may close before it has read all
                assert len(garbage) == 100_000
    assert server.log.count("\n") < 100, "the log stays short"


def test_prometheus_can_read_the_metrics(server: Server, switch: httpx.Client) -> None:
    held = {"call_id": "metered", "src_ip": "10.0.0.1", "dst_number": "44171"}
    with asking(server, NOC) as client:

        def numbers() -> dict[str, Any]:
            answer = client.get("/metrics")
            assert answer.headers["content-type"] == CONTENT_TYPE
            return {family.name: family for family in text_string_to_metric_families(answer.text)}

        assert numbers()["identengine_up"].samples[0].value == 1
        assert switch.post("/v1/authorize", json=held).json()["accepted"]

        def held_by_account_1() -> bool:
            samples = numbers()["identengine_account_legs"].samples
            return any(sample.labels["id"] == "1" and sample.value for sample in samples)

        wait_for(held_by_account_1)
        requests = numbers()["identengine_requests"].samples
        assert any(sample.labels.get("interface") == "http" and sample.value for sample in requests)


def test_tokens_change_on_sighup_and_none_is_ever_logged(tmp_path: Path) -> None:
    make_book(tmp_path)
    with web_serving(tmp_path) as server:
        with asking(server, "new-token-of-sbc1") as client:
            assert client.post("/v1/ping").status_code == 401
            server.write_config(CONFIG.replace(SWITCH, "new-token-of-sbc1").replace(NOC, "new-token-of-noc"))
            server.signal(signal.SIGHUP)
            wait_for(lambda: client.post("/v1/ping").status_code == 200)
        with asking(server) as client:
            assert client.post("/v1/ping").status_code == 401
        with asking(server, NOC) as client:
            assert client.get("/metrics").status_code == 401
        server.write_config("nonsense")
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: the config has mistakes; nothing was changed")
        server.logged('rejected wrong HTTP token from "127.0.0.1"')
        with asking(server, "new-token-of-noc") as client:
            assert client.get("/metrics").status_code == 200
    written = server.log + "".join(server.lines)
    assert not [token for token in ("token-of-sbc1", "token-of-noc", "token-of-boss") if token in written]


def test_a_trusted_proxy_names_the_client(server: Server) -> None:
    proxy = httpx.HTTPTransport(local_address="127.0.0.9")
    with asking(server, "token-of-far", transport=proxy) as client:
        answer = client.post("/v1/ping", headers={"X-Forwarded-For": "6.6.6.6, 192.0.2.7"})
        assert answer.status_code == 200
        assert client.post("/v1/ping").status_code == 401, "the address of the proxy is not one of the switch"


def test_url_of_the_listener_is_announced(server: Server) -> None:
    assert f"listening http {url(server).removeprefix('http://')}" in server.lines
