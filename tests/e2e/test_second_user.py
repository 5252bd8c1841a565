"""A second user of the machine can neither replace a Unix socket of the server nor use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.cli import run
from support.otheruser import OTHER_UID, OTHER_USER, needs_other_user, running_as_other, shared_folder
from support.server import Server, serving
from support.waiting import wait_for

from identengine.model.records import Client

REPLACE = """\
kind = socket.SOCK_SEQPACKET if sys.argv[1].endswith("serve.sock") else socket.SOCK_STREAM
if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
unix = socket.socket(socket.AF_UNIX, kind)
unix.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
unix.listen()
print("listening", flush=True)
sys.stdin.read()
unix.setblocking(False)
try:
    while True:
        link, _ = unix.accept()
        print(repr(link.recv(65536)), flush=True)
        link.close()
except BlockingIOError:
    pass
"""
"""Program of an attacker: it puts a socket of its own in the place of another, and prints what arrives."""
ASK = """\
kind = socket.SOCK_SEQPACKET if sys.argv[1].endswith("serve.sock") else socket.SOCK_STREAM
unix = socket.socket(socket.AF_UNIX, kind)
unix.settimeout(20)
unix.connect(sys.argv[1])
try:
    try:
        unix.sendall(sys.argv[2].encode())
    except BrokenPipeError:
        pass  # the answer may be there already
    try:
        heard = unix.recv(65536)
    except ConnectionResetError:  # it closed with unread data; its last message may be left
        heard = unix.recv(65536)
    print(repr(heard), flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
"""
"""Program of an attacker: it sends a message to a socket, and prints the answer."""


@pytest.fixture
def folder() -> Iterator[Path]:
    needs_other_user()
    with shared_folder() as shared:
        put_rows(shared / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
        yield shared


def opened(folder: Path) -> Path:
    """Open the folder of a running server to all users, as an operator may do by mistake."""
    calls = folder / "calls"
    calls.chmod(0o777)
    for name in ("control", "ask", "serve.sock"):
        (calls / name).chmod(0o777)
    return calls


@contextmanager
def supervisor_stopped(server: Server) -> Iterator[None]:
    """Stop the supervisor during the block. Once a second it would make a replaced socket again."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


def started(server: Server, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "identengine", "serve", "--config", str(server.config), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_server_does_not_start_in_a_folder_that_others_can_change(folder: Path) -> None:
    calls = folder / "calls"
    calls.mkdir()
    calls.chmod(0o770)
    server = Server(folder, ready=False)
    assert server.ended() == 1
    assert server.log == (
        f"the set of calls cannot be kept in {calls}: {calls} is writable for its group. Run `chmod go-w "
        f"{calls}`, or choose another [calls] path.\n"
    )
    checked = started(server, "--check")
    assert checked.returncode == 1
    assert f"[calls] path: the set of calls cannot be kept in {calls}: {calls} is writable" in checked.stderr
    calls.chmod(0o700)
    assert started(server, "--check").returncode == 0


def test_root_may_check_the_config_of_another_user(folder: Path) -> None:
    calls = folder / "calls"
    calls.mkdir(mode=0o700)
    server = Server(folder, ready=False)
    server.stop()
    os.chown(calls, OTHER_UID, -1)
    checked = started(server, "--check")
    assert checked.returncode == 0, checked.stderr
    assert f"{calls} belongs to the user {OTHER_USER}. Start the server as that user" in checked.stderr
    refused = started(server)
    assert refused.returncode == 1
    assert f"{calls} belongs to the user {OTHER_USER}. Run the server as that user" in refused.stderr


def test_commands_send_nothing_to_the_socket_of_another_user(folder: Path) -> None:
    with serving(folder) as server:
        calls = opened(folder)
        for name in ("control", "serve.sock"):
            with supervisor_stopped(server), running_as_other(REPLACE, calls / name) as attacker:
                assert attacker.stdout is not None
                assert attacker.stdout.readline() == "listening\n"
                calls.chmod(0o700)  # so that the folder itself is no reason to refuse
                if name == "control":
                    said = run("calls", "--config", server.config)
                    assert (said.status, said.out) == (1, "")
                    message = said.err
                else:
                    ran = started(server, "--take-over")
                    assert ran.returncode == 1
                    message = ran.stderr
                calls.chmod(0o777)
                assert f"the server at {calls / name} cannot be trusted: " in message
                assert f"runs as the user {OTHER_USER}" in message
                heard, _ = attacker.communicate(timeout=20)
                assert heard == "b''\n", "a connection was made, but nothing was sent"
        calls.chmod(0o700)


def test_the_http_process_sends_nothing_to_the_socket_of_another_user(folder: Path) -> None:
    config = (
        f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nhttp = "{HOST}:0"\n'
        '[[switch]]\nname = "sbc"\naddresses = ["127.0.0.1"]\ntoken = "4XqL0vWmZr8sYbTu"\n'
    )
    with serving(folder, config) as server:
        calls = opened(folder)
        with supervisor_stopped(server), running_as_other(REPLACE, calls / "ask") as attacker:
            assert attacker.stdout is not None
            assert attacker.stdout.readline() == "listening\n"
            command = ["curl", "-s", "-H", "Authorization: Bearer 4XqL0vWmZr8sYbTu", "-d", "{}"]
            url = f"http://{HOST}:{server.ports['http']}/v1/authorize"
            ran = subprocess.run([*command, url], capture_output=True, text=True, timeout=60, check=False)
            assert json.loads(ran.stdout)["status"] == 503, ran
            heard, _ = attacker.communicate(timeout=20)
            assert set(heard.split()) <= {"b''"}, "a connection was made, but nothing was sent"
        calls.chmod(0o700)


def test_the_server_answers_no_command_of_another_user(folder: Path) -> None:
    with serving(folder) as server:
        calls = opened(folder)
        for name, message, expected in (
            ("control", '{"ask":"status"}\n', "expected a command of root or of the user of this server"),
            ("ask", '{"jsonrpc":"2.0","id":1,"method":"ping"}\n', ""),
            ("serve.sock", "x", "only the user of this server and root may take over"),
        ):
            with running_as_other(ASK, calls / name, message) as attacker:
                assert attacker.stdout is not None
                heard = attacker.stdout.readline()
            assert expected in heard
            assert expected or heard == "b''\n"
        calls.chmod(0o700)
        assert run("stats", "--config", server.config).status == 0


def test_a_decider_that_dies_is_replaced_also_in_a_folder_that_others_can_change(folder: Path) -> None:
    """The check is one of the start: an operator's mistake with a mode must not end a service."""
    with serving(folder) as server:
        opened(folder)
        old = server.decider
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: server.decider != old)
        wait_for(lambda: server.version() == 1)
