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

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import CONNECTED, OVER_TCP, WAYS, Way, call, is_gone, speaking
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
OVER_UDP = tuple(way for way in WAYS if way.transport == "udp")
STRANGER = "127.0.0.3"
AUTHORITY = Authority()


def by_name(way: Way) -> str:
    return way.name


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


@pytest.mark.parametrize("way", OVER_UDP, ids=by_name)
def test_strangers_get_nothing_over_udp(server: Server, way: Way) -> None:
    before = count(server, "datagrams_dropped_unknown_peer")
    with speaking(server, way, address=STRANGER, seconds=0.2) as stranger:
        stranger.tell(call("ping"), call("authorize", **GOOD, token=TOKEN), [call("stop", call_id="x")])
        stranger.socket.send(b"{nonsense")
        stranger.socket.send(b"")
        with pytest.raises(TimeoutError):
            stranger.hear()
    grows(server, "datagrams_dropped_unknown_peer", before, 5)
    server.logged(f"unknown peer from '{STRANGER}'")


@pytest.mark.parametrize("way", OVER_TCP, ids=by_name)
def test_strangers_are_closed_over_tcp(server: Server, way: Way) -> None:
    before = count(server, "connections_refused_unknown_peer")
    with speaking(server, way, address=STRANGER) as stranger:
        assert is_gone(stranger.socket)
    grows(server, "connections_refused_unknown_peer", before, 1)


def test_strangers_are_closed_over_tls(server: Server) -> None:
    before = count(server, "connections_refused_unknown_peer")
    with socket.create_connection((HOST, server.ports["tls"]), 20, (STRANGER, 0)) as stranger:
        assert is_gone(stranger), "not even a handshake"
    grows(server, "connections_refused_unknown_peer", before, 1)


# ---- tokens


@pytest.mark.parametrize("way", OVER_UDP, ids=by_name)
def test_each_datagram_brings_its_token(server: Server, way: Way) -> None:
    wrong = count(server, "wrong_tokens")
    with speaking(server, way) as speaker:
        for token in (TOKEN, OTHER):
            assert speaker.ask("authorize", {**GOOD, "token": token})["result"]["accepted"]
        for method in ("authorize", "identify", "explain", "ping", "start", "stop", "sync", "switch_up"):
            for wrong_one in (None, WRONG, TOKEN[:-1], "", 5):
                answer = speaker.ask(method, {**GOOD, "call_id": "x", "token": wrong_one})
                assert (answer["error"]["code"], answer["error"]["data"]) == (-32602, {"field": "token"})
                assert "hush" not in str(answer)
        assert speaker.ask("auth", {"token": TOKEN})["error"]["code"] == -32601
        speaker.tell(call("stop", ..., token=WRONG), call("authorize", ..., token=TOKEN, call_id="note", **GOOD))
        assert speaker.ask("stop", {"call_id": "note", "token": TOKEN})["result"]["freed"] == 1
        # Calls of one switch are not another's.
        assert speaker.ask("authorize", {**GOOD, "call_id": "c", "token": TOKEN})["result"]["accepted"]
        assert speaker.ask("stop", {"call_id": "c", "token": OTHER})["result"]["freed"] == 0
        assert speaker.ask("stop", {"call_id": "c", "token": TOKEN})["result"]["freed"] == 1
    grows(server, "wrong_tokens", wrong, 8 * 3 + 1)
    server.logged("wrong token from '127.0.0.1'")


