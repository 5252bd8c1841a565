"""``identengine demo``: the main job in one command, with a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from support.cli import run
from support.ports import free_port
from support.waiting import PATIENCE, wait_for

import identengine
from identengine.cli import demoserver

PROGRAM = [sys.executable, "-m", "identengine"]


def test_once_shows_every_request_and_decision() -> None:
    said = subprocess.run([*PROGRAM, "demo", "--once"], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(" 1  "))
    for sample, row in zip(demoserver.samples(), lines[first:], strict=False):
        expect = json.loads(bytes(sample.expect))
        assert sample.title in row
        assert (
            f"rejected: {expect['reason']}" in row
            if "reason" in expect
            else f"accepted: {expect['account_id']} " in row
        )
    assert "kettle-Orchard-41" not in said.stdout
    calls = lines[lines.index("Calls at a limit, one message after another:") + 2 :]
    assert len(calls) == len(demoserver.calls())
    decided = [re.split("  +", line)[-1].partition(" (")[0].partition(",")[0] for line in calls]
    accepted = "accepted: 199 Ironbridge gatehouse"
    assert decided == [
        accepted,
        accepted,
        "rejected: account_capacity",
        "done",
        "done: 1 slot freed",
        accepted,
        "done: 1 slot freed",
        "done: 1 slot freed",
    ]


def test_a_port_that_is_taken_is_no_obstacle() -> None:
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


def test_it_goes_on_serving_as_it_says_and_leaves_nothing() -> None:
    with demo_process() as (process, said):
        (folder,) = re.findall(r"of a store in (\S+)", said)
        (server,) = re.findall(r"process (\d+)", said)
        (python,) = re.findall(r"^  (python3 -c .*)$", said, re.MULTILINE)
        asked = subprocess.run(["/bin/bash", "-c", python], capture_output=True, text=True, check=True)
        assert json.loads(asked.stdout)["result"]["account_id"] == 102
        (explain,) = re.findall(r"identengine (explain .*)$", said, re.MULTILINE)
        explained = subprocess.run([*PROGRAM, *explain.split()], capture_output=True, text=True, check=False)
        assert explained.returncode == 0, explained.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert not Path(folder).exists()
        with pytest.raises(ProcessLookupError):
            os.kill(int(server), 0)


def test_sigterm_and_a_closed_terminal_take_the_server_along() -> None:
    for name in (signal.SIGTERM, signal.SIGHUP):
        with demo_process() as (process, said):
            (server,) = re.findall(r"process (\d+)", said)
            process.send_signal(name)
            process.wait(PATIENCE)
            with pytest.raises(ProcessLookupError):
                os.kill(int(server), 0)


def test_an_answer_that_is_not_the_expected_one_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = demoserver.samples()
    other = msgspec.structs.replace(first, expect=msgspec.Raw(b'{"account_id":999}'))
    monkeypatch.setattr(demoserver, "samples", lambda: [other])
    said = run("demo", "--once", "--port", free_port())
    assert said.status == 1
    for transport in ("UDP", "TCP"):
        assert f"not as expected over {transport}: {first.title}: account_id is 101, expected was 999" in said.err


def test_a_limit_that_is_not_kept_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the stop had freed nothing."""
    calls = [call for call in demoserver.calls() if call.title != "And ends: its slot is free"]
    monkeypatch.setattr(demoserver, "samples", list)
    monkeypatch.setattr(demoserver, "calls", lambda: calls)
    said = run("demo", "--once", "--port", free_port())
    assert said.status == 1
    for transport in ("UDP", "TCP"):
        title = "The third one again: there is room now"
        assert f"not as expected over {transport}: {title}: accepted is False, expected was True" in said.err


def test_a_demo_that_is_killed_takes_the_server_along() -> None:
    with demo_process() as (process, said):
        (folder,) = re.findall(r"of a store in (\S+)", said)
        (server,) = re.findall(r"process (\d+)", said)
        process.kill()
        process.wait(PATIENCE)
        try:
            wait_for(lambda: not Path(f"/proc/{server}").exists())
        finally:
            shutil.rmtree(folder)


def test_a_server_that_does_not_come_up_is_told_with_its_log(tmp_path: Path) -> None:
    config, _ = demoserver.prepare(tmp_path, 1)
    config.write_text("[store]\nnonsense = 1\n")
    with pytest.raises(demoserver.DemoError, match="nonsense"), demoserver.serving(config, 1, 1):
        pass


def test_without_the_data_it_says_where_to_get_it(tmp_path: Path) -> None:
    shutil.copytree(Path(identengine.__file__).parent, tmp_path / "identengine")
    said = subprocess.run([*PROGRAM, "demo", "--once"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.returncode == 1
    assert said.stderr.startswith(f"the demo's book is not there ({tmp_path}/data)")
    assert "Traceback" not in said.stderr


@contextmanager
def demo_process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``demo``; yield it and what it said, once it only serves."""
    with subprocess.Popen(
        [*PROGRAM, "demo", "--port", str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        try:
            while "Serving until Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, process.communicate()
                said += line
            yield process, said
        finally:
            if process.poll() is None:
                process.terminate()
