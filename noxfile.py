"""Development tasks as nox sessions: `nox -s setup`, then test, lint, types, docs, bench; `nox -l` lists them.

All sessions except ``setup`` use the tools in ``.venv``. The commands of the README do not need nox.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
BIN = ROOT / ".venv" / "bin"
CONSTRAINTS = {
    "PIP_CONSTRAINT": "constraints.txt",
    "PIP_BUILD_CONSTRAINT": "constraints.txt",  # newer pip ignores other constraints in build environments
    "PIP_USE_PEP517": "1",  # older pip builds pytricia without a build environment, where no constraint applies
}

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "test"]


def run(session: nox.Session, program: str, *arguments: str, **environment: str) -> None:
    """Run a program of ``.venv``."""
    session.run(str(BIN / program), *arguments, env=environment or None, external=True)


@nox.session
def setup(session: nox.Session) -> None:
    """Make .venv with everything that development needs, in the pinned versions, and install the git hooks."""
    session.run(sys.executable, "-m", "venv", ".venv", external=True)
    run(session, "pip", "install", "--quiet", "-e", ".[test,bench,dev]", **CONSTRAINTS)
    run(session, "pre-commit", "install")


@nox.session
def test(session: nox.Session) -> None:
    """Run the tests. Arguments go to pytest (`nox -s test -- -k name`)."""
    run(session, "python", "-m", "pytest", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """Run the tests that take minutes each."""
    run(session, "python", "-m", "pytest", "-m", "long", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run each fuzz test with new random input for an hour, or for FUZZ_SECONDS. Arguments go to pytest."""
    targets, seconds = session.posargs or ("tests/fuzz",), os.environ.get("FUZZ_SECONDS", "3600")
    run(session, "python", "-m", "pytest", "-m", "long", *targets, FUZZ_SECONDS=seconds)


@nox.session
def lint(session: nox.Session) -> None:
    """Run every check of .pre-commit-config.yaml on all files."""
    run(session, "pre-commit", "run", "--all-files", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    run(session, "mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Run the examples of the README and docs/, and check that they agree with the code."""
    run(
        session,
        "python",
        "-m",
        "pytest",
        "-k",
        "readme or docs or architecture or citations or unit_file",
        *session.posargs,
    )


@nox.session
def reference(session: nox.Session) -> None:
    """Write docs/cli.md again, from the help of every command."""
    run(session, "python", "-m", "support.clipage", PYTHONPATH=str(ROOT / "tests"))


@nox.session
def bench(session: nox.Session) -> None:
    """Run each benchmark briefly. `nox -s bench -- --full` runs them at full length."""
    full = "--full" in session.posargs
    quick = () if full else ("--quick",)
    for name in ("all", "takeup", "calls", "lint", "record"):
        run(session, "python", "-m", f"benchmarks.{name}", *quick)
    run(session, "python", "-m", "benchmarks.against", ".", *quick)
    small = () if full else ("--accounts", "2000", "--legs", "1000", "--rounds", "1")
    run(session, "python", "-m", "benchmarks.failover", *small)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure the coverage of the tests that run in process. Fail below the floor in pyproject.toml.

    These are the unit, conformance and property tests, and those of commands that edit and show the book. The
    others run without coverage, under which all tests take twice the processor time.
    """
    edits = "accounts audit clients edits history import_export imports init lists undo"
    looks = "explain_radius identify json_errors lint store why"
    commands = [f"tests/e2e/test_cli_{name}.py" for name in f"{edits} {looks}".split()]
    parts = ("tests/unit", "tests/conformance", "tests/property", *commands)
    # These tests compare times and losses, which tracing changes.
    untimed = ("-k", "not test_steps_grow_with_what_is_decided and not test_a_flood_of_one_source")
    run(session, "coverage", "erase")
    run(session, "coverage", "run", "-m", "pytest", *parts, *untimed, *session.posargs, CI="")
    run(session, "coverage", "combine", "--quiet")
    run(session, "coverage", "report", "--skip-covered", "--sort=-miss")


@nox.session
def package(session: nox.Session) -> None:
    """Build the sdist and the wheel in dist/."""
    run(session, "python", "-m", "build", **CONSTRAINTS)


@nox.session
def pin(session: nox.Session) -> None:
    """Rewrite constraints.txt with the newest versions that pyproject.toml and constraints.in allow."""
    inputs = ("pyproject.toml", "constraints.in", "--all-extras", "--universal", "--python-version", "3.11")
    header = ("--custom-compile-command", "nox -s pin")
    output = (
        "--quiet",
        "--upgrade",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--output-file",
        "constraints.txt",
    )
    # A company's registry may have a certificate that only the system knows.
    run(session, "uv", "pip", "compile", *inputs, *header, *output, *session.posargs, UV_SYSTEM_CERTS="1")
