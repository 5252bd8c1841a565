"""The groups of commands in ``identengine --help``, by an operator's task, and the first steps below them.

A new command gets one line here. Without a line it is in a group of its own at the top, "Commands".
"""

from __future__ import annotations

from typing import Any

GROUPS: dict[str, tuple[str, ...]] = {
    "First steps": (
        "demo",
        "init",
        "import",
        "serve",
    ),
    "The book": (
        "accounts",
        "clients",
        "dids",
        "lint",
        "export",
    ),
    "Undo and history": (
        "versions",
        "diff",
        "audit",
        "revert",
        "rollback",
    ),
    "Calls and decisions": (
        "identify",
        "explain",
        "rejects",
        "why",
    ),
    "Live": (
        "calls",
        "stats",
        "top",
    ),
    "Maintenance": (
        "copy",
        "store",
        "key",
        "load",
    ),
}
"""The commands of each group, in the order of the help. A name without a command is skipped."""

FIRST_STEPS = """\
To begin:
identengine demo                               Show decisions of a demo book.
identengine import BOOK --store STORE          Load your own book.
identengine serve --sample > identengine.toml  Write a config for serve."""


def arrange(root: Any) -> None:  # Any: typer does not name the type of its groups
    """Sort the commands of the root by their groups, and give each its panel in the help."""
    places = {name: (title, place) for place, (title, name) in enumerate(_named())}
    for name, command in root.commands.items():
        if name in places:
            command.rich_help_panel = places[name][0]
    root.commands = dict(sorted(root.commands.items(), key=lambda item: places.get(item[0], ("", -1))[1]))


def _named() -> list[tuple[str, str]]:
    """Return the title and the name of every command, in the order of the help."""
    return [(title, name) for title, names in GROUPS.items() for name in names]
