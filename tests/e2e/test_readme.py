"""The README cannot drift: its examples run, its commands exist, what .ci/run takes from it is there."""

from __future__ import annotations

import os
import re
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
    script = block("example: first book").replace(". .venv/bin/activate\n", "")
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


def test_every_command_of_the_readme_is_there() -> None:
    table = README[README.index("## Commands") : README.index("## How it is built")]
    rows = re.findall(r"^\| (.*?) \| ", table, re.MULTILINE)[1:]
    named = set(re.findall(r"`(\w+)", " ".join(rows)))
    assert named == set(get_command(app).commands)  # type: ignore[attr-defined]  # a click Group


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()