@pytest.mark.parametrize("way", CONNECTED, ids=by_name)
def test_a_connection_shows_its_token_once(server: Server, way: Way) -> None:
    wrong = count(server, "wrong_tokens")
    with speaking(server, way, AUTHORITY.client()) as speaker:
        assert speaker.ask("ping", {})["error"]["data"] == {"field": "token"}
        for params in ({}, {"token": 5}, {"token": WRONG}, {"switch": "one"}):
            answer = speaker.ask("auth", params)
            assert (answer["error"]["code"], answer["error"]["data"]) == (-32602, {"field": "token"})
            assert "hush" not in str(answer)
        assert speaker.ask("authorize", GOOD)["error"]["data"] == {"field": "token"}
        # With what comes behind it in one write.
        speaker.tell(call("auth", 1, token=TOKEN), call("authorize", 2, call_id="a", **GOOD))
        assert speaker.hear()["result"] == {"ok": True}
        assert speaker.hear()["result"]["accepted"]
        assert speaker.ask("auth", {"token": WRONG})["error"]["data"] == {"field": "token"}
        assert speaker.ask("stop", {"call_id": "a"})["result"]["freed"] == 1, "it still is who it was"
    with speaking(server, way, AUTHORITY.client()) as speaker:
        assert speaker.ask("authorize", {**GOOD, "token": TOKEN})["result"]["accepted"], "or with each message"
        assert "error" in speaker.ask("authorize", GOOD)
    grows(server, "wrong_tokens", wrong, 2)


def test_who_needs_no_token_may_send_anything_as_one(server: Server) -> None:
    for way in WAYS:
        with speaking(server, way, AUTHORITY.client(), "127.0.0.2") as speaker:
            for token in (WRONG, 5, None, [TOKEN]):
                answer = speaker.ask("authorize", {**GOOD, "token": token})
                assert answer["result"]["accepted"], way
                assert "hush" not in str(answer)


def test_a_token_in_what_cannot_be_read_is_in_no_answer(server: Server) -> None:
    for way in WAYS:
        with speaking(server, way, AUTHORITY.client(), seconds=20) as speaker:
            for message in (
                call("authorize", src_ip=5, token=TOKEN),
                call("auth", token=[TOKEN]),
                call("auth", token={"x": TOKEN}),
                call("authorize", token=TOKEN, digest=5),
            ):
                speaker.tell(message)
                assert "hush" not in str(speaker.hear())


# ---- what changes by SIGHUP


def test_other_tokens_and_switches_while_connections_are_open(tmp_path: Path) -> None:
    with serving(made(tmp_path), config()) as server:
        json, tls = CONNECTED[0], next(way for way in CONNECTED if way.transport == "tls")
        with (
            speaking(server, json) as one,
            speaking(server, json) as two,
            speaking(server, tls, AUTHORITY.client()) as over_tls,
            speaking(server, json) as nobody,
            speaking(server, json, address="127.0.0.2") as plain,
            speaking(server, OVER_UDP[0]) as udp,
        ):
            assert one.ask("auth", {"token": TOKEN})["result"] == {"ok": True}
            assert two.ask("auth", {"token": OTHER})["result"] == {"ok": True}
            assert over_tls.ask("auth", {"token": TOKEN})["result"] == {"ok": True}
            assert two.ask("authorize", {**GOOD, "call_id": "of two"})["result"]["accepted"]
            server.write_config(config("token-anew-hush").replace("127.0.0.2", "127.0.0.4"))
            server.signal(signal.SIGHUP)
            server.logged("SIGHUP: changed: [[switch]]")
            assert is_gone(one.socket), "its token is none any more"
            assert is_gone(over_tls.socket)
            assert is_gone(plain.socket), "its address is nobody's any more"
            assert two.ask("stop", {"call_id": "of two"})["result"]["freed"] == 1, "nothing changed for this one"
            assert nobody.ask("auth", {"token": TOKEN})["error"]["data"] == {"field": "token"}
            assert nobody.ask("auth", {"token": "token-anew-hush"})["result"] == {"ok": True}
            assert "error" in udp.ask("ping", {"token": TOKEN})
            assert "result" in udp.ask("ping", {"token": "token-anew-hush"})
            with speaking(server, json, address="127.0.0.4") as known:
                assert "result" in known.ask("ping", {})
        assert "hush" not in server.log


