"""docs/client.md runs as it stands: its programs against a real server, its mix through load."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import HOST, ROOT
from support.books import ip_account, put_rows
from support.cli import run
from support.server import serving

from identengine.model.records import Client

PAGE = (ROOT / "docs" / "client.md").read_text()


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, name
    return found[1]


def test_the_page_runs(tmp_path: Path) -> None:
    accounts = [ip_account(1, "192.0.2.0/28"), ip_account(2, "192.0.2.5", tech_prefix="77#")]
    put_rows(tmp_path / "store", accounts, [Client(id=1, name="customer")])
    with serving(tmp_path) as server:
        said = {}
        for name, port in (("asyncio", "tcp"), ("udp", "udp"), ("script", "tcp")):
            text = example(name)
            assert "4870" in text
            program = text.replace("4870", str(server.ports[port]))
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            said[name] = done.stdout.splitlines()
        assert sorted(line for line in said["asyncio"] if "calls" in line) == sorted(
            f"call-{n}: account 2 calls 44207946{n:04}" for n in range(100)
        )
        assert sum(line.endswith(": 1 slot freed") for line in said["asyncio"]) == 100
        assert said["udp"] == ["2 192.0.2.5"]
        assert said["script"] == ["1", "account 1 None", "account 2 tech_prefix_mismatch", "-32602 interval soon"]

        mix = tmp_path / "mix.jsonl"
        found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
        assert found is not None
        mix.write_text(found[1])
        measured = run("load", f"tcp://{HOST}:{server.ports['tcp']}", mix, "--requests", 3000, "--json")
        assert measured.status == 0, measured
        assert measured.json["report"]["sent"] == 3000


@pytest.mark.parametrize("word", re.findall(r"`(--[a-z-]+)", PAGE))
def test_its_options_are_those_of_load(word: str) -> None:
    assert word in run("load", "--help", env={"COLUMNS": "300"}).out
