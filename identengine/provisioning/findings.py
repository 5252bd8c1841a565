"""The findings of a book and of its changes, as the command line and HTTP ask for them (engine.md 8.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from identengine.config.schema import Config
from identengine.errors import DamagedError, IdentengineError, counted
from identengine.lint.findings import Finding
from identengine.lint.scope import Scope, scope_of
from identengine.lint.touched import brought
from identengine.store.draft import Draft
from identengine.store.format import Change

NO_SCOPE = Scope()
"""The scope without a config."""


class Refused(IdentengineError):  # noqa: N818 - the outcome of `--lint error`, which names what it refuses
    """An import brings findings of severity ``error``, and its author wants none."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        super().__init__(
            f"this import brings {counted(len(findings), 'finding')} of severity error. Nothing was changed. "
            "Correct the book, or repeat with --lint warn."
        )


def scope_for(config: Config | None) -> Scope:
    """Return the part of a config that the checks need."""
    if config is None:
        return NO_SCOPE
    variants = [switch.options(config.identify) for switch in config.switches]
    switches = tuple((switch.name, network) for switch in config.switches for network in switch.networks)
    return scope_of(config.identify, variants, switches)


def findings_of(draft: Draft, changes: Iterable[Change], scope: Scope) -> tuple[Finding, ...]:
    """Return the findings that changes bring. A book with damaged rows yields none, so that it can be repaired."""
    try:
        return tuple(brought(draft, changes, scope))
    except DamagedError:
        return ()


class ImportLint(NamedTuple):
    """The lint of an import: an inspector of its draft."""

    scope: Scope
    refuse: bool
    """True to refuse an import that brings errors."""

    def inspect(self, draft: Draft) -> tuple[Finding, ...]:
        """Return the findings that the import brings. Raise Refused."""
        found = findings_of(draft, draft.changes(), self.scope)
        errors = tuple(finding for finding in found if finding.severity == "error")
        if self.refuse and errors:
            raise Refused(errors)
        return found


Inspect = Callable[[Draft], tuple[Finding, ...]]
