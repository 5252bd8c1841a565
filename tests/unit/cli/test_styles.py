"""Colours by meaning: a terminal has them, a pipe has none, and the environment can change both."""

from __future__ import annotations

import io

import pytest

from identengine.cli.styles import Style, colours, styled


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False, False),
    ],
)
def test_colours_as_rich_has_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, pipe: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert colours(Terminal()) is terminal
    assert colours(io.StringIO()) is pipe
    from rich.console import Console

    for stream, expected in ((Terminal(), terminal), (io.StringIO(), pipe)):
        console = Console(file=stream)
        assert (console.color_system is not None and not console.no_color) is expected


def test_each_style_is_a_colour() -> None:
    for style in Style:
        assert styled("x", style, io.StringIO()) == "x"
        assert styled("x", style, Terminal()).startswith("\x1b[")
