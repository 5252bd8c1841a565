"""The script for FreeSWITCH that docs/ ships, run by Lua with a stand-in for FreeSWITCH (freeswitch.lua)."""

from __future__ import annotations

import copy
import json
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support import HOST, ROOT
from support.programs import program
from support.recipes import TOKEN
from support.server import Server
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


class Site:
    """An engine, and a FreeSWITCH that asks it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.engines = [f"http://{HOST}:{server.ports['http']}"]
        slow = {"identengine_connect": "20", "identengine_timeout": "20"}  # the machine of a test may be slow
        self.settings: dict[str, str] = {"identengine_token": TOKEN, **slow}
        self.profiles: dict[str, str] = {}
        """The profiles of mod_hiredis, as options of redis-cli."""

    def use_redis(self) -> None:
        """Ask by mod_hiredis."""
        program("redis-cli", "redis-tools")
        self.engines = ["identengine"]
        self.profiles["identengine"] = redis_options(self.server.ports["tcp"])
        self.settings["identengine_transport"] = "redis"

    def at(self, folder: Path) -> Site:
        """Return this site with another folder."""
        other = copy.copy(self)
        other.folder = folder
        return other

    def globals(self) -> dict[str, str]:
        """Return the global variables of the script."""
        return {"identengine_engines": " ".join(self.engines), **self.settings}

    def call(self, source: str, dialled: str, *bridges: str, **variables: str) -> list[str]:
        """Place a call. Return the events."""
        channel = {
            "uuid": str(uuid.uuid4()),
            "sip_network_ip": source,
            "sip_network_port": "5060",
            "caller_id_number": "442070000000",
            "destination_number": dialled,
        }
        return run(
            self.folder,
            globals=self.globals(),
            variables=channel | variables,
            bridges=list(bridges),
            profiles=self.profiles,
        )

    def script(self, *words: str, channels: str = "") -> list[str]:
        """Run the script with arguments, as luarun does."""
        return run(
            self.folder, globals=self.globals(), argv=list(words), channels=channels, profiles=self.profiles
        )


def asked(events: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the methods that the script asked by HTTP, and their parameters."""
    found = [event.split(" ", 2) for event in events if event.startswith("curl ")]
    return [(method, json.loads(body)) for _, method, body in found]


def redis_options(port: int, token: str = TOKEN) -> str:
    """Return the options of redis-cli for a connection of mod_hiredis."""
    return f"-h {HOST} -p {port} -a {token} --no-auth-warning"


def commands(events: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Return the commands that the script sent by mod_hiredis, and their fields."""
    found = [event.split(" ")[1:] for event in events if event.startswith("redis ")]
    return [(command, dict(field.split("=", 1) for field in fields.split("|"))) for command, fields in found]


def methods(events: list[str]) -> list[str]:
    """Return the methods that the script asked by HTTP."""
    return [method for method, _ in asked(events)]


def responses(events: list[str]) -> list[str]:
    """Return the codes and phrases that the caller got."""
    return [event.removeprefix("respond ") for event in events if event.startswith("respond ")]


def bridges(events: list[str]) -> list[str]:
    """Return the calls to vendors, each with the number of its caller."""
    return [event.removeprefix("bridge ") for event in events if event.startswith("bridge ")]
