"""The script for FreeSWITCH that docs/ ships, run by Lua with a stand-in for FreeSWITCH (freeswitch.lua)."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from support import ROOT
from support.programs import program
from support.waiting import PATIENCE

FOLDER = ROOT / "docs" / "switches" / "freeswitch"
SCRIPT = FOLDER / "identengine.lua"
_STUB = Path(__file__).with_suffix(".lua")


def check_syntax() -> None:
    """Compile the script, as mod_lua does when it runs it."""
    subprocess.run([program("luac5.3", "lua5.3"), "-p", str(SCRIPT)], check=True)


def run(folder: Path, **scenario: object) -> list[str]:
    """Run the script in a scenario, whose members freeswitch.lua describes. Return the events."""
    program("curl", "curl")
    described = folder / "scenario.lua"
    described.write_text(f"return {_lua(scenario)}\n")
    done = subprocess.run(
        [program("lua5.3", "lua5.3"), str(_STUB), str(SCRIPT), str(described)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines()]


def _lua(value: object) -> str:
    """Return a value as Lua writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'["{name}"] = {_lua(item)}' for name, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "{" + ", ".join(map(_lua, value)) + "}"
    assert isinstance(value, str)
    return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
