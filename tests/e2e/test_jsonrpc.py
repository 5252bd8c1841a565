"""JSON-RPC against a real server, over UDP and TCP."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import TCP, UDP, Switch, request

from identengine.model.records import Client

GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("jsonrpc")
    crowd = [ip_account(n, "10.0.0.9", tech_prefix=f"{n}#") for n in range(100, 150)]
    put_rows(folder / "store", [ip_account(1, "10.0.0.1"), *crowd], [Client(id=1, name="one")])
    with serving(folder) as running:
        yield running


@pytest.fixture(params=["udp", "tcp"])
def ask(request: pytest.FixtureRequest, server: Server) -> Callable[[bytes], Any]:
    return server.ask_udp if request.param == "udp" else server.ask_tcp


@pytest.mark.parametrize("method", ["authorize", "identify"])
def test_a_decision(ask: Callable[[bytes], Any], method: str) -> None:
    answer = ask(request(method, "id-1", **GOOD))
    assert answer["id"] == "id-1"
    assert answer["result"]["account_id"] == 1
    assert answer["result"]["version"] == 1
    assert answer["result"].get("unreserved") == (True if method == "authorize" else None)  # there is no call id


def test_a_reject(ask: Callable[[bytes], Any]) -> None:
    result = ask(request(src_ip="192.0.2.1", dst_number="44"))["result"]
    assert (result["accepted"], result["reason"], result["sip_code"], result["q850"]) == (
        False,
        "unknown_source",
        403,
        21,
    )


def test_ping(ask: Callable[[bytes], Any], server: Server) -> None:
    result = ask(request("ping"))["result"]
    assert (result["version"], result["pid"]) == (1, server.decider)
    assert result["uptime"] > 0


@pytest.mark.parametrize("written", ["1", "1.0", '"1"', "null", "12345678901234567890123"])
def test_ids_keep_their_type(server: Server, written: str) -> None:
    message = f'{{"jsonrpc":"2.0","id":{written},"method":"ping"}}'.encode()
    with server.udp() as udp:
        udp.send(message)
        assert udp.receive_raw().startswith(b'{"jsonrpc":"2.0","id":%b,' % written.encode())
    with server.tcp() as tcp:
        tcp.send(message)
        assert tcp.receive_raw().startswith(b'{"jsonrpc":"2.0","id":%b,' % written.encode())


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{}", -32600),
        (b"[]", -32600),
        (request("ping", [1]), -32600),
        (request("finish", call_id="1"), -32601),
        (request("stop"), -32602),
        (request("sync"), -32602),
        (request(src_ip=5), -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"authorize","params":["10.0.0.1"]}', -32602),
        (b"{]", -32700),
    ],
)
def test_errors(ask: Callable[[bytes], Any], message: bytes, code: int) -> None:
    assert ask(message)["error"]["code"] == code


def test_a_notification_is_not_answered(server: Server) -> None:
    with server.udp() as udp:
        udp.send(request(message_id=..., **GOOD))
        udp.send(request("ping", "next"))
        assert udp.receive()["id"] == "next"
    with server.tcp() as tcp:
        tcp.send(request(message_id=..., **GOOD) + request("ping", "next"))
        assert tcp.answers(1)[0]["id"] == "next"


def test_a_batch(ask: Callable[[bytes], Any]) -> None:
    batch = (
        b"[" + b",".join([request("ping", 1), request("nothing", 2), b"3", request(message_id=4, **GOOD)]) + b"]"
    )
    answers = ask(batch)
    assert [answer["id"] for answer in answers] == [1, 2, None, 4]
    assert answers[3]["result"]["account_id"] == 1


def test_a_batch_that_needs_several_datagrams(server: Server) -> None:
    with server.udp() as udp:
        udp.send(b"[" + b",".join(request(message_id=n, **GOOD) for n in range(60)) + b"]")
        ids: list[int] = []
        while len(ids) < 60:
            answer = udp.receive_raw()
            assert len(answer) <= 1400
            ids += [one["id"] for one in json.loads(answer)]
    assert ids == list(range(60))


def test_an_explanation_over_udp_is_cut(server: Server) -> None:
    message = request("explain", src_ip="10.0.0.9", dst_number="44")
    with server.udp() as udp:
        udp.send(message)
        answer = udp.receive_raw()
    assert len(answer) <= 1400
    assert json.loads(answer)["result"]["cut"] is True
    whole = server.ask_tcp(message)["result"]
    assert whole["cut"] is False
    assert len(whole["candidates"]) == 50


def test_what_comes_in_one_write_is_answered_in_one_write(server: Server) -> None:
    with server.tcp() as tcp:
        tcp.send(b"\n".join(request(message_id=n, **GOOD) for n in range(20)) + b"\n")
        first = tcp.socket.recv(65536)
    assert first.count(b"\n") == 20
    assert [json.loads(line)["id"] for line in first.splitlines()] == list(range(20))


def test_a_stream_byte_by_byte(server: Server) -> None:
    with server.tcp() as tcp:
        tcp.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b" " + request(**GOOD) + b"\r\n" + request("ping", 2):
            tcp.send(bytes([byte]))
        answers = tcp.answers(2)
    assert [answer["id"] for answer in answers] == [1, 2]


def test_a_stream_that_goes_wrong_is_answered_up_to_there_and_closed(server: Server) -> None:
    with server.tcp() as tcp:
        tcp.send(request("ping", 1) + request("ping", 2) + b"nonsense" + request("ping", 3))
        answers = tcp.rest()
    assert [answer["id"] for answer in answers] == [1, 2, None]
    assert answers[2]["error"]["code"] == -32700


def test_a_message_cut_off_by_the_end_is_answered(server: Server) -> None:
    with server.tcp() as tcp:
        tcp.send(request("ping", 1) + b'{"jsonrpc":"2.0",')
        tcp.end_sending()
        answers = tcp.rest()
    assert [answer["id"] for answer in answers] == [1, None]
    assert answers[1]["error"]["code"] == -32700


def test_half_closed_connections_get_their_answers(server: Server) -> None:
    with server.tcp() as tcp:
        tcp.send(request("ping", 1) + request("ping", 2))
        tcp.end_sending()
        assert [answer["id"] for answer in tcp.rest()] == [1, 2]


def test_who_may_ask(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("peers")
    accounts = [ip_account(1, "10.0.0.1", term_port=5060)]
    put_rows(folder / "store", accounts, [Client(id=1, name="one")])
    config = """
