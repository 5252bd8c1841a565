"""``identengine demo``: the main job in one command, with a real server."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
from support import ROOT
from support.cli import run
from support.ports import free_port
from support.waiting import PATIENCE, wait_for

import identengine
from identengine.cli import demoserver

PROGRAM = [sys.executable, "-m", "identengine"]


def test_once_shows_eight_cases() -> None:
    shown = subprocess.run(
        [*PROGRAM, "demo", "--once", "--port", str(free_port())], capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    mistakes = "The demo book has three deliberate mistakes: accounts.csv, lines 36, 65, 68."
    assert (lines[0], shown.stdout.count("mistake")) == (mistakes, 1)
    assert [line[0] for line in lines if re.match(r"\d+\. ", line)] == list("12345678")
    assert len(re.findall("accepted:", shown.stdout)) == 7
    assert len(re.findall("rejected:", shown.stdout)) == 2
    for word in (
        "account_capacity",
        "slot freed",
        " 203.0.113.10 port 5060",
        "tech prefix",
        "mask",
        "password=…",
        "Src Policy",
    ):
        assert word in shown.stdout
    everything = len(demoserver.samples()) + len(demoserver.calls())
    command = r"`\S*identengine demo --all`"
    assert re.search(rf"^All {everything} answers are as expected\.\s{command} shows them\.$", shown.stdout, re.M)
    assert "kettle-Orchard-41" not in shown.stdout


def test_all_shows_every_request_and_decision() -> None:
    shown = run("demo", "--once", "--all", "--port", free_port(), env={"COLUMNS": "1000"})
    assert (shown.status, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0] == "The demo book has three deliberate mistakes:"
    assert [line.split(": ")[0] for line in lines[1:4]] == [f"  accounts.csv:{number}" for number in (36, 65, 68)]
    asked = [*demoserver.samples(), *demoserver.calls()]
    titles = [number for number, line in enumerate(lines) if re.match(r"\d+\. ", line)]
    assert len(titles) == len(asked)
    for sample, number in zip(asked, titles, strict=True):
        expect = json.loads(bytes(sample.expect))
        assert sample.title in lines[number]
        decision = (
            f"  rejected: {expect['reason']}"
            if "reason" in expect
            else f"  accepted: {expect['account_id']} "
            if "account_id" in expect
            else "  done, 1 slot freed"
            if "freed" in expect
            else "  done"
        )
        assert lines[number + 1].startswith(decision)
    assert "kettle-Orchard-41" not in shown.out


@pytest.mark.parametrize("columns", [None, 60, 100])
@pytest.mark.parametrize("more", [(), ("--all",)])
def test_a_pipe_gets_folded_lines(columns: int | None, more: tuple[str, ...]) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    if columns:
        environment["COLUMNS"] = str(columns)
    command = [*PROGRAM, "demo", "--once", "--port", str(free_port()), *more]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    longest = max(map(len, shown.stdout.splitlines()))
    assert (columns or 80) - 20 < longest <= (columns or 80)


@pytest.mark.parametrize("terminal", [True, False])
def test_everything_fits_a_screen_of_80_by_40(terminal: bool) -> None:
    with demo_process(terminal=terminal) as (_, shown):
        lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert len(lines) < 40, "the last line is the cursor's"
    assert max(map(len, lines)) <= 80


def test_a_taken_port_is_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = run("demo", "--once", "--json", "--port", port)
    assert said.status == 0
    assert re.match(rf"port {port} is taken; the demo serves on \d+\n", said.err)
    shown = said.json
    assert len(shown) == len(demoserver.samples()) + len(demoserver.calls())
    assert [one["udp"].get("reason") or one["udp"].get("freed") for one in shown[-6:-2]] == [
        "account_capacity",
        None,
        1,
        None,
    ]
    assert all(one["udp"] == one["tcp"] and not one["wrong"] for one in shown)
    assert all("password" not in one["params"] for one in shown)


def test_every_hint_works_as_printed_where_the_demo_was_started(tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    on_path = f"{bin_folder}:{os.environ['PATH']}"
    for program, cwd, path in (
        (PROGRAM, ROOT, None),
        ([str(bin_folder / "identengine")], tmp_path, None),
        (["identengine"], tmp_path, on_path),
    ):
        with demo_process(program, cwd=cwd, path=path) as (_, shown):
            ask, disable = hints(shown)
            assert (path is None) == ("/identengine accounts" in disable)
            asked = partial(asked_account, ask, cwd, path)
            assert asked() == 102
            assert "account 102 disabled" in shell(disable, cwd, path)
            wait_for(partial(is_101, asked))


def is_101(asked: Callable[[], int]) -> bool:
    return asked() == 101


def asked_account(ask: str, cwd: Path, path: str | None) -> int:
    account: int = json.loads(shell(ask, cwd, path))["result"]["account_id"]
    return account


def hints(shown: str) -> list[str]:
    """Return the commands after the cases, as printed."""
    _, _, after = shown.partition("Ask the server yourself:\n")
    return re.findall(r"(?:^  .*\n)+", after, re.MULTILINE)


def shell(command: str, cwd: Path, path: str | None) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | ({} if path is None else {"PATH": path}),
    )
    assert done.returncode == 0, done
    return done.stdout


def test_it_serves_until_ctrl_c_and_leaves_nothing() -> None:
    with demo_process() as (process, shown):
        (folder,) = re.findall(r"--store \\?\s*(\S+)/store", shown)
        server = child_of(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert not Path(folder).exists()
        with pytest.raises(ProcessLookupError):
            os.kill(server, 0)


def child_of(process: subprocess.Popen[str]) -> int:
    """Return the process id of the demo's server."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def test_sigterm_and_a_closed_terminal_stop_the_server() -> None:
    for name in (signal.SIGTERM, signal.SIGHUP):
        with demo_process() as (process, _):
            server = child_of(process)
            process.send_signal(name)
            process.wait(PATIENCE)
            with pytest.raises(ProcessLookupError):
                os.kill(server, 0)


