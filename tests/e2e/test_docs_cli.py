"""docs/cli.md is what the help of the commands says now."""

from __future__ import annotations

import re
from typing import Any

from support import clipage
from support.cli import run
from typer.main import get_command

from identengine.cli import app


def test_the_page_is_made_from_the_help_of_now() -> None:
    assert clipage.PAGE.read_text() == clipage.page(), "`nox -s reference` writes it"


def test_every_command_and_option_is_on_the_page() -> None:
    page = clipage.PAGE.read_text()
    shared = page.partition("## Options of many commands")[2].partition("\n## ")[0]

    def check(command: Any, path: str) -> None:
        children = getattr(command, "commands", {})
        if not children:
            section = page.partition(f"\n## {path}\n")[2].partition("\n## ")[0]
            assert section, path
            help_text = run(*path.split()[1:], "--help", env={"COLUMNS": "300"}).out
            for option in set(re.findall(r"[│ ] (--[a-z-]+)", help_text)) - {"--help"}:
                assert f"`{option}`" in section, (path, option)
                assert f"`{option}`" in shared or f"| `{option}" in section, (path, option)
        for name, child in children.items():
            check(child, f"{path} {name}")

    check(get_command(app), "identengine")
