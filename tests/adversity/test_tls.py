"""TLS: who is let in, what goes wrong in handshakes, files that change, and many clients at once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import HOST, ROOT
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.switch import Switch, Wire, call, is_closed, read_all, request
from support.tls import CLIENT_CA, TLS_FILES, Authority, encrypt
from support.waiting import wait_for

from identengine.model.records import Client

LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\n'
SWITCHES = """
[[switch]]
name = "certified"
addresses = ["127.0.0.1"]
certificate = "SBC1.example"
[[switch]]
name = "plain"
addresses = ["127.0.0.2"]
"""
GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}
LINES = Wire("tls", "lines", "json")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    """One that asks for client certificates."""
    folder = made(tmp_path_factory.mktemp("tls"), authority)
    with serving(folder, LISTEN + TLS_FILES + CLIENT_CA + SWITCHES) as running:
        yield running
        assert "Traceback" not in running.log


def made(folder: Path, authority: Authority) -> Path:
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    authority.certify(folder)
    return folder


def refused(server: Server, context: ssl.SSLContext, address: str = HOST) -> None:
    """See that such a client gets no answer."""
    try:
        with server.switch(LINES, context, address) as switch:
            switch.send(call("ping"))  # in TLS 1.3 a client has shaken hands before its certificate is looked at
            assert switch.is_closed()
    except OSError:  # an SSLError too
        return


def pings(switch: Switch) -> bool:
    return "result" in switch.exchange("ping", {})


# ---- who is let in


def test_a_certificate_names_the_switch(server: Server, authority: Authority) -> None:
    with server.switch(LINES, authority.client("sbc1.EXAMPLE")) as switch:
        result = switch.exchange("authorize", GOOD)["result"]
        assert result["account_id"] == 1
        assert "reason" in switch.exchange("authorize", GOOD | {"src_ip": "192.0.2.77"})["result"]
    server.logged("from '192.0.2.77' by certified")


def test_a_switch_without_certificate_needs_one_of_the_ca_all_the_same(
    server: Server, authority: Authority
) -> None:
    with server.switch(LINES, authority.client("anybody.example"), "127.0.0.2") as switch:
        assert pings(switch)
    refused(server, authority.client(), "127.0.0.2")


def test_certificates_that_are_refused(server: Server, authority: Authority) -> None:
    stranger = Authority()
    past = datetime.now(UTC) - timedelta(days=1)
    for context in (
        authority.client(),
        authority.client("sbc1.example", signer=stranger),
        authority.client("sbc1.example", not_after=past),
        authority.client("other.example"),
    ):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            refused(server, context)
    server.logged("unknown peer from '127.0.0.1'")
    # No certificate, one of another authority, one that expired: each has its own reason, in OpenSSL's words.
    wait_for(lambda: len(set(re.findall(r"TLS handshake: (.+) from '127\.0\.0\.1'", server.log))) >= 3)
    with server.switch(LINES, authority.client("sbc1.example")) as switch:
        assert pings(switch)


def test_an_unknown_address_gets_no_handshake(server: Server, authority: Authority) -> None:
    with socket.create_connection((HOST, server.ports["tls"]), 10, ("127.0.0.3", 0)) as stranger:
        assert is_closed(stranger)
    server.logged("unknown peer from '127.0.0.3'")


def test_clients_trust_the_server_by_its_ca(server: Server) -> None:
    with pytest.raises(ssl.SSLCertVerificationError), server.switch(LINES, Authority().client("sbc1.example")):
        pass


def test_older_versions_are_refused(server: Server, authority: Authority) -> None:
    context = authority.client("sbc1.example")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError), server.switch(LINES, context):
        pass
    with server.switch(LINES, authority.client("sbc1.example")) as switch:
        assert pings(switch)


# ---- what goes wrong


def test_plain_text_is_refused_and_counted(server: Server) -> None:
    with socket.create_connection((HOST, server.ports["tls"]), 10) as plain:
        plain.sendall(request("ping") * 10)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = read_all(plain)
        assert b"jsonrpc" not in answer
    server.logged("TLS handshake:")


@pytest.mark.parametrize("cut", [0, 1, 5, 100])
def test_handshakes_that_stall_hold_nobody_up(server: Server, authority: Authority, cut: int) -> None:
    hello = _hello(authority)[:cut]
    stalled = []
    for _ in range(100):
        one = socket.create_connection((HOST, server.ports["tls"]), 20)
        one.sendall(hello)
        stalled.append(one)
    began = time.monotonic()
    with server.switch(LINES, authority.client("sbc1.example")) as switch:
        assert pings(switch)
    assert time.monotonic() - began < 4.5, "it waited for them"
    if cut == 5:  # they are closed at last
        for one in stalled:
            assert is_closed(one)
        server.logged("TLS handshake: took too long from '127.0.0.1'")
    for one in stalled:
        one.close()


def _hello(authority: Authority) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client("sbc1.example").wrap_bio(incoming, outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_a_handshake_byte_by_byte(server: Server, authority: Authority) -> None:
    with socket.create_connection((HOST, server.ports["tls"]), 20) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = authority.client("sbc1.example").wrap_bio(incoming, outgoing, server_hostname=HOST)

        def send() -> None:
            for byte in outgoing.read():
                raw.sendall(bytes([byte]))

        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                send()
                incoming.write(raw.recv(65536))
        client.write(request("ping"))
        send()
        while True:
            try:
                assert b"result" in client.read(65536)
                break
            except ssl.SSLWantReadError:
                incoming.write(raw.recv(65536))


def test_garbage_after_the_handshake(server: Server, authority: Authority) -> None:
    raw = socket.create_connection((HOST, server.ports["tls"]), 20)
    with authority.client("sbc1.example").wrap_socket(raw, server_hostname=HOST) as tls:
        tls.sendall(request("ping"))
        assert b"result" in tls.recv(65536)
        os.write(tls.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that no key of ours made
        assert is_closed(tls)


@pytest.mark.parametrize("proper", [True, False])
def test_who_ends_its_side_gets_all_its_answers(server: Server, authority: Authority, proper: bool) -> None:
    """By TLS's own word for the end, or by that of TCP alone."""
    count = 400
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client("sbc1.example").wrap_bio(incoming, outgoing, server_hostname=HOST)
    with socket.create_connection((HOST, server.ports["tls"]), 20) as raw:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        client.write(b"".join(request("authorize", n, **GOOD) for n in range(count)))
        if proper:
            with pytest.raises(ssl.SSLWantReadError):
                client.unwrap()
        raw.sendall(outgoing.read())
        if not proper:
            raw.shutdown(socket.SHUT_WR)
        incoming.write(read_all(raw))
    answers = b""
    while answers.count(b"\n") < count:
        answers += client.read(65536)
    assert [json.loads(line)["id"] for line in answers.splitlines()] == list(range(count))


