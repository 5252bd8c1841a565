"""The sdist and the wheel, built from a copy of the source, installed elsewhere, and running the demo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".nox", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "results"
)

pytestmark = pytest.mark.timeout(240)


class Built(NamedTuple):
    """The built distributions."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the sdist, and the wheel from it, with the installed tools. Nothing is downloaded."""
    folder = tmp_path_factory.mktemp("distribution")
    source, output = folder / "source", folder / "dist"
    shutil.copytree(ROOT, source, ignore=NOT_COPIED)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    return Built(sdist, wheel)


def below(folder: str) -> set[str]:
    """Return the files of a folder of the source, as paths from its root."""
    paths = (ROOT / folder).rglob("*")
    return {str(path.relative_to(ROOT)) for path in paths if path.is_file() and "__pycache__" not in path.parts}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(archive.read(name))


def test_the_sdist_has_the_docs_the_tests_and_the_pinned_versions(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "docs/service/identengine.service",
        "constraints.txt",
        "constraints.in",
        "noxfile.py",
        "stubs/pytricia.pyi",
    } <= found
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", ".pre-commit-config.yaml"} <= found
    for folder in (".ci", "data", "docs", "tests", "stubs"):
        assert below(folder) <= found
    assert not [name for name in found if name.endswith((".pyc", ".so", ".whl"))]


def test_the_wheel_has_the_data_and_the_types(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        found = set(archive.namelist())
    assert {"identengine/py.typed", "identengine/config/sample.toml"} <= found
    assert {name for name in below("identengine") if name.endswith(".py")} <= found
    data = {name.partition("/share/identengine/")[2] for name in found if "/share/identengine/" in name}
    assert {f"data/{name}" for name in data} == below("data")
    assert not [name for name in found if name.startswith(("tests", "benchmarks", "stubs"))]


def test_the_metadata_is_that_of_the_project(built: Built) -> None:
    found = metadata(built.wheel)
    assert (found["Name"], found["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert found["Requires-Python"] == PROJECT["requires-python"]
    assert found["Summary"] == PROJECT["description"]
    assert set(found.get_all("Classifier", [])) == set(PROJECT["classifiers"])
    needed = [each for each in found.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert len(needed) == len(PROJECT["dependencies"])


def test_the_installed_command_shows_the_demo(built: Built, tmp_path: Path) -> None:
    """The demo runs in a folder of its own with an empty environment and nothing of the checkout."""
    home, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    subprocess.run([*install, str(built.wheel)], check=True)
    # Its dependencies are those of this environment. A line of a .pth file adds a folder, but ignores the .pth
    # files in that folder, so the checkout itself stays unknown.
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            [*command], cwd=elsewhere, env={}, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    place = run(python, "-c", "import identengine; print(identengine.__file__)").strip()
    assert Path(place).is_relative_to(site)
    command = home / "bin" / "identengine"
    assert run(command, "--version") == f"identengine {PROJECT['version']}\n"
    assert "Ironbridge" in run(command, "demo", "--once")
    assert not os.listdir(elsewhere)  # noqa: PTH208 - only whether there is anything
