"""With ``--json`` every command prints its errors as one JSON document (interfaces.md 2, "JSON shapes")."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.cli import Run, demo_store, run
from typer.main import get_command

from identengine.cli import app


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the command of all that run."""
    if path and (not hasattr(command, "commands") or command.invoke_without_command):
        yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(child, (*path, name))


LEAVES = dict(leaves(get_command(app)))
every_command = pytest.mark.parametrize("path", LEAVES, ids=" ".join)


def error_of(result: Run, status: int) -> dict[str, Any]:
    """Return the error of a command that printed nothing else."""
    assert (result.status, result.out) == (status, ""), result
    document = json.loads(result.err)
    assert list(document) == ["error"]
    assert list(document["error"]) == ["message", "problems", "total"]
    assert document["error"]["message"]
    return dict(document["error"])


WORDS = {
    ("accounts", "add"): ["client_id=1", "name=x", "ident_by=ip", "ident=192.0.2.1"],
    ("accounts", "disable"): ["1"],
    ("accounts", "edit"): ["--from", "-"],
    ("accounts", "enable"): ["1"],
    ("accounts", "password", "clear"): ["1"],
    ("accounts", "password", "generate"): ["1"],
    ("accounts", "remove"): ["1"],
    ("accounts", "set"): ["1", "notes=x"],
    ("calls", "end"): ["x"],
    ("clients", "add"): ["name=x"],
    ("clients", "block"): ["1"],
    ("clients", "edit"): ["--from", "-"],
    ("clients", "remove"): ["1"],
    ("clients", "set"): ["1", "notes=x"],
    ("clients", "unblock"): ["1"],
    ("dids", "add"): ["number=441", "account_id=1"],
    ("dids", "edit"): ["--from", "-"],
    ("dids", "remove"): ["441"],
    ("dids", "set"): ["441", "status=active"],
    ("explain",): ["src_ip=192.0.2.1"],
    ("identify",): ["src_ip=192.0.2.1"],
    ("load",): ["tcp://127.0.0.1:1"],
}
"""The words of commands that need other words than a number for each required argument."""


def words_of(path: tuple[str, ...]) -> list[str]:
    """Return the words that a command needs."""
    required = [param for param in LEAVES[path].params if param.param_type_name == "argument" and param.required]
    return WORDS.get(path) or ["1"] * len(required)


@every_command
def test_an_unknown_option(path: tuple[str, ...]) -> None:
    for words in ((*path, "--nonsense", "--json"), (*path, "--json", "--nonsense")):
        assert "--nonsense" in error_of(run(*words), 2)["message"]


@every_command
def test_a_missing_or_superfluous_argument(path: tuple[str, ...]) -> None:
    if any(param.param_type_name == "argument" and param.required for param in LEAVES[path].params):
        error_of(run(*path, "--json"), 2)
    takes_many = any(param.nargs == -1 for param in LEAVES[path].params)
    if not takes_many and not hasattr(LEAVES[path], "commands"):
        optional = sum(param.param_type_name == "argument" for param in LEAVES[path].params)
        error_of(run(*path, *["1"] * (optional + 1), "--json"), 2)


@every_command
def test_a_config_that_is_missing(path: tuple[str, ...], tmp_path: Path) -> None:
    options = {option for param in LEAVES[path].params for option in param.opts}
    if "--config" not in options:
        return
    missing = tmp_path / "none.toml"
    result = run(*path, *words_of(path), "--config", missing, "--json")
    assert str(missing) in error_of(result, 1)["message"]


@every_command
def test_a_store_that_cannot_be_opened(path: tuple[str, ...], tmp_path: Path) -> None:
    options = {option for param in LEAVES[path].params for option in param.opts}
    if "--store" not in options:
        return
    (tmp_path / "file").write_text("no folder")
    calls = ("--calls", tmp_path) if "--calls" in options else ()
    error_of(run(*path, *words_of(path), *calls, "--json", store=tmp_path / "file" / "store"), 1)


@pytest.mark.parametrize(
    "words",
    [
        ("--json",),
        ("nonsense", "--json"),
        ("accounts", "--json"),
        ("accounts", "lst", "--json"),
        ("clients", "disable", "1", "--json"),
        ("rollback", "one", "--json"),
        ("accounts", "list", "--limit", "x", "--json"),
        ("import", "BOOK", "--missing", "sometimes", "--json"),
        ("identify", "src_ip", "--json"),
        ("identify", "nonsense=1", "--json"),
        ("load", "tcp://127.0.0.1:1", "--rate", "1", "--window", "1", "--json"),
        ("export", "FOLDER", "--excel", "--gz", "--json"),
        ("calls", "end", "--json"),
        ("serve", "--json"),
    ],
    ids=" ".join,
)
def test_wrong_usage(words: tuple[str, ...]) -> None:
    error_of(run(*words), 2)


def test_all_mistakes_of_a_book_or_config_are_problems(tmp_path: Path) -> None:
    book = tmp_path / "book"
    book.mkdir()
    (book / "clients.csv").write_text("id,name\nx,a\n2,\n")
    error = error_of(run("import", book, "--json", store=tmp_path / "store"), 1)
    assert (error["total"], [one["line"] for one in error["problems"]]) == (2, [2, 3])
    config = tmp_path / "identengine.toml"
    config.write_text("[nonsense]\n[listen]\nudp = 5\n")
    error = error_of(run("serve", "--config", config, "--check", "--json"), 1)
    assert error["total"] == len(error["problems"]) >= 2


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    for words in (("calls",), ("calls", "end", "x"), ("top",), ("stats",)):
        error_of(run(*words, "--calls", tmp_path, "--json"), 1)


def test_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("identengine.cli.history.emit_many", full)
    error = error_of(run("versions", "--json", store=demo_store(tmp_path)), 1)
    assert error["message"] == f"standard output: {os.strerror(errno.ENOSPC)}"


def test_a_prompt_that_is_aborted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def aborted(*_: object, **__: object) -> None:
        raise typer.Abort

    monkeypatch.setattr("identengine.cli.passwords.run_edit", aborted)
    result = run("accounts", "password", "generate", "101", "--json", store=demo_store(tmp_path))
    assert error_of(result, 1)["message"] == "aborted; nothing was changed"


def test_a_word_after_two_hyphens_is_no_option() -> None:
    result = run("versions", "--", "--json")
    assert result.status == 2
    assert result.err.startswith("Usage: ")
