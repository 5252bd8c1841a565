"""The command line run in process, and the demo's book in a store, for the tests of the commands."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock  # only the environment

from typer.main import get_command

from identengine.cli import app
from support import ROOT

_COMMAND = get_command(app)  # once, since typer reads every signature for it

BOOK = ROOT / "data" / "book"


class Run(NamedTuple):
    """Output and exit status of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class _Terminal(io.TextIOWrapper):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def run(
    *arguments: object,
    store: Path | None = None,
    stdin: str | bytes = "",
    env: dict[str, str] | None = None,
    screen: int | None = None,
) -> Run:
    """Run ``identengine ARGUMENTS`` with a pipe as output. An uncaught exception fails the test.

    ``screen`` is the width of a terminal without colours that gets the output instead.
    """
    words = [str(argument) for argument in arguments]
    if store is not None:
        words += ["--store", str(store)]
    surroundings = {name: text for name, text in os.environ.items() if not name.startswith("IDENTENGINE_")}
    surroundings.pop("SUDO_USER", None)
    surroundings |= {"USER": "tester", "COLUMNS": str(screen or 100)} | (env or {})
    stream: type[io.TextIOWrapper] = io.TextIOWrapper
    if screen is not None:
        surroundings = {"NO_COLOR": "1"} | surroundings
        stream = _Terminal
    # Encoded as the streams of a process are, so that text without an encoding fails here too.
    out, err = stream(io.BytesIO(), "utf-8"), stream(io.BytesIO(), "utf-8", "backslashreplace")
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin), "utf-8")
    try:
        with mock.patch.dict(os.environ, surroundings, clear=True), redirect_stdout(out), redirect_stderr(err):
            _COMMAND(words, prog_name="identengine")
    except SystemExit as end:
        return Run(int(end.code or 0), _written(out), _written(err))
    finally:
        sys.stdin = before
    raise AssertionError("a command ends with an exit status")


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def done(*arguments: object, store: Path | None = None, stdin: str | bytes = "") -> Run:
    """Run a command that must succeed."""
    result = run(*arguments, store=store, stdin=stdin)
    assert result.status == 0, result
    return result


def demo_store(folder: Path) -> Path:
    """Return a new store with the demo's book as version 1."""
    store = folder / "store"
    done("import", BOOK, store=store)
    return store


def config_with(folder: Path, text: str) -> Path:
    """Write a config next to the store."""
    path = folder / "identengine.toml"
    calls = "" if "[calls]" in text else '[calls]\npath = "calls"\nmax_legs = 1000\n'
    path.write_text(f'[store]\npath = "store"\n{text}\n{calls}')
    return path
