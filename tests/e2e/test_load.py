"""``identengine load`` against real servers: it asks, checks, measures, and reports honestly."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from support import HOST
from support.books import ip_account, put_rows
from support.cli import run
from support.connections import kill_with_unread
from support.operator import counted
from support.ports import free_port
from support.relay import Relay
from support.server import Server, serving
from support.waiting import wait_for

import identengine
from identengine.client.exchange import Encoding
from identengine.loadgen.mix import Line
from identengine.loadgen.protocols import JsonRpc
from identengine.loadgen.run import Plan, Run
from identengine.loadgen.scores import Report
from identengine.loadgen.target import Target
from identengine.model.records import Client

TOKEN = "the token of closed"
HTTP = (Path(identengine.__file__).parent / "server" / "http" / "__init__.py").exists()
"""True if this version serves HTTP."""
CONFIG = f"""
[listen]
udp = ["{HOST}:0"]
tcp = ["{HOST}:0"]
tls = ["{HOST}:0"]
{f'http = "{HOST}:0"' if HTTP else ""}
[tls]
certificate = "server.pem"
key = "server.key"
[calls]
path = "calls"
max_legs = 3000
[limits]
datagram_age_ms = 20000
[[switch]]
name = "open"
addresses = ["{HOST}"]
[[switch]]
name = "closed"
addresses = ["{HOST}"]
token = {{ env = "CLOSED_TOKEN" }}
"""
MIX: list[dict[str, object]] = [
    {
        "method": "authorize",
        "params": {"call_id": "{n}", "src_ip": "10.0.0.1", "dst_number": "44{random:5}"},
        "expect": {"accepted": True, "account_id": 1},
    },
    {"method": "start", "params": {"call_id": "{n}"}, "expect": {"ok": True, "unknown": False}},
    {
        "method": "authorize",
        "params": {"call_id": "x{n}", "src_ip": "10.9.9.9"},
        "expect": {"accepted": False, "reason": "unknown_source"},
    },
    {"method": "stop", "params": {"call_id": "{n-20}"}, "expect": {"freed": 1, "unknown": False}},
    {"method": "identify", "params": {"src_ip": 5}, "expect": {"error": -32602}},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("load")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="customer")])
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert(HOST)
    certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    os.environ["CLOSED_TOKEN"] = TOKEN
    try:
        with serving(folder, CONFIG) as running:
            yield running
    finally:
        del os.environ["CLOSED_TOKEN"]


def mix(folder: Path, *lines: dict[str, object]) -> Path:
    path = folder / "mix.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def load(*words: object) -> Any:
    """Return the report of a run that must succeed."""
    done = run("load", *words, "--timeout", 20, "--json")
    assert done.status == 0, done
    return done.json["report"]


@pytest.mark.parametrize(
    ("scheme", "encoding"), [(one, two) for one in ("udp", "tcp", "tls") for two in ("json", "msgpack")]
)
@pytest.mark.parametrize("how", [("--window", 64), ("--rate", 2000)], ids=["window", "rate"])
def test_every_interface(server: Server, tmp_path: Path, scheme: str, encoding: str, how: tuple[str, int]) -> None:
    url = f"{scheme}://{HOST}:{server.ports[scheme]}"
    words = (url, mix(tmp_path, *MIX), *how, "--requests", 1000, "--encoding", encoding, "--connections", 3)
    report = load(*words, *(["--ca", server.folder / "ca.pem"] if scheme == "tls" else []))
    assert (report["sent"], report["answered"], report["lost"], report["wrong"]) == (1000, 1000, 0, 0)
    assert {(one["method"], one["outcome"]): one["count"] for one in report["outcomes"]} == {
        ("authorize", "accepted"): 200,
        ("authorize", "unknown_source"): 200,
        ("start", "done"): 200,
        ("stop", "done"): 200,
        ("identify", "error -32602"): 200,
    }
    times = report["latency"]
    assert 0 < times["p50"] <= times["p90"] <= times["p99"] <= times["p99_9"] <= times["max"]


@pytest.mark.skipif(not HTTP, reason="this version does not serve HTTP yet")
def test_http_of_the_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    words = ("--requests", 400, "--connections", 4, "--token-env", "THE_TOKEN")
    report = load(f"http://{HOST}:{server.ports['http']}", mix(tmp_path, *MIX[:4]), *words)
    assert [one["count"] for one in report["outcomes"]] == [100] * 4


class _Front(BaseHTTPRequestHandler):
    """Answers HTTP as the server does, as far as load needs it."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment

    def do_POST(self) -> None:
        params = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: dict[str, object]
        status, answer = 200, {"accepted": True, "account_id": 1}
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status, answer = 401, {}
        elif self.path != "/v1/authorize":
            status, answer = 404, {}
        elif params["src_ip"] != "10.0.0.1":
            answer = {"accepted": False, "reason": "unknown_source"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - so it is called
        """Log no requests, which the base class writes to stderr."""


def test_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    asked = mix(tmp_path, MIX[0], MIX[2])
    with ThreadingHTTPServer((HOST, 0), _Front) as front:
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://{HOST}:{front.server_port}"
            words = ("--requests", 100, "--connections", 2)
            report = load(url, asked, *words, "--token-env", "THE_TOKEN")
            refused = run("load", url, asked, *words, "--json")
        finally:
            front.shutdown()
            thread.join()
    assert [one["count"] for one in report["outcomes"]] == [50, 50]
    assert refused.status == 1
    assert refused.json["report"]["outcomes"] == [
        {"method": "authorize", "outcome": "error HTTP 401", "count": 100}
    ]


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_tokens(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("RIGHT", TOKEN)
    monkeypatch.setenv("WRONG", "quite another")
    words = (f"{scheme}://{HOST}:{server.ports[scheme]}", mix(tmp_path, *MIX), "--requests", 100)
    assert load(*words, "--token-env", "RIGHT")["answered"] == 100
    wrong = run("load", *words, "--token-env", "WRONG")
    assert wrong.status == 1
    assert "token" in wrong.err
    assert "quite another" not in wrong.out + wrong.err
    assert run("load", *words, "--token-env", "UNSET").status == 2


def test_an_answer_that_is_not_the_expected_one_fails_the_run(server: Server, tmp_path: Path) -> None:
    planted = MIX[2] | {"expect": {"reason": "no_did"}, "title": "planted"}
    words = (
        "load",
        f"tcp://{HOST}:{server.ports['tcp']}",
        mix(tmp_path, MIX[0], MIX[3], planted),
        "--requests",
        300,
    )
    said = run(*words, "--json")
    assert said.status == 1
    assert said.json["report"]["wrong"] == 100
    assert said.json["report"]["mistakes"] == ['planted: reason: expected "no_did", got "unknown_source"']
    for_people = run(*words)
    assert for_people.status == 1
    assert 'wrong: planted: reason: expected "no_did", got "unknown_source"' in for_people.err
    assert "unknown_source    100  33.3 %" in for_people.out


def test_what_is_lost_is_counted(server: Server, tmp_path: Path) -> None:
    asked = mix(tmp_path, MIX[2])
    for loss, status in ((5, 1), (15, 0)):
        with Relay(server.ports["udp"], every=10) as relay:
            words = ("--window", 20, "--requests", 200, "--timeout", 0.5, "--max-loss", loss, "--json")
            said = run("load", f"udp://{HOST}:{relay.port}", asked, *words)
        assert said.status == status, said
        report = said.json["report"]
        assert len(relay.dropped) == 20
        assert (report["sent"], report["answered"] + report["late"], report["lost"]) == (
            200,
            180,
            20 + report["late"],
        )


def test_times_are_counted_from_the_schedule(server: Server, tmp_path: Path) -> None:
    """While a server is stopped, an open loop shows the length of the stop in the requests that were due."""
    stood = 0.3

    def hold(pid: int, asked: int) -> None:
        wait_for(lambda: counted(server, "requests_authorize") > asked + 100)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(stood)
        os.kill(pid, signal.SIGCONT)

    holder = threading.Thread(target=hold, args=(server.decider, counted(server, "requests_authorize")))
    holder.start()
    try:
        words = ("--rate", 500, "--duration", 1.5)
        report = load(f"tcp://{HOST}:{server.ports['tcp']}", mix(tmp_path, MIX[2]), *words)
    finally:
        holder.join()
    # A fifth of the run's requests were due during the stop. A closed loop would count only one.
    assert report["answered"] >= 740
    assert report["latency"]["max"] >= 1000 * stood * 0.9
    assert report["latency"]["p90"] >= 1000 * stood * 0.25


def test_no_connection_sends_before_its_first_request_is_due(server: Server, tmp_path: Path) -> None:
    """Of 4 connections and 20 requests a second, the last is due after 150 ms."""
    words = ("--rate", 20, "--connections", 4, "--requests", 4)
    report = load(f"udp://{HOST}:{server.ports['udp']}", mix(tmp_path, MIX[2]), *words)
    assert report["answered"] == 4
    assert report["seconds"] >= 0.15
    assert report["latency"]["mean"] > 0


def test_a_connection_that_is_lost_is_made_again(server: Server, tmp_path: Path) -> None:
    def kill(pid: int, asked: int) -> None:
        wait_for(lambda: counted(server, "requests_authorize") > asked + 100)
        kill_with_unread(pid, server.ports["tcp"])

    killer = threading.Thread(target=kill, args=(server.decider, counted(server, "requests_authorize")))
    killer.start()
    try:
        words = ("--window", 16, "--duration", 2, "--connections", 4, "--timeout", 20, "--max-loss", 100, "--json")
        said = run("load", f"tcp://{HOST}:{server.ports['tcp']}", mix(tmp_path, MIX[2] | {"expect": {}}), *words)
    finally:
        killer.join()
    assert said.status == 0, said
    report = said.json["report"]
    assert report["reconnects"] >= 4
    assert 1 <= report["lost"] <= 16
    assert report["sent"] == report["answered"] + report["lost"]
    server.version()  # a server for the next test


@pytest.mark.parametrize("how", ["--rate", "--window"])
def test_a_server_that_does_not_read(tmp_path: Path, how: str) -> None:
    """The sockets fill up. The run ends all the same, and reports why."""
    with socket.create_server((HOST, 0)) as deaf:
        asked = mix(tmp_path, {"method": "stop", "params": {"call_id": "x" * 50_000}})
        words = (how, 1000, "--duration", 0.5, "--timeout", 0.3, "--json")
        said = run("load", f"tcp://{HOST}:{deaf.getsockname()[1]}", asked, *words)
    assert said.status == 1
    assert said.json["report"]["answered"] == 0
    assert said.json["report"]["lost"] == said.json["report"]["sent"] > 0
    assert "the server does not read its socket" in said.json["report"]["troubles"]


def test_no_server(tmp_path: Path) -> None:
    port = free_port()
    asked = mix(tmp_path, MIX[2])
    said = run("load", f"tcp://{HOST}:{port}", asked)
    assert (said.status, said.out) == (1, "")
    assert "no connection to tcp://" in said.err
    said = run("load", f"udp://{HOST}:{port}", asked, "--rate", 100, "--duration", 0.2, "--timeout", 0.2)
    assert said.status == 1
    assert os.strerror(errno.ECONNREFUSED) in said.err


def test_off_loopback_it_wants_to_be_told(tmp_path: Path) -> None:
    said = run("load", "udp://192.0.2.1:4870", mix(tmp_path, MIX[2]))
    assert (said.status, said.out) == (1, "")
    assert "--off-loopback" in said.err


def test_wrong_usage(tmp_path: Path) -> None:
    asked = mix(tmp_path, MIX[2])
    assert run("load", "tcp://127.0.0.1", asked, "--rate", 1, "--window", 1).status == 2
    said = run("load", "tcp://127.0.0.1", mix(tmp_path, {"method": "stop", "params": {"call_id": "{m}"}}))
    assert said.status == 1
    assert "{m}" in said.err
    assert "HOST" in run("load", "127.0.0.1", asked).err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_stopped_and_shows_what_it_measured(server: Server, tmp_path: Path, number: signal.Signals) -> None:
    with Relay(server.ports["udp"]) as relay:
        words = [
            "load",
            f"udp://{HOST}:{relay.port}",
            str(mix(tmp_path, *MIX)),
            "--rate",
            "200",
            "--duration",
            "60",
        ]
        program = [sys.executable, "-m", "identengine", *words, "--timeout", "20", "--json"]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            wait_for(lambda: relay.count > 20)
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    report = json.loads(out)["report"]
    assert report["stopped"]
    assert 20 < report["answered"] == report["sent"] == relay.count < 10_000


class _Echo(JsonRpc):
    """An interface whose requests are also their answers."""

    def __init__(self, encoding: Encoding, *, stream: bool) -> None:
        super().__init__(encoding, None, stream=stream)
        self._encoding = encoding
        self._framed = stream

    def render(self, method: str, params: dict[str, object], number: str) -> bytes:
        message = {"jsonrpc": "2.0", "id": number, "result": {"ok": True}, "method": method, "params": params}
        if self._encoding == "json":
            return msgspec.json.encode(message) + b"\n" * self._framed
        body = msgspec.msgpack.encode(message)
        return len(body).to_bytes(4) + body if self._framed else body


_ECHOES = {
    "udp": "while True:\n    data, peer = s.recvfrom(2048); s.sendto(data, peer)",
    "tcp": "c, _ = s.accept()\nwhile data := c.recv(1 << 18): c.sendall(data)",
}


@pytest.mark.parametrize(
    ("scheme", "encoding"), [("udp", "json"), ("udp", "msgpack"), ("tcp", "json"), ("tcp", "msgpack")]
)
def test_its_own_top_rate(scheme: str, encoding: Encoding) -> None:
    """The generator's own rate, against a bare echo: ``pytest -s`` prints it, the bound catches gross mistakes."""
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    with socket.socket(type=kind) as bound:
        bound.bind((HOST, 0))
        if scheme == "tcp":
            bound.listen()
        program = f"import socket\ns = socket.socket(fileno={bound.fileno()})\n{_ECHOES[scheme]}"
        echo = subprocess.Popen([sys.executable, "-c", program], pass_fds=[bound.fileno()])
        try:
            target = Target(scheme, HOST, bound.getsockname()[1], _Echo(encoding, stream=scheme == "tcp"), 20.0)
            line = Line("stop", {"call_id": "call-{n}", "src_ip": "10.0.0.1", "dst_number": "44207946{n:4}"})
            before = time.process_time()
            report: Report = Run(target, [line], Plan(window=128, requests=10_000, timeout=20.0)).go(
                lambda *_: None
            )
            spent = time.process_time() - before
        finally:
            echo.kill()
            echo.wait()
    assert (report.answered, report.wrong) == (10_000, 0)
    print(f"load, {scheme} {encoding}: {report.per_second:,.0f} a second, {spent / 10_000 * 1e6:.1f} µs each")
    assert report.per_second > 1000
