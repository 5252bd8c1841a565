"""The README cannot drift: its examples run, its commands exist, what .ci/run takes from it is there."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sysconfig
from pathlib import Path

import pytest
from typer.main import get_command

from identengine.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None, mark
    return found[1]


def test_the_two_commands_are_on_the_first_screen() -> None:
    first_screen = "\n".join(README.splitlines()[:30])
    for mark in ("command: demo", "command: test"):
        command = block(mark)
        assert command in first_screen
        assert command.startswith("python3 -m venv .venv && ")


def test_the_first_book_runs_as_it_stands(tmp_path: Path) -> None:
    scripts = sysconfig.get_path("scripts")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    example = "".join(block(f"example: {name}") for name in ("first book", "serve", "change"))
    assert example.count("4870") == 3
    # What ends the server where the example breaks off.
    script = "set -m\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + example.replace(
        ". .venv/bin/activate\n", ""
    ).replace("4870", str(port))
    env = {"PATH": f"{scripts}:{os.environ['PATH']}", "HOME": str(tmp_path), "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "acme premium" in done.stdout
    assert "tech_prefix_mismatch" in done.stdout
    answer = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"jsonrpc"')))
    assert (answer["result"]["accepted"], answer["result"]["account_name"]) == (True, "acme trunk")
    assert "version 3 holds what version 1 held" in done.stdout
    made = {path.name for path in tmp_path.iterdir()}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert made <= {line.strip("/") for line in ignored}, "one `git add .` would commit what the first book makes"


def test_every_command_of_the_readme_is_there() -> None:
    table = README[README.index("## Commands") : README.index("## How it is built")]
    rows = re.findall(r"^\| (.*?) \| ", table, re.MULTILINE)[1:]
    named = set(re.findall(r"`(\w+)", " ".join(rows)))
    assert named == set(get_command(app).commands)  # type: ignore[attr-defined]  # a click Group


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()
