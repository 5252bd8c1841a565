"""The unit of docs/service: systemd accepts it, and its assumptions about the program hold."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, docs
from support.programs import program

from identengine.config.sections import from_values
from identengine.server import preflight
from identengine.server.supervisor.filelimit import needed

SERVICE = ROOT / "docs" / "service"
UNIT = SERVICE / "identengine.service"


def analyze() -> str:
    """Return systemd-analyze."""
    program("kill", "procps")  # of ExecReload
    return program("systemd-analyze", "systemd procps")


def values(key: str) -> list[str]:
    return [
        line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")
    ]  # fmt: skip


def verify(folder: Path, unit: str) -> list[str]:
    """Return the complaints of systemd about a unit."""
    copy = folder / "identengine.service"
    copy.write_text(unit)
    run = subprocess.run(
        [analyze(), "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, timeout=50
    )
    return [line for line in run.stderr.splitlines() if "identengine.service" in line]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    # The program and its docs are not installed where the unit expects them.
    unit = UNIT.read_text().replace("/opt/identengine/.venv/bin/identengine", "/bin/true")
    assert verify(tmp_path, unit) == []


def test_a_mistake_in_the_unit_would_be_found(tmp_path: Path) -> None:
    unit = UNIT.read_text().replace("/opt/identengine/.venv/bin/identengine", "/bin/true")
    (said,) = verify(tmp_path, unit.replace("WatchdogSec=60", "WatchdogSec=often"))
    assert said.endswith("Failed to parse sec value, ignoring: often")


def test_what_the_unit_relies_on() -> None:
    default = from_values({}, None)
    (runtime,), (states,) = values("RuntimeDirectory"), values("StateDirectory")
    state, record = states.split()
    assert Path("/run") / runtime == default.calls.path
    assert Path("/var/lib") / state == default.store.path
    assert Path("/var/lib") / record == default.record.path
    assert values("RuntimeDirectoryPreserve") == ["yes"]
    assert values("Type") == ["notify"]
    assert int(values("LimitNOFILE")[0]) >= needed(default)
    (start,) = values("ExecStart")
    assert start.split()[1:2] == ["serve"]
    assert values("RestartPreventExitStatus") == ["1 2"]
    assert values("ExecStartPre") == [], "where it fails, systemd starts again all the same"


def test_what_is_named_is_put_there_by_the_install_steps() -> None:
    page = SERVICE.parent / "operate" / "install.md"
    steps = "".join(step.script for step in docs.steps(page))
    assert "cp -r docs /opt/identengine/ " in steps
    for named in values("Documentation"):
        assert (SERVICE.parents[1] / named.removeprefix("file:/opt/identengine/")).is_file()
    program = values("ExecStart")[0].split()[0]
    assert f"ln -s {program} /usr/local/bin/identengine" in steps
    assert f"runuser -u {values('User')[0]} -- identengine import" in steps
    assert steps.index("identengine init") < steps.index(" import ") < steps.index("systemctl enable --now")


def test_system_calls_that_are_needed_are_allowed() -> None:
    assert values("SystemCallFilter")[-1].split() == ["setrlimit", "prlimit64"]
    assert values("SystemCallErrorNumber") == ["EPERM"], "what is missing all the same should not kill the decider"


NOT_OURS = (
    f'[listen] udp: expected an address of this machine, got "192.0.2.1:4870" ({os.strerror(errno.EADDRNOTAVAIL)})'
)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"listen": {"udp": ["192.0.2.1:4870"]}},
            NOT_OURS,
        ),
        ({"calls": {"path": "/proc/version/calls"}}, "[calls] path: /proc/version is not a folder"),
        (
            {"calls": {"path": "{tmp}/" + 300 * "x"}},
            f"xxx: {os.strerror(errno.ENAMETOOLONG)}. Choose another path.",
        ),
        ({"calls": {"path": "{tmp}", "max_legs": 1_000_000_000}}, "[calls] max_legs: 1000000000 legs need"),
        (
            {"listen": {"tls": ["127.0.0.1:0"]}, "tls": {"certificate": "{tmp}/no.pem", "key": "{tmp}/no.key"}},
            f'no.pem" ({os.strerror(errno.ENOENT)})',
        ),
    ],
)
def test_what_a_start_would_trip_over(values: dict[str, dict[str, object]], said: str, tmp_path: Path) -> None:
    filled: dict[str, object] = {
        name: {key: value.replace("{tmp}", str(tmp_path)) if isinstance(value, str) else value
               for key, value in table.items()}
        for name, table in values.items()
    }  # fmt: skip
    config = from_values({"calls": {"path": str(tmp_path)}, **filled}, None)
    assert any(said in problem for problem in preflight.problems(config)), preflight.problems(config)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_named_among_other_mistakes(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        values = {"calls": {"path": str(closed / "a" / "b")}, "listen": {"udp": ["192.0.2.1:4870"]}}
        found = preflight.problems(from_values(values, None))
    finally:
        closed.chmod(0o700)
    assert [one.partition(";")[0].partition(", so")[0] for one in found] == [
        NOT_OURS,
        f"[calls] path: {closed} is not writable",
    ]


def test_nothing_is_wrong_with_a_good_one(tmp_path: Path) -> None:
    config = from_values({"calls": {"path": str(tmp_path), "max_legs": 1000}}, None)
    assert preflight.problems(config) == []
    assert list(tmp_path.iterdir()) == []


def test_too_few_open_files_are_named(tmp_path: Path) -> None:
    config = tmp_path / "identengine.toml"
    config.write_text('[calls]\npath = "calls"\nmax_legs = 1000\n')
    command = f"ulimit -n 300; exec {sys.executable} -m identengine serve --check --config {config}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=50)
    assert run.returncode == 0
    assert (
        "[limits] connections: 1000 connections need 1130 open files, and this process may open 300" in run.stderr
    )
    assert "LimitNOFILE=1130" in run.stderr
