"""Every command has a help text with a valid example, and the list of commands is that of the spec."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from support.cli import run
from typer.main import get_command

from identengine.cli import app
from identengine.cli.groups import FIRST_STEPS, GROUPS

COMMANDS = {
    "demo",
    "serve",
    "init",
    "import",
    "export",
    "copy",
    "versions",
    "diff",
    "rollback",
    "revert",
    "audit",
    *(
        f"accounts {name}"
        for name in ("list", "search", "show", "add", "set", "edit", "enable", "disable", "remove")
    ),
    *(f"accounts password {name}" for name in ("show", "set", "generate", "clear")),
    *(
        f"clients {name}"
        for name in ("list", "search", "show", "add", "set", "edit", "block", "unblock", "remove")
    ),
    *(f"dids {name}" for name in ("list", "search", "show", "add", "set", "edit", "remove")),
    "identify",
    "explain",
    "rejects",
    "why",
    "calls",
    "calls end",
    "calls show",
    "stats",
    "top",
    "key rotate",
    "store check",
    "store info",
    "load",
    "lint",
}
"""The commands of interfaces.md 2 that are built."""


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in getattr(command, "commands", {}).items():
        yield (*path, name), child
        yield from walk(child, (*path, name))


EVERY = dict(walk(get_command(app)))
LEAVES = [
    path for path, command in EVERY.items() if not hasattr(command, "commands") or command.invoke_without_command
]


def test_the_commands_are_those_of_the_spec() -> None:
    assert {" ".join(path) for path in LEAVES} == COMMANDS


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    said = run(*path, "--help", env={"COLUMNS": "300"})
    assert said.status == 0
    (example,) = re.findall(r"Example: identengine (.*)", said.out)
    words = shlex.split(example.split("<")[0].strip(" │"))
    # The example calls this command or one of its family, and its options exist.
    assert tuple(words[: len(path)]) == path
    leaf = next(leaf for leaf in sorted(LEAVES, key=len, reverse=True) if tuple(words[: len(leaf)]) == leaf)
    options = {option for param in EVERY[leaf].params for option in param.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("path", [(), *EVERY], ids=" ".join)
def test_help_shows_every_text_as_written(path: tuple[str, ...]) -> None:
    """A text in brackets would be read as markup and vanish."""
    command = EVERY[path] if path else get_command(app)
    shown = words_of(run(*path, "--help", env={"COLUMNS": "300"}).out)
    texts = [command.help, command.epilog, *(getattr(param, "help", None) for param in command.params)]
    texts += [below.help.split("\n\n")[0] for below in getattr(command, "commands", {}).values()]
    for text in filter(None, texts):
        assert words_of(text.replace("\\[", "[")) in shown


def test_help_keeps_brackets() -> None:
    assert "Default: [calls] path in the config." in words_of(run("calls", "--help", env={"COLUMNS": "300"}).out)


def test_every_command_has_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    top = {path[0] for path in EVERY}
    assert top == set(grouped)


def test_the_help_is_grouped_fits_80_columns_and_closes_with_first_steps() -> None:
    shown = run("--help", env={"COLUMNS": "80"}).out
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    titles = [line.strip("╭╮─ ") for line in lines if line.startswith("╭")]
    assert titles == ["Options", *GROUPS]
    assert "\n".join(map(str.strip, lines)).rstrip().endswith("\n" + FIRST_STEPS)
    assert run(env={"COLUMNS": "80"}).out.rstrip() == shown.rstrip()


def test_the_first_steps_are_commands() -> None:
    steps = FIRST_STEPS.splitlines()[1:]
    assert len(steps) == 3
    for step in steps:
        _, command, *words = re.split("  +", step)[0].split()
        options = {option for param in EVERY[(command,)].params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= options


def words_of(text: str) -> str:
    """Return the words of a text, without the frames of panels."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_speaks_json_and_names_its_store(path: tuple[str, ...]) -> None:
    options = {option for param in EVERY[path].params for option in param.opts}
    assert "--json" in options
    if path == ("load",):  # needs only the address of the server
        return
    assert "--config" in options or path == ("demo",)
    where = "--calls" if path[0] in {"calls", "stats", "top"} else "--store"
    assert where in options or path in {("demo",), ("serve",)}


def test_wrong_usage_ends_with_2_and_hints() -> None:
    for words, said in (
        (("acounts",), "accounts"),
        (("accounts", "lst"), "list"),
        (("versions", "--jsn"), "--json"),
        (("rollback",), "N"),
        (("rollback", "one"), 'expected an integer of at least 1, got "one"'),
        (("rollback", "0"), 'expected an integer of at least 1, got "0"'),
        (("demo", "--port", "70000"), 'expected an integer from 1 to 65,535, got "70000"'),
        (("accounts", "list", "--limit", "9" * 19), "expected an integer from 0 to 999,999,999,999,999,999, got"),
        (("accounts", "list", "--offset", "1.0"), 'expected an integer of at least 0, got "1.0"'),
        (("load", "--timeout", "nan"), 'expected a number from 0.001 to 3600, got "nan"'),
        (("load", "--rate", "inf"), 'expected a number of at least 0.001, got "inf"'),
        (("load", "--rate", "fast"), 'expected a number of at least 0.001, got "fast"'),
        (("top", "--every", "0.1"), 'expected a number from 0.2 to 60, got "0.1"'),
        (("calls", "--older", "soon"), 'expected a time such as 90s, 10m, 2h or 1d, got "soon"'),
    ):
        result = run(*words)
        assert result.status == 2
        assert said in result.err
    assert run().status == 2
    assert run("--version").out.startswith("identengine ")
