"""The HTTP process next to the decider: deaths, drains, slow clients, and the delay that each causes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import httpx
import pytest
from support import HOST
from support.http import CONFIG, GOOD, NOC, SWITCH, asking, make_book, wait_for_http, web_serving
from support.processes import naps, runs
from support.server import Server
from support.switch import Switch, read_all, request
from support.waiting import wait_for

from identengine.stats import file as counters

FEW = "connections = 40\nconnections_per_switch = 20\n"
BODY = json.dumps(GOOD).encode()
POST = b"POST /v1/authorize HTTP/1.1\r\n"


def post(method: str, body: bytes, length: int | None = None) -> bytes:
    head = f"POST /v1/{method} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SWITCH}\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("processes")
    make_book(folder)
    with web_serving(folder, CONFIG + FEW) as running:
        yield running


@contextlib.contextmanager
def connected(server: Server, source: str = HOST) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, server.ports["http"]), 20, (source, 0)) as opened:
        yield opened


def test_a_decider_that_does_not_answer_is_503_and_one_that_is_replaced_answers(server: Server) -> None:
    with asking(server) as client:
        assert client.post("/v1/ping").status_code == 200
        old = server.decider
        server.signal(signal.SIGSTOP)  # so that it does not replace the decider that hangs
        os.kill(old, signal.SIGSTOP)
        try:
            answer = client.post("/v1/authorize", json=GOOD)
            assert answer.status_code == answer.json()["status"] == 503
            assert answer.headers["retry-after"] == "1"
            assert "did not answer within 3 s" in answer.json()["message"]
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert client.get("/healthz").status_code == 200
        finally:
            os.kill(old, signal.SIGKILL)
            server.signal(signal.SIGCONT)
        wait_for(lambda: client.post("/v1/ping").json().get("pid") not in (None, old))
        wait_for(lambda: client.post("/v1/authorize", json=GOOD).json().get("accepted"))
        wait_for(lambda: client.get("/readyz").status_code == 200)


def test_a_request_during_the_death_of_a_decider_is_repeated(server: Server) -> None:
    with asking(server) as client, concurrent.futures.ThreadPoolExecutor(1) as thread:
        client.post("/v1/ping")
        old = server.decider
        os.kill(old, signal.SIGSTOP)
        before = naps(server.http)
        asked = thread.submit(client.post, "/v1/identify", json=GOOD)
        # The HTTP process is idle. The request may reach the decider before or after its death.
        wait_for(lambda: naps(server.http) > before)
        os.kill(old, signal.SIGKILL)
        answer = asked.result(20)
        if answer.status_code == 503:  # a slow machine needs seconds to start a process
            pytest.skip("the next decider took too long on this machine")
        assert answer.status_code == 200
        assert answer.json().get("reason") in (None, "not_ready"), "the next decider may have no book yet"


def test_an_http_process_that_dies_is_replaced_and_decisions_continue(server: Server) -> None:
    decider = server.decider
    for _ in range(2):
        old = server.http
        os.kill(old, signal.SIGKILL)
        assert server.authorize(**GOOD)["accepted"]
        wait_for_another(server, old)
        with asking(server) as client:
            wait_for(partial(answered, client))
        server.logged(f"ALARM: the HTTP process (pid {old}) was killed by SIGKILL; a new process replaces it")
    assert server.decider == decider


def wait_for_another(server: Server, old: int) -> None:
    wait_for(lambda: server.http != old)


def read_answer(opened: socket.socket) -> bytes:
    """Return one answer."""
    with opened.makefile("rb") as file:
        lines = list(iter(file.readline, b"\r\n"))
        (length,) = [line for line in lines if line.startswith(b"content-length:")]
        return b"".join(lines) + file.read(int(length.partition(b":")[2]))


def ping(opened: socket.socket) -> bytes:
    """Return the answer to a ping with the token of a switch."""
    opened.sendall(post("ping", b"{}"))
    return read_answer(opened)


def test_proven_connections_are_limited_and_refusals_are_logged(server: Server) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(20):
            assert ping(opened.enter_context(connected(server))).startswith(b"HTTP/1.1 200 ")
        with connected(server) as one, contextlib.suppress(ConnectionError):
            assert read_all(one).startswith(b"HTTP/1.1 503 ")
        with connected(server, "127.0.0.9") as other:
            assert ping(other).startswith(b"HTTP/1.1 401 "), "another address has its own limit"
        assert server.authorize(**GOOD)["accepted"]
        server.logged('rejected HTTP: too many connections from one address from "127.0.0.1"')
        wait_for(lambda: counters.read(server.folder / "calls").values["connections_refused_too_many_of_switch"])
    with asking(server) as client:
        wait_for(lambda: answered(client))


@pytest.mark.parametrize("begun", [b"", POST + b"Ho", POST + b"Host: x\r\nContent-Length: 9\r\n\r\n"])
def test_addresses_with_many_connections_shut_out_no_switch_and_no_scraper(server: Server, begun: bytes) -> None:
    """The limits of this server are a 25th of the default, and so are the connections of the attackers."""
    with contextlib.ExitStack() as opened:

        def attack() -> None:
            for number in range(100):
                attacker = opened.enter_context(connected(server, f"127.0.1.{number % 5}"))
                with contextlib.suppress(ConnectionError):
                    attacker.sendall(begun)

        attack()
        switch = opened.enter_context(connected(server))
        scraper = opened.enter_context(connected(server))
        for _ in range(2):
            assert ping(switch).startswith(b"HTTP/1.1 200 ")
            scraper.sendall(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {NOC}\r\n\r\n".encode())
            assert read_answer(scraper).startswith(b"HTTP/1.1 200 ")
            attack()
        for _ in range(30):
            with connected(server) as another:
                assert ping(another).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: counters.read(server.folder / "calls").values["connections_refused_too_many"])
    server.logged("too many connections without a right token, the oldest was closed")


def test_wrong_tokens_are_counted(server: Server) -> None:
    def counted() -> int:
        return counters.read(server.folder / "calls").values["wrong_tokens"]

    before = counted()
    for token in ("wrong", "wrong too", "token-of-far"):
        with asking(server, token) as client:
            assert client.post("/v1/ping").status_code in (401, 403)
    wait_for(lambda: counted() >= before + 3)
    assert counted() == before + 3
    with asking(server, NOC) as client:
        assert f"identengine_wrong_tokens_total {before + 3}.0" in client.get("/metrics").text


def answered(client: httpx.Client) -> bool:
    try:
        return client.post("/v1/ping").status_code == 200
    except httpx.TransportError:
        return False


def test_a_body_that_arrives_byte_by_byte_is_answered(server: Server) -> None:
    whole = post("authorize", BODY)
    with connected(server) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(whole)):
            slow.sendall(whole[place : place + 1])
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_clients_that_disconnect_are_no_fault(server: Server) -> None:
    before = server.log
    for said in (b"POST", post("authorize", BODY, 100), post("authorize", BODY), post("explain", BODY) * 20):
        for _ in range(5):
            with connected(server) as leaving:
                leaving.sendall(said)
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with asking(server) as client:
        wait_for(lambda: answered(client))
    assert "by a fault of the program" not in server.log.removeprefix(before)
    assert "Traceback" not in server.log


def test_http_delays_no_decision(server: Server) -> None:
    """Print the time of a decision over UDP while HTTP is idle and while it is busy."""
    stop = threading.Event()

    def busy() -> int:
        done = 0
        with asking(server) as client:
            while not stop.is_set():
                done += client.post("/v1/authorize", json=GOOD).status_code == 200
        return done

    def figure(udp: Switch) -> tuple[float, float]:
        times = []
        for _ in range(300):
            began = time.perf_counter()
            udp.send(request("authorize", **GOOD))
            udp.receive()
            times.append(time.perf_counter() - began)
        return median(times) * 1e6, max(times) * 1e6

    with server.udp() as udp, concurrent.futures.ThreadPoolExecutor(4) as clients:
        alone = figure(udp)
        running = [clients.submit(busy) for _ in range(4)]
        try:
            loaded = figure(udp)
        finally:
            stop.set()
        count = sum(one.result(20) for one in running)
    print(f"a decision over UDP: {alone[0]:.0f} µs (most {alone[1]:.0f}); with {count} over HTTP: "
          f"{loaded[0]:.0f} µs (most {loaded[1]:.0f})")  # fmt: skip
    assert count > 0


def test_sigterm_answers_all_requests_that_arrived(tmp_path: Path) -> None:
    make_book(tmp_path)
    with web_serving(tmp_path) as server, contextlib.ExitStack() as opened:
        http = server.http
        half = opened.enter_context(connected(server))
        half.sendall(post("authorize", BODY, len(BODY) + 5))
        idle = opened.enter_context(connected(server))
        idle.sendall(post("ping", b"{}"))
        said = b""
        while not said.endswith(b"}"):
            said += idle.recv(65536)
        waiting = [opened.enter_context(connected(server)) for _ in range(50)]
        decider = server.decider
        os.kill(decider, signal.SIGSTOP)
        for number, one in enumerate(waiting):
            one.sendall(post("authorize", json.dumps(GOOD | {"call_id": f"c{number}"}).encode()))
        server.signal(signal.SIGTERM)
        os.kill(decider, signal.SIGCONT)
        for one in waiting:
            said = read_all(one)
            assert said.startswith(b"HTTP/1.1 200 OK")
            assert b'"accepted":true' in said
        assert read_all(idle) == b""
        half.sendall(b"     ")
        with contextlib.suppress(ConnectionError):
            assert read_all(half).startswith(b"HTTP/1.1 ")
        assert server.ended() == 0
        wait_for(lambda: not runs(http))
        with pytest.raises(ConnectionRefusedError), connected(server):
            pass
        assert "ALARM" not in server.log


def test_a_supervisor_that_is_killed_leaves_no_http_process(tmp_path: Path) -> None:
    make_book(tmp_path)
    server = Server(tmp_path, CONFIG)
    try:
        wait_for_http(server)
        processes = [server.http, server.decider]
        server.process.kill()
        server.ended()
        wait_for(lambda: not any(map(runs, processes)))
    finally:
        if server.process.poll() is None:
            server.kill()
    with pytest.raises(ConnectionRefusedError), connected(server):
        pass