def test_a_peer_that_does_not_read(tmp_path: Path, authority: Authority) -> None:
    config = LISTEN + TLS_FILES + "[limits]\nunread_bytes = 65536\n"
    with serving(made(tmp_path, authority), config) as server:  # noqa: SIM117 - it ends last
        with server.switch(LINES, authority.client()) as greedy:
            assert pings(greedy)
            before = resident(server)
            deadline, quiet, sent = time.monotonic() + 20, time.monotonic(), 0
            messages = request("authorize", 1, **GOOD) * 50
            greedy.socket.setblocking(False)
            held = memoryview(messages)
            while time.monotonic() - quiet < 0.5 and time.monotonic() < deadline:
                try:
                    held = held[greedy.socket.send(held) :]
                    if not held:
                        held, sent = memoryview(messages), sent + 1
                    quiet = time.monotonic()
                except ssl.SSLWantWriteError:
                    time.sleep(0.01)
            assert time.monotonic() < deadline, "it reads on and on"
            assert server.authorize(**GOOD)["accepted"]
            assert resident(server) - before < 10 << 20
            # Once it reads again, it is served to the end.
            heard = 0
            while heard < 50 * (sent + 1) and time.monotonic() < deadline + 20:
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    if held:
                        held = held[greedy.socket.send(held) :]
                with contextlib.suppress(ssl.SSLWantReadError):
                    heard += greedy.socket.recv(1 << 20).count(b"\n")
            assert heard == 50 * (sent + 1)


