"""The repository holds no binaries, and pins versions without the address of a registry."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
BINARIES = re.compile(
    r"\.(whl|so|pyc|pyo|pyd|o|a|dll|exe|egg|jar|zip|tar|t?gz|t?bz2|t?xz|t?zst|7z|rar|deb|rpm|mdb|sqlite|db|bin|pkl|npy)$"
)
WITH_NUL = ("benchmarks/results/*.png", "tests/unit/book/mistakes/clients.csv")
"""Plots, and a book whose mistake is a NUL byte."""


@cache
def tracked() -> list[Path]:
    """Return the files that git tracks. Without git (in an sdist), skip the test."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a checkout of git")
    return [Path(name) for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_binaries_are_tracked() -> None:
    assert not [str(path) for path in tracked() if BINARIES.search(path.name)]
    holding = [path for path in tracked() if b"\0" in (ROOT / path).read_bytes()]
    assert not [str(path) for path in holding if not any(path.match(known) for known in WITH_NUL)]


def test_no_tracked_file_is_large() -> None:
    assert not [str(path) for path in tracked() if (ROOT / path).stat().st_size > 512 * 1024]


# ---- constraints.txt

CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PINNED = {
    canonicalize_name(one.name): one
    for one in (
        Requirement(line) for line in CONSTRAINTS.splitlines() if line and not line.lstrip().startswith("#")
    )
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = [
    *PYPROJECT["build-system"]["requires"],
    *PYPROJECT["project"]["dependencies"],
    *(each for extra in PYPROJECT["project"]["optional-dependencies"].values() for each in extra),
    *(line for line in (ROOT / "constraints.in").read_text().splitlines() if line and not line.startswith("#")),
]


def test_constraints_name_no_registry() -> None:
    for address in ("://", "file:", "--index-url", "--extra-index-url", "--find-links", "--trusted-host", " @ "):
        assert address not in CONSTRAINTS


def test_constraints_are_exact_and_without_hashes() -> None:
    assert all(re.fullmatch(r"==[^*,]+", str(one.specifier)) for one in PINNED.values())
    assert not any(one.extras for one in PINNED.values()), "pip takes no extras in constraints"
    assert "--hash" not in CONSTRAINTS


@pytest.mark.parametrize("wanted", WANTED)
def test_everything_is_pinned_within_its_bounds(wanted: str) -> None:
    requirement = Requirement(wanted)
    pinned = PINNED[canonicalize_name(requirement.name)]
    (exact,) = pinned.specifier
    assert requirement.specifier.contains(exact.version, prereleases=True)
    assert any(each.operator == ">=" for each in requirement.specifier), "each has a lower bound"


def test_the_commands_of_the_readme_install_by_them() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"<!-- command: \w+ -->\n```sh\n(.*?)```", readme, re.DOTALL)
    assert len(commands) == 2
    pinned = "PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_USE_PEP517=1"
    for command in commands:
        assert f"&& {pinned} .venv/bin/pip install" in command


def test_an_installation_brings_no_helpers_of_tests() -> None:
    """The packages that [project.dependencies] need, directly or not, are these."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    open_, found = [Requirement(one) for one in project["dependencies"]], set[str]()
    while open_:
        wanted = open_.pop()
        name = canonicalize_name(wanted.name)
        if name not in found and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            found.add(name)
            open_ += map(Requirement, requires(name) or [])
    assert found == {
        *("cffi", "cryptography", "pycparser"),
        *("annotated-doc", "shellingham", "typer"),
        *("markdown-it-py", "mdurl", "pygments", "rich"),
        *("click", "h11", "uvicorn"),
        *("lmdb", "msgspec", "prometheus-client", "pytricia", "uvloop"),
    }


@pytest.mark.parametrize(
    ("name", "vulnerable"),
    [("h11", "0.14"), ("h11", "0.15"), ("cryptography", "43.0.3"), ("cryptography", "44.0.0")],
)
def test_dependencies_exclude_versions_with_known_vulnerabilities(name: str, vulnerable: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (found,) = [one for one in map(Requirement, project["dependencies"]) if one.name == name]
    assert not found.specifier.contains(vulnerable)