def test_an_unexpected_answer_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = demoserver.samples()
    other = msgspec.structs.replace(first, expect=msgspec.Raw(b'{"account_id":999}'))
    monkeypatch.setattr(demoserver, "samples", lambda: [other])
    said = run("demo", "--once", "--port", free_port())
    assert said.status == 1
    for transport in ("UDP", "TCP"):
        assert f"unexpected answer over {transport}: {first.title}: account_id: expected 999, got 101" in said.err


def test_a_limit_that_is_not_kept_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the stop, no slot is free."""
    calls = [call for call in demoserver.calls() if call.title != "The first call ends: its slot is free"]
    monkeypatch.setattr(demoserver, "samples", list)
    monkeypatch.setattr(demoserver, "calls", lambda: calls)
    said = run("demo", "--once", "--port", free_port())
    assert said.status == 1
    for transport in ("UDP", "TCP"):
        title = "The third call again: a slot is free"
        assert f"unexpected answer over {transport}: {title}: accepted: expected true, got false" in said.err


def test_a_killed_demo_stops_its_server() -> None:
    with demo_process() as (process, said):
        (folder,) = re.findall(r"--store \\?\s*(\S+)/store", said)
        server = child_of(process)
        process.kill()
        process.wait(PATIENCE)
        try:
            wait_for(lambda: not Path(f"/proc/{server}").exists())
        finally:
            shutil.rmtree(folder)


def test_a_server_that_does_not_start_is_reported_with_its_log(tmp_path: Path) -> None:
    config, _ = demoserver.prepare(tmp_path, 1)
    config.write_text("[store]\nnonsense = 1\n")
    with pytest.raises(demoserver.DemoError, match="nonsense"), demoserver.serving(config, 1, 1):
        pass


def test_without_the_data_the_message_names_the_source(tmp_path: Path) -> None:
    shutil.copytree(Path(identengine.__file__).parent, tmp_path / "identengine")
    said = subprocess.run([*PROGRAM, "demo", "--once"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.returncode == 1
    assert said.stderr.startswith(f"the demo's book is missing ({tmp_path}/data)")
    assert "Traceback" not in said.stderr


@contextmanager
def demo_process(
    program: Sequence[str] = PROGRAM, *, cwd: Path | None = None, path: str | None = None, terminal: bool = False
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``demo``. Yield the process and its output as soon as it has printed everything."""
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    environment |= {"TERM": "xterm"} | ({} if path is None else {"PATH": path})
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    output = follower if terminal else subprocess.PIPE
    command = [*program, "demo", "--port", str(free_port())]
    with (
        os.fdopen(leader, "rb", 0) as screen,
        os.fdopen(follower, "wb", 0),
        subprocess.Popen(command, stdout=output, stderr=output, text=True, cwd=cwd, env=environment) as process,
    ):
        shown = ""
        try:
            while "Serving until Ctrl-C" not in shown or not shown.endswith("\n"):
                if terminal:
                    text = screen.read(65536).decode().replace("\r\n", "\n")
                else:
                    assert process.stdout is not None
                    text = process.stdout.readline()
                assert text, process.communicate()
                shown += text
            yield process, shown
        finally:
            if process.poll() is None:
                process.terminate()
