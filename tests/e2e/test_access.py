"""Tokens, addresses and strangers, against a real server (interfaces.md 3, "Who may ask")."""

from __future__ import annotations

import contextlib
import signal
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import CONNECTED, OVER_TCP, UDP, WIRES, Switch, Wire, call, is_closed, request
from support.tls import TLS_FILES, Authority
from support.waiting import wait_for

from identengine.model.records import Client
from identengine.stats import file as counters

LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\n'
TOKEN, OTHER, WRONG = "token-of-one-hush", "token-of-two-hush", "token-of-nobody-hush"
SWITCHES = """
[[switch]]
name = "{one}"
addresses = ["127.0.0.1"]
token = "{token}"
[[switch]]
name = "two"
addresses = ["127.0.0.1"]
token = "token-of-two-hush"
[[switch]]
name = "plain"
addresses = ["127.0.0.2"]
"""
GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}
OVER_UDP = tuple(wire for wire in WIRES if wire.transport == "udp")
STRANGER = "127.0.0.3"
AUTHORITY = Authority()


def by_name(wire: Wire) -> str:
    return wire.name


def config(token: str = TOKEN, one: str = "one", more: str = "") -> str:
    return LISTEN + TLS_FILES + '[log]\nlevel = "debug"\n' + more + SWITCHES.format(token=token, one=one)