def resident(server: Server) -> int:
    return int(Path(f"/proc/{server.decider}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_more_connections_than_files_may_be_open(tmp_path: Path, authority: Authority) -> None:
    with serving(made(tmp_path, authority), LISTEN + TLS_FILES) as server:
        decider = server.decider
        limits = resource.prlimit(decider, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{decider}/fd").iterdir()))
        resource.prlimit(decider, resource.RLIMIT_NOFILE, (used + 3, limits[1]))
        waiting = [socket.create_connection((HOST, server.ports["tls"]), 20) for _ in range(10)]
        server.logged("too many files")
        assert server.authorize(**GOOD)["accepted"]
        resource.prlimit(decider, resource.RLIMIT_NOFILE, limits)
        with server.switch(LINES, authority.client()) as switch:
            assert pings(switch), "it has waited for its turn"
        for one in waiting:
            one.close()


# ---- files


def test_certificates_renewed_while_connections_are_open(tmp_path: Path, authority: Authority) -> None:
    with serving(made(tmp_path, authority), LISTEN + TLS_FILES) as server:  # noqa: SIM117 - it ends last
        with server.switch(LINES, authority.client()) as old:
            assert pings(old)
            renewed = Authority()
            renewed.certify(tmp_path)
            server.signal(signal.SIGHUP)
            server.logged("SIGHUP: changed")
            assert pings(old)
            with server.switch(LINES, renewed.client()) as new:
                assert pings(new)
            with pytest.raises(ssl.SSLCertVerificationError), server.switch(LINES, authority.client()):
                pass
            # Files that are not as they must be: what is in use stays, and the alarm says what to do.
            (tmp_path / "server.key").write_text("half written")
            server.signal(signal.SIGHUP)
            server.logged("ALARM: [tls] key:")
            assert pings(old)
            with server.switch(LINES, renewed.client()) as new:
                assert pings(new)
            # A decider that has to start anew meanwhile serves everything else.
            os.kill(server.decider, signal.SIGKILL)
            wait_for(lambda: server.authorize(**GOOD)["accepted"])
            server.logged("there is no certificate") if _gets_nothing(server, renewed) else pytest.fail(
                "who signed?"
            )
            renewed.certify(tmp_path)
            server.signal(signal.SIGHUP)
            wait_for(lambda: not _gets_nothing(server, renewed))


def _gets_nothing(server: Server, authority: Authority) -> bool:
    try:
        with server.switch(LINES, authority.client()) as switch:
            return not pings(switch)
    except OSError:
        return True


def checked(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "identengine",
        "serve",
        "--config",
        str(folder / "identengine.toml"),
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_files_are_checked_at_the_start(tmp_path: Path, authority: Authority) -> None:
    made(tmp_path, authority)
    config = tmp_path / "identengine.toml"
    config.write_text('[store]\npath = "store"\n[calls]\npath = "calls"\n' + LISTEN + TLS_FILES + CLIENT_CA)
    assert checked(tmp_path, "--check").returncode == 0

    def wrong(name: str, said: str, content: bytes | None, *options: str) -> None:
        path = tmp_path / name
        before = path.read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        ran = checked(tmp_path, *options)
        assert ran.returncode == 1
        assert f"[tls] {said}: {path}" in ran.stderr
        assert "Traceback" not in ran.stderr
        path.write_bytes(before)

    encrypted = tmp_path / "encrypted"
    encrypted.write_bytes((tmp_path / "server.key").read_bytes())
    encrypt(encrypted)
    other = Authority()
    (tmp_path / "other").mkdir()
    other.certify(tmp_path / "other")
    wrong("server.pem", "certificate", None, "--check")
    wrong("server.key", "key", None, "--check")
    wrong("ca.pem", "client_ca", None, "--check")
    wrong("server.key", "key", b"no key", "--check")
    wrong("server.key", "key", (tmp_path / "other" / "server.key").read_bytes(), "--check")
    wrong("server.key", "key", encrypted.read_bytes(), "--check")
    wrong("ca.pem", "client_ca", b"no certificate")


# ---- draining


def test_a_drain_answers_what_came_and_ends_connections_in_order(tmp_path: Path, authority: Authority) -> None:
    with serving(made(tmp_path, authority), LISTEN + TLS_FILES) as server:  # noqa: SIM117 - it ends last
        with (
            server.switch(LINES, authority.client()) as busy,
            server.switch(LINES, authority.client()) as idle,
        ):
            assert pings(busy)
            assert pings(idle)
            shaking = socket.create_connection((HOST, server.ports["tls"]), 20)
            decider = server.decider
            os.kill(decider, signal.SIGSTOP)
            busy.send(*[call("authorize", n, **GOOD) for n in range(300)])
            server.signal(signal.SIGTERM)
            os.kill(decider, signal.SIGCONT)
            # The ends are TLS's own, or reading would raise.
            assert [answer["id"] for answer in busy.rest()] == list(range(300))
            assert idle.rest() == []
            shaking.close()


# ---- many at once


def test_a_thousand_clients_that_come_at_once(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may delay each other, and must not delay decisions."""
    clients = int(os.environ.get("IDENTENGINE_TLS_CLIENTS", "300"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    config = LISTEN + TLS_FILES + CLIENT_CA + "[limits]\nconnections = 3000\nconnections_per_switch = 3000\n"
    made(tmp_path, authority)
    authority.write_client("sbc1.example", tmp_path / "client.pem")
    with serving(tmp_path, config) as server:
        arguments = [str(server.ports["tls"]), str(clients), "ca.pem", "client.pem"]
        swarm = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "support" / "tlsclients.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        assert swarm.stdin is not None
        assert swarm.stdout is not None
        try:
            before = _waits(server, 1.0)
            swarm.stdin.write("come\n")
            swarm.stdin.flush()
            during = _waits(server, 40.0, swarm.stdout.fileno())
            assert int(swarm.stdout.readline()) == clients
        finally:
            swarm.stdin.close()
            assert swarm.wait(20) == 0
            swarm.stdout.close()
    with capsys.disabled():
        for name, waits in (("before", before), ("during", during)):
            p99 = waits[len(waits) * 99 // 100]
            sys.stdout.write(
                f"\n{clients} TLS clients, {len(waits)} decisions {name}: median {statistics.median(waits):.2f}, "
                f"p99 {p99:.2f}, max {waits[-1]:.2f} ms"
            )
    assert statistics.median(during) < 50


def _waits(server: Server, seconds: float, until: int | None = None) -> list[float]:
    """Ask 500 times a second, for so long or until something can be read; return how long answers took, in ms."""
    waits = []
    message = request("authorize", **GOOD)
    with server.udp() as udp:
        begin = time.perf_counter()
        count = 0
        while time.perf_counter() - begin < seconds:
            if until is not None and select.select([until], [], [], 0)[0]:
                break
            asked = time.perf_counter()
            udp.send(message)
            assert b"account_id" in udp.receive_raw()
            waits.append((time.perf_counter() - asked) * 1000)
            count += 1
            time.sleep(max(0.0, begin + count / 500 - time.perf_counter()))
    return sorted(waits)
