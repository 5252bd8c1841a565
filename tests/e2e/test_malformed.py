"""Malformed messages are counted by code and switch and are in the log, on every way to ask (interfaces.md 3)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import HOST
from support.books import ip_account, put_rows
from support.cli import run
from support.http import asking, wait_for_http
from support.server import Server, serving
from support.switch import TCP, UDP, WIRES, Wire, call
from support.tls import TLS_FILES, Authority
from support.waiting import wait_for

from identengine.model.records import Client
from identengine.stats import file as counters

TOKEN, WRONG, READER, SECRET = "token-of-shown-hush", "no-token-hush", "token-of-noc-hush", "pass-hush"
CONFIG = f"""
[listen]
udp = ["{HOST}:0"]
tcp = ["{HOST}:0"]
tls = ["{HOST}:0"]
http = "{HOST}:0"
{TLS_FILES}
[limits]
datagram_age_ms = 60000
message_bytes = 4096
[[switch]]
name = "plain"
addresses = ["127.0.0.2"]
[[switch]]
name = "shown"
addresses = ["127.0.0.1"]
token = "{TOKEN}"
[[token]]
name = "noc"
role = "read"
token = "{READER}"
"""
PARSE, INVALID, NO_METHOD, PARAMS = -32700, -32600, -32601, -32602
NOT_PARSABLE = {
    ("lines", "json"): b'{"a": ]',
    ("netstrings", "json"): b"1:{,",
    ("prefixed", "msgpack"): b"\0\0\0\1\xc1",
    (None, "json"): b"{]",
    (None, "msgpack"): b"\xc1",
}
PLAIN = "127.0.0.2"
AUTHORITY = Authority()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("malformed")
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    AUTHORITY.certify(folder)
    with serving(folder, CONFIG) as running:
        wait_for_http(running)
        yield running
        assert "hush" not in running.log


def table(server: Server) -> dict[str, dict[int, int]]:
    return counters.read(server.folder / "calls").malformed


def total(by_code: dict[int, int]) -> int:
    return sum(by_code.values())


class Grown:
    """The growth of the counts since this object was made."""

    def __init__(self, server: Server) -> None:
        def is_written() -> bool:
            snapshot = counters.read(server.folder / "calls")
            return sum(map(total, snapshot.malformed.values())) == snapshot.values["malformed_messages"]

        wait_for(is_written)  # the table is up to a second behind the counters
        self._server = server
        self._before = table(server)
        self._totals = counters.read(server.folder / "calls").values

    def __call__(self) -> dict[str, dict[int, int]]:
        grown: dict[str, dict[int, int]] = {}
        for switch, by_code in table(self._server).items():
            for code, count in by_code.items():
                if more := count - self._before.get(switch, {}).get(code, 0):
                    grown.setdefault(switch, {})[code] = more
        return grown

    def is_now(self, expected: dict[str, dict[int, int]]) -> None:
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self() == expected)
        assert self() == expected
        totals = counters.read(self._server.folder / "calls").values
        assert totals["malformed_messages"] - self._totals["malformed_messages"] == sum(
            map(total, expected.values())
        )


@pytest.fixture
def grown(server: Server) -> Callable[[dict[str, dict[int, int]]], None]:
    return Grown(server).is_now


def lines(server: Server, text: str) -> list[str]:
    return [line for line in server.log.splitlines() if text in line]


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_each_error_is_counted_and_logged(
    server: Server, wire: Wire, grown: Callable[[dict[str, dict[int, int]]], None]
) -> None:
    field = f"call_of_{wire.transport}_{wire.framing}_{wire.encoding}"
    with server.switch(wire, AUTHORITY.client(), PLAIN) as switch:

        def code(message: object) -> int:
            switch.send(message)
            found: int = switch.receive()["error"]["code"]
            return found

        assert switch.exchange("stop", {"call_id": {field: 1}})["error"]["code"] == PARAMS
        assert switch.exchange("start", {"call_id": "c", "interval": 0})["error"]["code"] == PARAMS
        assert switch.exchange("sync", {"list_id": " "})["error"]["code"] == PARAMS
        assert switch.exchange("park", {})["error"]["code"] == NO_METHOD
        assert code({"jsonrpc": "1.0", "id": 1, "method": "stop"}) == INVALID
        assert code([]) == INVALID
        switch.send([call("stop", 1, call_id=[1]), call("ping", 2), 5])
        assert len(switch.receive()) == 3
        # No answer is due, so the counter and the log are all that shows these.
        switch.send(call("stop", ..., call_id=5.5))
        switch.send(call("park", ...))
        switch.send({"jsonrpc": "2.0", "id": 1, "result": {}})
        assert "result" in switch.exchange("ping", {})
        # Good messages and rejected calls are not malformed.
        assert (
            switch.exchange("authorize", {"src_ip": "no address", "dst_number": "44"})["result"]["accepted"]
            is False
        )
        assert "result" in switch.exchange("stop", {"call_id": "never"})
        assert code(NOT_PARSABLE[wire.framing, wire.encoding]) == PARSE
    grown({"plain": {PARAMS: 5, NO_METHOD: 2, INVALID: 4, PARSE: 1}})

    def logged() -> list[str]:
        with server.switch(wire, AUTHORITY.client(), PLAIN) as again:  # the line of this second may name another
            again.exchange("stop", {"call_id": {field: 1}})
        return lines(server, field)

    line = wait_for(logged)[0]
    assert re.search(
        rf"warning malformed messages from plain at {PLAIN}: \d+; the first has error -32602, call_id: ", line
    )
    assert f'{{"{field}":1}}' in line


@pytest.mark.parametrize("raw", [b"\x01", b'{"a":', b"9999999:", b"12x", b'{"a":' + b"[" * 100], ids=repr)
def test_a_stream_that_breaks_is_counted(
    server: Server, raw: bytes, grown: Callable[[dict[str, dict[int, int]]], None]
) -> None:
    with server.switch(TCP, address=PLAIN) as switch:
        switch.send(raw)
        switch.end_sending()
        assert b"-32700" in switch.socket.recv(65536)
    grown({"plain": {PARSE: 1}})


@pytest.mark.parametrize("raw", [b"hello", b"*1\r\n$x\r\n", b"PING 'x\r\n", b"*1\r\n$99999\r\n"], ids=repr)
def test_a_stream_of_resp_that_breaks_is_counted(
    server: Server, raw: bytes, grown: Callable[[dict[str, dict[int, int]]], None]
) -> None:
    with server.switch(TCP, address=PLAIN) as switch:
        switch.send(raw)
        switch.end_sending()
        assert switch.socket.recv(65536).startswith(b"-ERR Protocol error: ")
    grown({"plain": {PARSE: 1}})


def test_wrong_commands_of_resp_are_counted(
    server: Server, grown: Callable[[dict[str, dict[int, int]]], None]
) -> None:
    with server.switch(TCP, address=PLAIN) as switch:
        switch.send(b"NOPE\r\nECHO\r\nIDENT.AUTH x\r\nIDENT.STOP call_id=\r\nHELLO 3\r\nQUIT\r\n")
        while switch.socket.recv(65536):
            pass
    grown({"plain": {NO_METHOD: 1, INVALID: 1, PARAMS: 3}})


def test_commands_of_resp_without_a_token_are_counted(
    server: Server, grown: Callable[[dict[str, dict[int, int]]], None]
) -> None:
    with server.switch(TCP) as switch:
        switch.send(
            f"PING\r\nAUTH {WRONG}\r\nAUTH {TOKEN}\r\nIDENT.AUTH password={SECRET}\r\nNOPE\r\nQUIT\r\n".encode()
        )
        while switch.socket.recv(65536):
            pass
    grown({"unknown": {PARAMS: 2}, "shown": {NO_METHOD: 1}})


def test_a_datagram_that_is_too_large_is_counted(
    server: Server, grown: Callable[[dict[str, dict[int, int]]], None]
) -> None:
    with server.switch(UDP, address=PLAIN) as switch:
        assert switch.exchange("stop", {"call_id": "x" * 5000})["error"]["code"] == PARSE
    grown({"plain": {PARSE: 1}})


def test_the_switch_is_known_by_the_token_of_the_message(
    server: Server, grown: Callable[[dict[str, dict[int, int]]], None]
) -> None:
    with server.udp() as switch:
        switch.exchange("stop", {"call_id": {"by": "token"}, "token": TOKEN})
        switch.exchange("stop", {"call_id": 5.5})
        switch.exchange("stop", {"call_id": 5.5, "token": WRONG})
        switch.exchange("stop", {"call_id": "c", "token": WRONG})
        switch.exchange("stop", {"call_id": "c"})
        switch.exchange("stop", {"call_id": "c", "token": [TOKEN]})
        switch.exchange("auth", {"token": TOKEN})
    grown({"shown": {PARAMS: 1}, "unknown": {PARAMS: 5, NO_METHOD: 1}})
    server.logged(f"malformed messages from shown at {HOST}: 1; ")
    server.logged(f"malformed messages from {HOST}, a host without a known switch: ")
    with server.tcp() as switch:
        switch.exchange("auth", {"token": WRONG})
        switch.exchange("auth", {"token": TOKEN})
        switch.exchange("stop", {"call_id": 5.5})
    grown({"shown": {PARAMS: 2}, "unknown": {PARAMS: 6, NO_METHOD: 1}})


def test_bodies_of_http_are_counted(server: Server, grown: Callable[[dict[str, dict[int, int]]], None]) -> None:
    with asking(server, TOKEN) as client:
        for path, body in (
            ("stop", b'{"call_id": {"of": "http"}}'),
            ("stop", b'{"call_id": 1.5}'),
            ("start", b'{"call_id": "c", "interval": 0}'),
            ("sync", b"[]"),
            ("stop", b""),
            ("stop", b"{]"),
            ("stop", b'{"call_id": "\xff"}'),
        ):
            assert client.post(f"/v1/{path}", content=body).status_code == 400, body
        assert client.post("/v1/stop", content=b'{"call_id": "' + b"x" * 5000 + b'"}').status_code == 413
        assert client.post("/v1/stop", json={"call_id": "fine"}).status_code == 200
        assert (
            client.post("/v1/authorize", json={"dst_number": "x" * 99}).json()["reason"] == "invalid_destination"
        )
    with asking(server, WRONG) as client:
        assert client.post("/v1/stop", content=b"{]").status_code == 401
    with asking(server, READER) as client:
        assert client.post("/v1/stop", content=b"{]").status_code == 403
    grown({"shown": {PARAMS: 5, PARSE: 3}})
    server.logged("malformed messages from shown: ")
    wait_for(lambda: lines(server, '{"of":"http"}') or lines(server, '{"of": "http"}'))


def test_secrets_are_not_logged_and_lines_are_bounded(server: Server) -> None:
    with server.switch(UDP, address=PLAIN) as switch:
        for params in (
            {"password": [SECRET]},
            {"digest": {"response": [SECRET]}},
            {"digest": [SECRET]},
            {"token": 5, "src_ip": 5},
            {"name": ["x" * 1000]},
        ):
            switch.exchange("authorize", {"dst_number": "44", **params})
        switch.exchange("a\nb\x1b[2J" + "y" * 2000, {})
    wait_for(lambda: any(len(line) > 100 for line in lines(server, "from plain")))
    found = lines(server, "malformed")
    assert all(len(line) < 500 and line.isprintable() for line in found)


def test_a_flood_is_one_line_a_second(server: Server, grown: Callable[[dict[str, dict[int, int]]], None]) -> None:
    before = len(lines(server, "from plain"))
    with server.switch(TCP, address=PLAIN) as switch:
        for _ in range(20):
            switch.send(*[call("stop", n, call_id={"of": "a flood"}) for n in range(50)])
            switch.answers(50)
    grown({"plain": {PARAMS: 1000}})
    wait_for(
        lambda: sum(int(re.findall(r": (\d+);", line)[0]) for line in lines(server, "from plain")[before:]) >= 1000
    )
    assert len(lines(server, "from plain")) - before < 20


def test_they_are_in_the_metrics_and_in_stats_and_survive_a_restart(tmp_path: Path) -> None:
    put_rows(tmp_path / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    AUTHORITY.certify(tmp_path)
    for round_ in (1, 2):
        with serving(tmp_path, CONFIG) as server:
            wait_for_http(server)
            with server.switch(TCP, address=PLAIN) as switch:
                switch.exchange("stop", {"call_id": {"a": 1}})
            wait_for(lambda: total(table(server).get("plain", {})) == round_)  # noqa: B023 - called at once
            with asking(server, READER) as client:
                families = text_string_to_metric_families(client.get("/metrics").text)
            samples = [
                (sample.labels, sample.value)
                for family in families
                for sample in family.samples
                if sample.name == "identengine_malformed_messages_total"
            ]
            assert samples == [({"code": "-32602", "switch": "plain"}, round_)]
    shown: Any = run("stats", "--config", tmp_path / "identengine.toml", "--json").json
    assert shown["malformed"] == [{"switch": "plain", "code": -32602, "messages": 2}]
    assert shown["counters"]["malformed_bad_params"] == 2
    text = run("stats", "--config", tmp_path / "identengine.toml").out
    assert re.search(r"plain +-32602 +2\b", text), text