# ---- limits


def test_connections_of_a_switch_count_once_its_token_is_shown(tmp_path: Path) -> None:
    limits = "[limits]\nconnections_per_switch = 3\nconnections = 8\n"
    with serving(made(tmp_path), config(more=limits)) as server:
        json = CONNECTED[0]

        def opened(address: str = HOST) -> socket.socket:
            return socket.create_connection((HOST, server.ports["tcp"]), 20, (address, 0))

        def auth(tcp: socket.socket, token: str) -> bool:
            line = json.encoding == "json" and b'{"jsonrpc":"2.0","id":1,"method":"auth","params":{"token":"%b"}}'
            assert line
            tcp.sendall(line % token.encode())
            return b'"ok":true' in tcp.recv(1000) and not _ends(tcp)

        def _ends(tcp: socket.socket) -> bool:
            tcp.settimeout(0.2)
            try:
                return tcp.recv(1) == b""
            except TimeoutError:
                return False
            finally:
                tcp.settimeout(20)

        held: list[socket.socket] = []
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
                assert is_gone(fourth)
            held.append(opened())
            assert auth(held[-1], OTHER)
            with opened() as ninth:
                assert is_gone(ninth)
            assert count(server, "connections_refused_too_many_of_switch") >= 2
            held.pop(0).close()
            wait_for(lambda: _let_in(opened, auth))
        finally:
            for one in held:
                one.close()


def _let_in(opened: Callable[[], socket.socket], auth: Callable[[socket.socket, str], bool]) -> bool:
    with opened() as tcp:
        try:
            return auth(tcp, TOKEN)
        except ConnectionError:
            return False


# ---- a flood


def test_who_shows_no_token_makes_room_for_who_does(tmp_path: Path) -> None:
    limits = "[limits]\nconnections = 3\nconnections_per_switch = 3\n"
    way = CONNECTED[0]
    with serving(made(tmp_path), config(more=limits)) as server, contextlib.ExitStack() as opened:
        idle = [opened.enter_context(speaking(server, way)) for _ in range(3)]
        for one in idle:
            assert "error" in one.ask("ping", {})
        for _ in range(3):
            right = opened.enter_context(speaking(server, way))
            assert right.ask("auth", {"token": TOKEN})["result"] == {"ok": True}
        assert all(is_gone(one.socket) for one in idle)
        with speaking(server, way) as late:
            assert is_gone(late.socket), "those who have shown themselves stay"
        assert right.ask("ping", {})["result"]


def test_who_shows_no_token_is_not_here_for_long(tmp_path: Path) -> None:
    limits = "[limits]\nidle_seconds = 2\n"
    with serving(made(tmp_path), config(more=limits)) as server, speaking(server, CONNECTED[0]) as stranger:

        def ended() -> bool:
            try:
                stranger.ask("ping", {})
            except (OSError, EOFError):
                return True
            return False

        wait_for(ended)


def test_wrong_tokens_do_not_slow_a_right_one(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is looked up once, as a right one is; nobody at the address is shut out for another's wrong token."""
    with speaking(server, OVER_UDP[0]) as right, speaking(server, OVER_UDP[0]) as wrong:

        def waits() -> list[float]:
            found = []
            for _ in range(200):
                began = time.perf_counter()
                assert right.ask("authorize", {**GOOD, "token": TOKEN})["result"]["accepted"]
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
            beside = waits()
        finally:
            ends.set()
            flooder.join(20)
    ratio = statistics.median(beside) / statistics.median(before)
    with capsys.disabled():
        sys.stdout.write(
            f"\na right token: median {statistics.median(before):.2f} ms; beside a flood of wrong ones "
            f"{statistics.median(beside):.2f} ms (ratio {ratio:.1f}), p99 {beside[197]:.2f} ms"
        )
    assert statistics.median(beside) < 250
    assert count(server, "wrong_tokens") > 100
