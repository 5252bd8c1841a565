"""Commands of operators that are stopped, do not read or send garbage: decisions continue."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.operator import CALLS, asked, book, burst, call, command, connect, counted, held, hold
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for

HELD = 3000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(book(tmp_path), CALLS) as running:
        yield running


def churn(server: Server, rounds: int = 300) -> float:
    """Start and stop calls one by one. Return the longest time of a decision, in seconds."""
    longest = 0.0
    with server.udp() as udp:
        for n in range(rounds):
            for message in (call(f"churn{n}", "10.0.0.18"), request("stop", 1, call_id=f"churn{n}")):
                began = time.monotonic()
                udp.send(message)
                result = udp.receive()["result"]
                longest = max(longest, time.monotonic() - began)
                assert result.get("accepted") or result.get("freed") == 1
    return longest


def room(server: Server) -> tuple[int, int]:
    """Return the size of the file of calls and its used bytes, as reported after this call."""
    size = (server.folder / "calls" / "calls.mdb").stat().st_size
    noted = counted(server, "noted")
    wait_for(lambda: counted(server, "noted") > noted + 1)
    return size, counted(server, "mirror_used_bytes")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a command, which must still run."""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def opened_a_socket(process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, process.communicate()
    folder = Path(f"/proc/{process.pid}/fd")
    for number in folder.iterdir():
        try:
            if str(number.readlink()).startswith("socket:"):
                return True
        except FileNotFoundError:
            continue
    return False


def test_stopped_commands_delay_nothing(server: Server) -> None:
    hold(server, HELD)
    both = server.decider, server.process.pid
    commands = []

    def start(*words: object) -> subprocess.Popen[bytes]:
        commands.append(command(server, *words))
        return commands[-1]

    try:
        reading = start("calls", "--json")
        assert reading.stdout is not None
        assert reading.stdout.read(1)  # the rest is not read, so the command is in the middle of its pages
        stop(reading)
        ending = start("calls", "end", "--account", 17, "--yes")
        wait_for(lambda: held(server) < HELD)
        stop(ending)
        for pid in reversed(both):  # so that the next commands wait for an answer when they are stopped
            os.kill(pid, signal.SIGSTOP)
        for words in (("top", "--json"), ("stats", "--json")):
            waiting = start(*words)
            wait_for(lambda: opened_a_socket(commands[-1]))
            stop(waiting)
        for pid in both:
            os.kill(pid, signal.SIGCONT)

        churn(server)  # afterwards all structures have their final size
        size, used = room(server)
        assert churn(server) < 0.5
        size_then, used_then = room(server)
        assert size_then == size
        assert used_then <= used + 65536
        assert 0 < held(server) < HELD
        # Other commands are answered.
        other = command(server, "stats")
        assert b"legs held" in other.communicate(timeout=20)[0]
        # The stopped commands continue.
        for one in commands:
            one.send_signal(signal.SIGCONT)
        assert ending.communicate(timeout=20)[0].endswith(b"legs ended\n")
        assert held(server) == 0
    finally:
        for pid in both:
            os.kill(pid, signal.SIGCONT)
        for one in commands:
            one.kill()
            one.communicate()


def test_a_command_that_never_reads_holds_no_memory(server: Server) -> None:
    hold(server, HELD)
    before = resident(server)
    dead = [connect(server) for _ in range(10)]
    try:
        for one in dead:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.send(b'{"ask":"calls"}\n' * 100)
        assert churn(server) < 0.5
        assert held(server) == HELD
        assert resident(server) - before < 20 << 20
        wait_for(lambda: all(map(is_closed, dead)))
    finally:
        for one in dead:
            one.close()


def is_closed(opened: socket.socket) -> bool:
    """Return True if the other side has closed the connection. Earlier data stays unread."""
    try:
        opened.send(b" ")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def answered(server: Server) -> bool:
    """Return True if a command is accepted."""
    try:
        return bool(asked(server, ask="status").get("pid"))
    except (ValueError, OSError):
        return False


def resident(server: Server) -> int:
    pages = int(Path(f"/proc/{server.decider}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_garbage_is_answered_or_closed(server: Server) -> None:
    random.seed(4)
    hold(server, 10)
    for text in (
        b"\n",
        b"{}\n",
        b'{"ask":"nothing"}\n',
        b'{"ask":"calls","cursor":-1}\n',
        b'{"ask":"calls","cursor":99999999999999999999}\n',
        b'{"ask":"calls","cursor":9000000000000000000}\n',
        b'{"ask":"calls","filter":{"older":1e999}}\n',
        b'{"ask":"calls","filter":{"state":"asleep"}}\n',
        b'{"ask":"usage","of":"accounts","most":100000}\n',
        b'{"ask":"usage","of":"everyone"}\n',
        b'{"ask":"end","legs":[{"scope":"local"}]}\n',
        b'{"ask":"end","legs":' + b"[" * 5000 + b"\n",
        b'\xff\xfe{"ask":"status"}\n',
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with connect(server) as opened, opened.makefile("rb") as answers:
            opened.sendall(text + b'{"ask":"status"}\n')
            replies = [json.loads(answers.readline()) for _ in range(text.count(b"\n") + 1)]
            assert replies[-1]["answer"] == "status", text
            assert {reply["answer"] for reply in replies[:-1]} <= {"error", "calls"}, text
    with connect(server) as opened, opened.makefile("rb") as answers:
        opened.sendall(b"x" * 70_000)
        assert b"at most 65536 bytes" in answers.readline()
        assert answers.read() == b""
    for _ in range(200):
        with (
            connect(server) as opened,
            contextlib.suppress(OSError),
        ):  # a connection above the limit is closed at once
            opened.sendall(random.randbytes(random.randint(1, 3000)))
    many = [
        {"scope": "local", "call_id": f"c{n}", "direction": "origination", "leg_id": "", "since": 0}
        for n in range(65)
    ]
    wait_for(lambda: answered(server))
    assert "at most 64" in asked(server, ask="end", legs=many)["message"]
    assert asked(server, ask="end", legs=many[:9]) == {"answer": "ended", "freed": 0, "gone": 9}, (
        "these are not the held calls"
    )
    assert held(server) == 10
    assert "Traceback" not in server.log


def test_half_a_line_and_bytes_one_by_one(server: Server) -> None:
    with connect(server) as opened, opened.makefile("rb") as answers:
        for byte in b'{"ask":"status"}\n{"ask":"status"}\n':
            opened.sendall(bytes([byte]))
        assert [json.loads(answers.readline())["answer"] for _ in range(2)] == ["status", "status"]
        opened.sendall(b'{"ask":"status"}\n{"ask":')
        opened.shutdown(socket.SHUT_WR)
        assert json.loads(answers.readline())["answer"] == "status"
        assert answers.read() == b"", "half a line is ignored"


def test_a_hundred_connections_leave_room_for_one_more(server: Server) -> None:
    idle = [connect(server) for _ in range(100)]
    try:
        assert churn(server, 50) < 0.5
        wait_for(lambda: answered(server))
    finally:
        for one in idle:
            one.close()
    assert asked(server, ask="status")["pid"] == server.decider


def test_busy_commands_take_at_most_half_the_time(server: Server) -> None:
    hold(server, HELD)
    quiet = churn(server)
    busy = [command(server, "calls", "--json", start_new_session=True) for _ in range(4)]
    try:
        assert churn(server) < quiet + 0.2
    finally:
        for one in busy:
            one.communicate()
    assert all(one.returncode == 0 for one in busy)


def test_files_are_for_this_user_only(server: Server) -> None:
    folder = server.folder / "calls"
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes.pop("reading", 0o600) == 0o600, "it is there in the first seconds after a start"
    names = ("ask", "calls.mdb", "control", "counters", "lock", "serve.lock", "serve.sock")
    assert modes == dict.fromkeys(names, 0o600)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_locks_of_an_older_version_are_closed_to_others(tmp_path: Path) -> None:
    folder = book(tmp_path)
    (folder / "calls").mkdir()
    for name in ("lock", "serve.lock"):
        (folder / "calls" / name).touch(mode=0o644)
    with serving(folder, CALLS):
        modes = [(folder / "calls" / name).stat().st_mode & 0o777 for name in ("lock", "serve.lock")]
    assert modes == [0o600, 0o600]


def test_a_long_path_and_a_left_over_socket(tmp_path: Path) -> None:
    folder = book(tmp_path)
    deep = "d" * 120
    with serving(folder, f'[calls]\npath = "{deep}/calls"\nmax_legs = 1000\n') as server:
        shown = command(server, "calls", "--json").communicate(timeout=20)
        assert json.loads(shown[0]) == []
        server.kill()
        refused = command(server, "calls")
        assert os.strerror(errno.ECONNREFUSED).encode() in refused.communicate(timeout=20)[1]
        assert refused.returncode == 1
        with serving(folder, f'[calls]\npath = "{deep}/calls"\nmax_legs = 1000\n') as again:
            assert json.loads(command(again, "calls", "--json").communicate(timeout=20)[0]) == []
        server.process.returncode = 0  # killed by this test


def test_the_folder_of_the_control_socket_must_be_usable(tmp_path: Path) -> None:
    folder = book(tmp_path)
    (folder / "calls").mkdir()
    (folder / "calls" / "control").mkdir()
    server = Server(folder, CALLS, ready=False)
    assert server.ended() == 1
    assert "cannot listen on" in server.log
    assert "Traceback" not in server.log


def test_many_forged_addresses_through_the_server(server: Server) -> None:
    def flood(first: int, count: int) -> None:
        burst(
            server, [call(f"f{n}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(first, first + count)]
        )

    flood(100_000, 5000)
    before = resident(server)
    flood(200_000, 20_000)
    assert resident(server) - before < 8 << 20
    assert counted(server, "rejected_unknown_source") == 25_000
