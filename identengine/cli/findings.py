"""Findings of lint on standard error, where a change of the book brings them (engine.md 8.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from identengine.cli.output import hint
from identengine.errors import counted

if TYPE_CHECKING:
    from identengine.lint.findings import Finding

WARNED = ("own_constraint", "no_password")
"""Checks whose findings an import reports as warnings with their lines."""
_SHOWN = 10
"""Largest number of findings that a change shows."""


def hint_findings(findings: Sequence[Finding]) -> None:
    """Print the errors and warnings among findings. Notes of severity ``info`` are for ``lint`` alone."""
    shown = [one for one in findings if one.severity != "info"]
    for one in shown[:_SHOWN]:
        hint(f"{one.severity}: {one.check}: {one.message}")
    if (more := len(shown) - _SHOWN) > 0:
        hint(f"and {counted(more, 'finding')} more. Use `identengine lint` to show all.")