def made(folder: Path) -> Path:
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    AUTHORITY.certify(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(made(tmp_path_factory.mktemp("who")), config()) as running:
        yield running
        assert "Traceback" not in running.log
        assert "hush" not in running.log


def count(server: Server, name: str) -> int:
    return counters.read(server.folder / "calls").values[name]


def grows(server: Server, name: str, before: int, by: int) -> None:
    wait_for(lambda: count(server, name) - before >= by)
    assert count(server, name) - before == by


# ---- strangers


@pytest.mark.parametrize("wire", OVER_UDP, ids=by_name)
def test_strangers_get_nothing_over_udp(server: Server, wire: Wire) -> None:
    before = count(server, "datagrams_dropped_unknown_peer")
    with server.switch(wire, address=STRANGER) as stranger:
        stranger.send(call("ping"), call("authorize", **GOOD, token=TOKEN), [call("stop", call_id="x")])
        stranger.socket.send(b"{nonsense")
        stranger.socket.send(b"")
        grows(server, "datagrams_dropped_unknown_peer", before, 5)
        assert stranger.has_nothing()
    server.logged(f'unknown peer from "{STRANGER}"')


@pytest.mark.parametrize("wire", OVER_TCP, ids=by_name)
def test_strangers_are_closed_over_tcp(server: Server, wire: Wire) -> None:
    before = count(server, "connections_refused_unknown_peer")
    with server.switch(wire, address=STRANGER) as stranger:
        assert stranger.is_closed()
    grows(server, "connections_refused_unknown_peer", before, 1)


def test_strangers_are_closed_over_tls(server: Server) -> None:
    before = count(server, "connections_refused_unknown_peer")
    with socket.create_connection((HOST, server.ports["tls"]), 20, (STRANGER, 0)) as stranger:
        assert is_closed(stranger), "not even a handshake"
    grows(server, "connections_refused_unknown_peer", before, 1)


# ---- tokens


@pytest.mark.parametrize("wire", OVER_UDP, ids=by_name)
def test_each_datagram_brings_its_token(server: Server, wire: Wire) -> None:
    wrong = count(server, "wrong_tokens")
    with server.switch(wire) as switch:
        for token in (TOKEN, OTHER):
            assert switch.exchange("authorize", {**GOOD, "token": token})["result"]["accepted"]
        for method in ("authorize", "identify", "explain", "ping", "start", "stop", "sync", "switch_up"):
            for wrong_one in (None, WRONG, TOKEN[:-1], "", 5):
                answer = switch.exchange(method, {**GOOD, "call_id": "x", "token": wrong_one})
                assert (answer["error"]["code"], answer["error"]["data"]) == (-32602, {"field": "token"})
                assert "hush" not in str(answer)
        assert switch.exchange("auth", {"token": TOKEN})["error"]["code"] == -32601
        switch.send(call("stop", ..., token=WRONG), call("authorize", ..., token=TOKEN, call_id="note", **GOOD))
        assert switch.exchange("stop", {"call_id": "note", "token": TOKEN})["result"]["freed"] == 1
        # A switch cannot stop the calls of another one.
        assert switch.exchange("authorize", {**GOOD, "call_id": "c", "token": TOKEN})["result"]["accepted"]
        assert switch.exchange("stop", {"call_id": "c", "token": OTHER})["result"]["freed"] == 0
        assert switch.exchange("stop", {"call_id": "c", "token": TOKEN})["result"]["freed"] == 1
    grows(server, "wrong_tokens", wrong, 8 * 3 + 1)
    server.logged('wrong token from "127.0.0.1"')


@pytest.mark.parametrize("wire", CONNECTED, ids=by_name)
def test_a_connection_shows_its_token_once(server: Server, wire: Wire) -> None:
    wrong = count(server, "wrong_tokens")
    with server.switch(wire, AUTHORITY.client()) as switch:
        assert switch.exchange("ping", {})["error"]["data"] == {"field": "token"}
        for params in ({}, {"token": 5}, {"token": WRONG}, {"switch": "one"}):
            answer = switch.exchange("auth", params)
            assert (answer["error"]["code"], answer["error"]["data"]) == (-32602, {"field": "token"})
            assert "hush" not in str(answer)
        assert switch.exchange("authorize", GOOD)["error"]["data"] == {"field": "token"}
        # Together with the next request, in one write.
        switch.send(call("auth", 1, token=TOKEN), call("authorize", 2, call_id="a", **GOOD))
        assert switch.receive()["result"] == {"ok": True}
        assert switch.receive()["result"]["accepted"]
        assert switch.exchange("auth", {"token": WRONG})["error"]["data"] == {"field": "token"}
        assert switch.exchange("stop", {"call_id": "a"})["result"]["freed"] == 1, (
            "a wrong token does not change the switch"
        )
    with server.switch(wire, AUTHORITY.client()) as switch:
        assert switch.exchange("authorize", {**GOOD, "token": TOKEN})["result"]["accepted"], "or with each message"
        assert "error" in switch.exchange("authorize", GOOD)
    grows(server, "wrong_tokens", wrong, 2)


def test_who_needs_no_token_may_send_anything_as_one(server: Server) -> None:
    for wire in WIRES:
        with server.switch(wire, AUTHORITY.client(), "127.0.0.2") as switch:
            for token in (WRONG, 5, None, [TOKEN]):
                answer = switch.exchange("authorize", {**GOOD, "token": token})
                assert answer["result"]["accepted"], wire
                assert "hush" not in str(answer)


def test_a_token_in_what_cannot_be_read_is_in_no_answer(server: Server) -> None:
    for wire in WIRES:
        with server.switch(wire, AUTHORITY.client(), seconds=20) as switch:
            for message in (
                call("authorize", src_ip=5, token=TOKEN),
                call("auth", token=[TOKEN]),
                call("auth", token={"x": TOKEN}),
                call("authorize", token=TOKEN, digest=5),
            ):
                switch.send(message)
                assert "hush" not in str(switch.receive())


@pytest.mark.parametrize("raw", [b"\xdc\x00\x11" + b"\x01" * 17, b"", b"{}", b"[{}]", b"nonsense" * 50])
def test_a_datagram_without_token_is_not_reflected(server: Server, raw: bytes) -> None:
    before = count(server, "answers_withheld")
    with server.switch(OVER_UDP[0]) as forged:
        forged.socket.send(raw)
        grows(server, "answers_withheld", before, 1)
        assert forged.has_nothing()
    server.logged("errors over UDP that were not sent")


@pytest.mark.parametrize("wire", CONNECTED, ids=by_name)
def test_a_connection_without_token_is_closed_after_few_bytes_or_messages(server: Server, wire: Wire) -> None:
    with server.switch(wire, AUTHORITY.client()) as switch:
        for _ in range(15):
            assert switch.exchange("ping", {})["error"]["data"] == {"field": "token"}
        switch.send(call("ping"), call("ping"), call("ping"))
        assert switch.receive()["error"]["code"] == -32602
        assert switch.is_closed()
    with server.switch(wire, AUTHORITY.client()) as switch:
        switch.send(call("authorize", padding="x" * 5000, **GOOD))
        assert switch.receive()["error"]["code"] == -32700
        assert switch.is_closed()
    with server.switch(wire, AUTHORITY.client()) as switch:
        switch.send(call("authorize", token=TOKEN, padding="x" * 5000, **GOOD))
        assert switch.receive()["result"]["accepted"]


# ---- changes by SIGHUP


def test_other_tokens_and_switches_while_connections_are_open(tmp_path: Path) -> None:
    with serving(made(tmp_path), config()) as server:
        json, tls = CONNECTED[0], next(wire for wire in CONNECTED if wire.transport == "tls")
        with (
            server.switch(json) as one,
            server.switch(json) as two,
            server.switch(tls, AUTHORITY.client()) as over_tls,
            server.switch(json) as nobody,
            server.switch(json, address="127.0.0.2") as plain,
            server.switch(OVER_UDP[0]) as udp,
        ):
            assert one.exchange("auth", {"token": TOKEN})["result"] == {"ok": True}
            assert two.exchange("auth", {"token": OTHER})["result"] == {"ok": True}
            assert over_tls.exchange("auth", {"token": TOKEN})["result"] == {"ok": True}
            assert two.exchange("authorize", {**GOOD, "call_id": "of two"})["result"]["accepted"]
            server.write_config(config("token-again-hush").replace("127.0.0.2", "127.0.0.4"))
            server.signal(signal.SIGHUP)
            server.logged("SIGHUP: changed: [[switch]]")
            assert one.is_closed(), "its token was removed"
            assert over_tls.is_closed()
            assert plain.is_closed(), "its address was removed"
            assert two.exchange("stop", {"call_id": "of two"})["result"]["freed"] == 1, (
                "nothing changed for this one"
            )
            assert nobody.exchange("auth", {"token": TOKEN})["error"]["data"] == {"field": "token"}
            assert nobody.exchange("auth", {"token": "token-again-hush"})["result"] == {"ok": True}
            assert "error" in udp.exchange("ping", {"token": TOKEN})
            assert "result" in udp.exchange("ping", {"token": "token-again-hush"})
            with server.switch(json, address="127.0.0.4") as known:
                assert "result" in known.exchange("ping", {})
        assert "hush" not in server.log


def test_the_longest_network_is_the_switch_and_others_are_strangers(tmp_path: Path) -> None:
    folder = tmp_path
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

        # The longest network decides the switch, and so the options.
        assert ask_from("127.0.0.1") is False
        assert ask_from("127.0.9.9") is True

        with server.switch(UDP, address="127.1.0.1") as stranger:
            stranger.send(request("ping"))
            assert ask_from("127.0.9.9")  # a later request is answered
            assert stranger.has_nothing()
        with server.switch(address="127.1.0.1") as stranger:
            assert stranger.is_closed()
        server.logged('unknown peer from "127.1.0.1"')


# ---- limits


def test_connections_of_a_switch_count_once_its_token_is_shown(tmp_path: Path) -> None:
    limits = "[limits]\nconnections_per_switch = 3\nconnections = 8\n"
    with serving(made(tmp_path), config(more=limits)) as server:

        def opened(address: str = HOST) -> Switch:
            return server.switch(address=address)

        def auth(tcp: Switch, token: str) -> bool:
            try:  # a connection that is refused ends behind the answer, so that no ping is answered
                shown = tcp.exchange("auth", {"token": token})
                return shown.get("result") == {"ok": True} and "result" in tcp.exchange("ping", {})
            except (EOFError, ConnectionError):
                return False

        held: list[Switch] = []
        try:
            for _ in range(3):
                held.append(opened())
                assert auth(held[-1], TOKEN)
            held.append(opened())
            assert not auth(held[-1], TOKEN), "a fourth of the same switch"
            held.pop().close()
            held.append(opened())
            assert auth(held[-1], OTHER), "another switch at the same address"
            held += [opened("127.0.0.2") for _ in range(3)]
            with opened("127.0.0.2") as fourth:
                assert fourth.is_closed()
            held.append(opened())
            assert auth(held[-1], OTHER)
            with opened() as ninth:
                assert ninth.is_closed()
            assert count(server, "connections_refused_too_many_of_switch") >= 2
            held.pop(0).close()
            wait_for(lambda: _let_in(opened, auth))
        finally:
            for one in held:
                one.close()


def _let_in(opened: Callable[[], Switch], auth: Callable[[Switch, str], bool]) -> bool:
    with opened() as tcp:
        try:
            return auth(tcp, TOKEN)
        except ConnectionError:
            return False


# ---- a flood


def test_who_shows_no_token_makes_room_for_who_does(tmp_path: Path) -> None:
    limits = "[limits]\nconnections = 3\nconnections_per_switch = 3\n"
    wire = CONNECTED[0]
    with serving(made(tmp_path), config(more=limits)) as server, contextlib.ExitStack() as opened:
        idle = [opened.enter_context(server.switch(wire)) for _ in range(3)]
        for one in idle:
            assert "error" in one.exchange("ping", {})
        for _ in range(3):
            right = opened.enter_context(server.switch(wire))
            assert right.exchange("auth", {"token": TOKEN})["result"] == {"ok": True}
        assert all(one.is_closed() for one in idle)
        with server.switch(wire) as late:
            assert late.is_closed(), "authenticated connections stay"
        assert right.exchange("ping", {})["result"]


def test_who_shows_no_token_is_not_here_for_long(tmp_path: Path) -> None:
    limits = "[limits]\nidle_seconds = 2\n"
    with serving(made(tmp_path), config(more=limits)) as server, server.switch(CONNECTED[0]) as stranger:

        def ended() -> bool:
            try:
                stranger.exchange("ping", {})
            except (OSError, EOFError):
                return True
            return False

        wait_for(ended)


def test_wrong_tokens_do_not_slow_a_right_one(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong token costs one look-up, as a valid one does, and does not block other peers at the address."""
    with server.switch(OVER_UDP[0]) as right, server.switch(OVER_UDP[0]) as wrong:

        def waits() -> list[float]:
            found = []
            for _ in range(200):
                began = time.perf_counter()
                assert right.exchange("authorize", {**GOOD, "token": TOKEN})["result"]["accepted"]
                found.append((time.perf_counter() - began) * 1000)
            return sorted(found)

        before = waits()
        ends = threading.Event()
        tokens = [wrong.encoded(call("authorize", n, token=f"hush {n}", **GOOD)) for n in range(1000)]

        def flood() -> None:
            wrong.socket.settimeout(0.05)
            while not ends.is_set():
                for token in tokens:
                    wrong.socket.send(token)
                    with contextlib.suppress(TimeoutError):
                        wrong.socket.recv(2000)

        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            during = waits()
        finally:
            ends.set()
            flooder.join(20)
    ratio = statistics.median(during) / statistics.median(before)
    with capsys.disabled():
        sys.stdout.write(
            f"\na right token: median {statistics.median(before):.2f} ms; during a flood of wrong ones "
            f"{statistics.median(during):.2f} ms (ratio {ratio:.1f}), p99 {during[197]:.2f} ms"
        )
    assert statistics.median(during) < 250
    assert count(server, "wrong_tokens") > 100
