"""README and docs cannot drift: examples run, commands exist, configs are right, links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
from support import ROOT
from support.ports import free_port
from typer.main import get_command

from identengine.cli import app
from identengine.config.schema import CallsConfig
from identengine.config.sections import from_values
from identengine.stats.registry import PLACE

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


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
    port = free_port()
    example = "".join(block(f"example: {name}") for name in ("first book", "serve", "calls", "change"))
    assert example.count("4870") == 4
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
    answers = [json.loads(line)["result"] for line in done.stdout.splitlines() if line.startswith('{"jsonrpc"')]
    asked, no_room, started, stopped, room = answers
    assert (asked["accepted"], asked["account_name"]) == (True, "acme trunk")
    assert (no_room["reason"], started, stopped["freed"]) == ("account_capacity", {"ok": True}, 1)
    assert room["accepted"]
    assert "reserved" in done.stdout
    assert "rejected_account_capacity" in done.stdout
    assert "1 leg ended" in done.stdout
    assert "version 3 restores version 1" in done.stdout
    made = {path.name for path in tmp_path.iterdir()}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert made <= {line.strip("/") for line in ignored}, "one `git add .` would commit what the first book makes"


def test_every_command_of_the_readme_is_there() -> None:
    table = README[README.index("## Commands") : README.index("## How it is built")]
    rows = re.findall(r"^\| (.*?) \| ", table, re.MULTILINE)[1:]
    named = set(re.findall(r"`(\w+)", " ".join(rows)))
    assert named == set(get_command(app).commands)  # type: ignore[attr-defined]  # a click Group


@pytest.mark.parametrize(
    ("page", "link"), [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())]
)
def test_links_lead_somewhere(page: Path, link: str) -> None:
    assert (page.parent / link).exists()


def configs() -> list[tuple[str, str]]:
    return [
        (page.name, text)
        for page in PAGES
        for text in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    ]


@pytest.mark.parametrize(("page", "text"), configs())
def test_configs_are_right_and_served(page: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r'env = "(\w+)"', text):
        monkeypatch.setenv(variable, f"what {variable} is")
    assert from_values(tomllib.loads(text), None).warnings == (), page


def test_the_calls_section_of_the_docs_names_every_default() -> None:
    (said,) = [tomllib.loads(text)["calls"] for _, text in configs() if "[calls]" in text]
    standard = {name: getattr(CallsConfig(), name) for name in CallsConfig.__struct_fields__}
    for name in ("url", "on_outage"):  # not served yet
        del standard[name]
    assert said | {"path": Path(said["path"]), "global_capacity": None} == standard


def test_the_counters_of_the_docs_are_there() -> None:
    table = (ROOT / "docs" / "running.md").read_text().partition("| in `stats` |")[2]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert named
    assert set(named) <= PLACE.keys()