[[switch]]
name = "whole"
addresses = ["127.0.0.0/16"]
[[switch]]
name = "within"
addresses = ["127.0.9.0/24"]
match_port = "never"
"""
    with serving(folder, config) as server:

        def ask_from(source: str) -> Any:
            with server.switch(UDP, address=source) as udp:
                return udp.ask("authorize", **GOOD)["accepted"]

        # The longest network decides which switch it is, and so which options hold.
        assert ask_from("127.0.0.1") is False
        assert ask_from("127.0.9.9") is True

        with server.switch(UDP, address="127.1.0.1") as stranger:
            stranger.send(request("ping"))
            assert ask_from("127.0.9.9")  # asked later, and answered
            stranger.socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                stranger.receive()
        with server.switch(address="127.1.0.1") as stranger:
            assert stranger.is_closed()
        server.logged("unknown peer from '127.1.0.1'")


def test_ipv6(tmp_path_factory: pytest.TempPathFactory) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    folder = tmp_path_factory.mktemp("ipv6")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    with serving(folder, '[listen]\nudp = ["[::1]:0"]\ntcp = ["[::1]:0"]\n') as server:
        for wire in (UDP, TCP):
            with Switch.connect(server.ports[wire.transport], wire, to="::1") as switch:
                assert switch.ask("authorize", **GOOD)["account_id"] == 1


def test_no_password_is_ever_logged(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("log")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    with serving(folder, '[log]\nformat = "json"\nlevel = "debug"') as server:
        for _ in range(3):
            server.authorize(name="joe", password="hush-hush", src_ip="192.0.2.1\n{", dst_number="1")
        server.ask_udp(request(password=["hush-hush"]))
        server.logged("rejected invalid_request")
        server.stop()
        assert "hush" not in server.log
        logged = [json.loads(line) for line in server.log.splitlines()]
        rejects = [line["message"] for line in logged if "rejected" in line["message"]]
    assert rejects
    assert all("'192.0.2.1\\n{'" in line for line in rejects)
