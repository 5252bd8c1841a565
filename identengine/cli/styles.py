"""The colours of the command line, by meaning.

Rule: a colour never stands alone. The word that it marks is always part of the text. So a pipe, a terminal without
colours and a reader who sees no colours lose nothing.

A terminal gets colours, a pipe gets none. As in rich, ``NO_COLOR`` and ``TERM=dumb`` turn them off, and
``FORCE_COLOR`` turns them on for a pipe.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import TextIO

import typer

_NO_COLOURS = ("dumb", "unknown")
"""Values of ``TERM`` that mean a terminal without colours."""


class Style(Enum):
    """The meaning of a text that has a colour. The value names the colour, as rich and typer do."""

    ACCEPTED = "green"
    """The call is accepted, or a check succeeded."""
    REJECTED = "red"
    """The call is rejected, or a check failed."""
    DISABLED = "bright_black"
    """The account is disabled, or its part is off."""
    BLOCKED = "yellow"
    """The client or a reseller above it is blocked, or the DID is not active."""
    FULL = "magenta"
    """A limit is full."""
    ERROR = "bright_red"
    """The command failed."""
    WARNING = "bright_yellow"
    """The command succeeded, but the operator should know more."""


class Painted(str):
    """A text with a style. It is a text like any other where colours are off."""

    __slots__ = ("style",)
    style: Style

    def __new__(cls, text: str, style: Style) -> Painted:
        """Return ``text`` with a style."""
        made = super().__new__(cls, text)
        made.style = style
        return made


def colours(stream: TextIO) -> bool:
    """Return True if texts on this stream have colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "").lower() in _NO_COLOURS:
        return False
    forced = os.environ.get("FORCE_COLOR")
    return stream.isatty() if forced is None else forced != ""


def styled(text: str, style: Style, stream: TextIO) -> str:
    """Return ``text`` with the colour of its style if ``stream`` has colours, else unchanged."""
    return painted(text, style) if colours(stream) else text


def painted(text: str, style: Style) -> str:
    """Return ``text`` with the colour of its style."""
    return typer.style(text, fg=style.value)


def bold(text: str) -> str:
    """Return ``text`` in bold, as titles of columns are."""
    return typer.style(text, bold=True)
