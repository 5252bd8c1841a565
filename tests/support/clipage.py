"""docs/cli.md, made from the help of every command. ``nox -s reference`` writes the page.

Options with the same name and text in many commands are described once, at the top.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from typer.main import get_command

from identengine.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
SHARED_BY = 6
"""Commands that an option needs to be described once for all of them."""
INTRODUCTION = """\
<!-- Made by `nox -s reference` from the help of each command. Do not edit. -->
# Commands

This page is for operators who look up a command or an option. `identengine COMMAND --help` prints the same.

Exit statuses: 0 for success, 1 for wrong data or a negative answer, 2 for a wrong command line. `serve` has more
([operate/processes.md](operate/processes.md#exit-statuses-of-serve)).
With `--json`, a command prints one JSON document. An error, wrong usage too, is one line of JSON on standard
error: `{"error": {"message": "…", "problems": […], "total": N}}`. `problems` lists the mistakes of a book or
config, and is empty for any other error.
"""


class Option(NamedTuple):
    """A row of a table of options."""

    name: str
    value: str
    default: str
    help: str


def page() -> str:
    """Return the text of docs/cli.md."""
    commands = dict(_walk(get_command(app), "identengine"))
    uses = Counter(option for command in commands.values() for option in _options(command))
    shared = sorted(option for option, count in uses.items() if count >= SHARED_BY)
    parts = [INTRODUCTION, *_indexes(commands), "\n## Options of many commands\n\n", _table("option", shared)]
    for path, command in commands.items():
        parts.append(_section(path, command, shared))
    return "".join(parts)


def _walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the path and the command of all that run, in the order of the help."""
    if not hasattr(command, "commands") or (command.invoke_without_command and path != "identengine"):
        yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, f"{path} {name}")


def _options(command: Any) -> list[Option]:
    found = []
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.hidden:
            continue
        default = parameter.default
        found.append(
            Option(
                ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts)),
                _code(_value(parameter)),
                _code(str(default)) if default not in (None, False, (), []) and not callable(default) else "",
                _text(parameter.help or "") + (f" Environment: `{parameter.envvar}`." if parameter.envvar else ""),
            )
        )
    return found


def _value(parameter: Any) -> str:
    """Return what a parameter takes as its value; nothing for a switch."""
    if getattr(parameter, "is_flag", False):
        return ""
    choices = getattr(parameter.type, "choices", None)
    return "|".join(map(str, choices)) if choices else parameter.metavar or parameter.name.upper()


def _section(path: str, command: Any, shared: list[Option]) -> str:
    text = _text(command.help or "").split("\n\n")
    examples = [one.removeprefix("Example: ") for one in text if one.startswith("Example: ")]
    arguments = [one for one in command.params if one.param_type_name == "argument" and not one.hidden]
    own = [option for option in _options(command) if option not in shared]
    also = [option.name for option in _options(command) if option in shared]
    parts = [f"\n## {path}\n\n", "\n\n".join(one for one in text if not one.startswith("Example: ")), "\n"]
    usage = " ".join([path, *map(_argument, arguments), "[OPTIONS]"])
    parts.append(f"\nUsage: `{usage}`  \n" + "".join(f"Example: `{one}`\n" for one in examples))
    if arguments:
        parts.append("\n| argument | meaning |\n|---|---|\n")
        parts += [f"| `{one.metavar or one.name.upper()}` | {_cell(one.help)} |\n" for one in arguments]
    if own:
        parts.append("\n" + _table("option", own))
    if also:
        parts.append(f"\nAlso: {', '.join(also)}.\n")
    return "".join(parts)


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()) + ("..." if argument.nargs == -1 else "")
    return str(name if argument.required else f"[{name}]")


def _indexes(commands: dict[str, Any]) -> Iterator[str]:
    """Yield a table of commands for each group of the help."""
    groups = {f"identengine {name}": one.rich_help_panel for name, one in get_command(app).commands.items()}  # type: ignore[attr-defined]
    for group, paths in groupby(commands, lambda path: groups[" ".join(path.split()[:2])]):
        rows = []
        for path in paths:
            first = _text(commands[path].help or "").partition("\n\n")[0]
            rows.append(
                f"| [`{path.removeprefix('identengine ')}`](#{path.replace(' ', '-')}) | {_cell(first)} |\n"
            )
        yield f"\n| {group} | |\n|---|---|\n" + "".join(rows)


def _table(title: str, options: list[Option]) -> str:
    rows = "".join(f"| {one.name} | {one.value} | {one.default} | {_cell(one.help)} |\n" for one in options)
    return f"| {title} | value | default | meaning |\n|---|---|---|---|\n{rows}"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|") if text else ""


def _text(text: str) -> str:
    """Return a help text without its markup, each paragraph on one line."""
    paragraphs = re.split(r"\n\s*\n", text.replace("\\[", "["))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())


def _cell(text: str | None) -> str:
    return _text(text or "").replace("\n\n", " ").replace("|", r"\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page())
