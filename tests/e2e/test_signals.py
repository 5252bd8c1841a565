"""Start, SIGTERM, SIGINT and SIGHUP of a real server."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.processes import is_stopped, pending
from support.server import Server, serving
from support.switch import UDP, Switch, request, send_until_stuck
from support.waiting import wait_for

from identengine.model.records import Account, Client, IdentBy

CLIENT = Client(id=1, name="one")
GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    accounts = [
        ip_account(1, "10.0.0.1"),
        ip_account(2, "10.0.0.2", term_port=5060),
        Account(id=3, client_id=1, name="open", ident_by=IdentBy.NAME, ident=("acme",)),
    ]
    put_rows(tmp_path / "store", accounts, [CLIENT])
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as running:
        yield running


def test_lines_on_standard_output(server: Server) -> None:
    assert server.lines == [
        f"listening udp {HOST}:{server.ports['udp']}",
        f"listening tcp {HOST}:{server.ports['tcp']}",
        "book version 1: 3 accounts, 0 active DIDs",
        "READY",
    ]


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_port_that_is_taken(folder: Path, server: Server, kind: str) -> None:
    other = folder / "other"
    other.mkdir()
    free = {"udp": 0, "tcp": 0} | {kind: server.ports[kind]}
    listen = "".join(f'{name} = ["{HOST}:{port}"]\n' for name, port in free.items())
    second = Server(other, f"[listen]\n{listen}", ready=False)
    assert second.ended() == 1
    assert f"cannot listen on {kind} {HOST}:{server.ports[kind]}: {os.strerror(errno.EADDRINUSE)}" in second.log
    assert "Traceback" not in second.log
    assert second.lines == []
    assert (other / "calls" / "serve.lock").read_text() == "", "the next start does not have to wait for orphans"


def test_a_wrong_config(folder: Path) -> None:
    wrong = Server(folder, "[identify]\nrank = 'x'\n[log]\nlevl = 'info'\n", ready=False)
    assert wrong.ended() == 1
    assert "[identify] rank: expected " in wrong.log
    assert '[log] levl: no such key; did you mean "level"?' in wrong.log
    assert "Traceback" not in wrong.log


def test_warnings_are_logged(folder: Path) -> None:
    listen = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nradius_auth = ["{HOST}:0"]\n'
    with serving(folder, listen) as server:
        server.logged("[listen] radius_auth: no [[switch]] has a secret")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(server: Server, number: signal.Signals) -> None:
    with server.tcp() as tcp:
        tcp.send(request("ping"))
        tcp.answers(1)
        began = time.monotonic()
        server.signal(number)
        assert tcp.is_closed()
    assert server.ended() == 0
    assert time.monotonic() - began < 5
    assert "stopped" in server.log


def test_sigterm_answers_all_received_messages(folder: Path) -> None:
    server = Server(folder)
    udps = [server.udp() for _ in range(4)]
    tcps = [server.tcp() for _ in range(4)]
    for udp in udps:
        udp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    try:
        # A stopped decider answers nothing, so all messages wait in the kernel when the signal arrives.
        decider = server.decider
        os.kill(decider, signal.SIGSTOP)
        for n in range(200):
            for opened in (*udps, *tcps):
                opened.send(request(message_id=n, **GOOD))
        late = server.tcp()
        late.send(request("ping", "late"))
        server.signal(signal.SIGTERM)
        os.kill(decider, signal.SIGCONT)
        for udp in udps:
            assert sorted(udp.receive()["id"] for _ in range(200)) == list(range(200))
        for tcp in tcps:
            assert [answer["id"] for answer in tcp.rest()] == list(range(200))
        assert [answer["id"] for answer in late.rest()] == ["late"]
        late.close()
    finally:
        for opened in (*udps, *tcps):
            opened.close()
    assert server.ended() == 0, server.log


def test_sigterm_does_not_wait_for_a_peer_that_does_not_read(folder: Path) -> None:
    server = Server(folder)
    with server.tcp() as tcp:
        tcp.socket.setblocking(False)
        batch = b"[" + b",".join([request(message_id=1, **GOOD)] * 200) + b"]"
        with contextlib.suppress(BlockingIOError):
            while True:
                tcp.send(batch)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 6


def test_sigterm_ends_although_peers_continue_to_send(folder: Path) -> None:
    stop = threading.Event()
    with serving(folder) as server, server.tcp() as first, server.tcp() as second:

        def ask_on(tcp: Switch) -> None:
            message = b"".join(request(message_id=n, src_ip="10.0.0.1", dst_number="44") for n in range(50))
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    tcp.send(message)

        def read_on(tcp: Switch) -> None:
            with contextlib.suppress(OSError):
                while tcp.socket.recv(1 << 16):
                    pass

        peers = [threading.Thread(target=run, args=(tcp,)) for tcp in (first, second) for run in (ask_on, read_on)]
        for peer in peers:
            peer.start()
        try:
            wait_for(lambda: server.authorize(src_ip="10.0.0.1", dst_number="44")["accepted"])
            began = time.monotonic()
            server.process.terminate()
            assert server.process.wait(10) == 0
            assert time.monotonic() - began < 3
        finally:
            stop.set()
            for peer in peers:
                peer.join()


def test_sighup_changes_reasons_and_options(server: Server) -> None:
    assert server.authorize(src_ip="192.0.2.1", dst_number="1")["sip_code"] == 403
    assert server.authorize(src_ip="10.0.0.2", dst_number="1")["reason"] == "port_mismatch"
    server.write_config("[reasons.unknown_source]\nsip_code = 604\n[identify]\nmatch_port = 'never'\n")
    server.signal(signal.SIGHUP)
    server.logged("SIGHUP: changed: [identify], [reasons]")
    assert server.authorize(src_ip="192.0.2.1", dst_number="1")["sip_code"] == 604
    wait_for(lambda: server.authorize(src_ip="10.0.0.2", dst_number="1")["accepted"])


def test_sighup_changes_how_the_book_is_indexed(server: Server) -> None:
    assert server.authorize(name="acme", dst_number="1")["accepted"] is False
    server.write_config("[identify]\npasswordless_name = 'normal'\n")
    server.signal(signal.SIGHUP)
    wait_for(lambda: server.authorize(name="acme", dst_number="1")["accepted"])
    assert server.version() == 1


def test_sighup_with_a_wrong_config_changes_nothing(server: Server) -> None:
    server.write_config("[identify]\nrank = 'x'\n")
    server.signal(signal.SIGHUP)
    server.logged("the config has mistakes; nothing was changed")
    assert "[identify] rank: expected " in server.log
    assert server.authorize(**GOOD)["accepted"]


def logged_times(server: Server, line: str, times: int) -> bool:
    return server.log.count(line) == times


def test_sighup_names_sections_that_cannot_change(server: Server) -> None:
    limits = "[limits]\ndatagram_age_ms = 60000\n"  # unchanged
    listen = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:1"]\n'
    server.config.write_text(f'[store]\npath = "elsewhere"\n{listen}{limits}')
    for times in (1, 2):
        server.signal(signal.SIGHUP)
        wait_for(partial(logged_times, server, "SIGHUP: changed: nothing", times))
    assert server.log.count("changes of [store], [calls], [listen] are not in use; restart the server") == 2
    assert server.authorize(**GOOD)["accepted"]


def test_sighup_replaces_the_switches(server: Server) -> None:
    with server.tcp() as tcp, server.udp() as udp:
        tcp.send(request("ping"))
        tcp.answers(1)
        server.write_config('[[switch]]\nname = "other"\naddresses = ["127.0.0.2"]\n')
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: changed: [[switch]]")
        # The connection of a removed switch is closed, and a new switch is accepted.
        assert tcp.is_closed()
        udp.send(request("ping"))
        with server.switch(UDP, address="127.0.0.2") as other:
            assert other.exchange("ping", {})["id"] == 1  # sent later, and answered
        assert udp.has_nothing()


def test_switches_apply_at_once_and_options_only_with_their_book(server: Server) -> None:
    away = server.folder / "away"
    server.store.rename(away)
    server.logged("there is no store at")
    changed = '[identify]\nmatch_port = "never"\n'
    server.write_config(f"{changed}[[switch]]\nname = 'other'\naddresses = ['127.0.0.2']\n")
    for times in (1, 2):  # the second SIGHUP must not apply the new options to the old book either
        server.signal(signal.SIGHUP)
        wait_for(partial(logged_times, server, "SIGHUP: changed", times))
        assert _is_a_stranger(server, "127.0.0.2")
    server.write_config(changed)
    server.signal(signal.SIGHUP)
    wait_for(lambda: not _is_a_stranger(server, "127.0.0.2"))
    assert server.authorize(src_ip="10.0.0.2", dst_number="1")["reason"] == "port_mismatch"
    away.rename(server.store)
    wait_for(lambda: server.authorize(src_ip="10.0.0.2", dst_number="1").get("account_id") == 2, 40)


def test_the_other_half_of_a_message_is_waited_for_while_draining(folder: Path) -> None:
    with serving(folder) as server, server.tcp() as tcp, server.tcp() as never:
        message = request("ping", 5)
        tcp.send(message[:20])
        never.send(message[:20])
        server.process.terminate()
        server.logged("draining")
        tcp.send(message[20:])
        assert tcp.answers(1)[0]["id"] == 5
        (cut_off,) = never.rest()
        assert cut_off["error"]["code"] == -32700
        assert server.process.wait(5) == 0


def test_a_second_signal_does_not_wait_for_the_drain(folder: Path) -> None:
    with serving(folder) as server, server.tcp() as tcp, server.tcp() as other:
        tcp.send(request(message_id=1, **GOOD))
        tcp.answers(1)
        burst = b"".join(request(message_id=n, **GOOD) for n in range(20000))
        # The peer reads nothing, so the drain would wait for it.
        send_until_stuck(tcp.socket, burst, lambda: server.authorize(**GOOD))
        other.send(request("ping", "half")[:10])
        decider = server.decider
        os.kill(decider, signal.SIGSTOP)
        wait_for(partial(is_stopped, decider))
        for number in (signal.SIGTERM, signal.SIGINT):  # at once: both count as one
            server.signal(number)
            wait_for(partial(waits_for, decider, number))
        os.kill(decider, signal.SIGCONT)
        server.logged("draining")
        other.send(request("ping", "half")[10:])
        assert other.answers(1)[0]["id"] == "half", "the drain continues"
        assert "stopping at once after a second signal" not in server.log

        def is_over() -> bool:
            server.process.terminate()
            return server.process.poll() is not None

        wait_for(is_over)
        assert server.process.returncode == 0
        assert "stopping at once after a second signal" in server.log


def waits_for(process: int, number: int) -> bool:
    """Return True if a stopped process has a pending signal."""
    return number in pending(process)


def test_sighup_changes_the_log(server: Server) -> None:
    server.write_config('[log]\nformat = "json"\n')
    server.signal(signal.SIGHUP)
    server.logged('"message":"SIGHUP: changed: [log]"')


def test_options_that_change_and_change_back_leave_nothing_waiting(server: Server) -> None:
    before = server.config.read_text()
    server.config.write_text(before + "[identify]\nrequire_password = true\n")
    server.signal(signal.SIGHUP)
    server.logged("SIGHUP: changed: [identify]")
    server.config.write_text(before + '[[switch]]\nname = "b"\naddresses = ["127.9.9.9"]\n')
    server.signal(signal.SIGHUP)
    server.logged("[[switch]]")
    wait_for(partial(_is_a_stranger, server, "127.9.9.9"))  # the switches of the last config are in force


def _is_a_stranger(server: Server, known: str) -> bool:
    """Return True if a request gets no answer before a later request of the switch at ``known`` is answered."""
    with server.udp() as udp, server.switch(UDP, address=known) as other:
        udp.send(request("ping"))
        assert other.ask("ping")
        return udp.has_nothing()
