"""The findings of a book and of its changes, as the command line and HTTP ask for them (engine.md 8.5)."""

from __future__ import annotations

from collections.abc import Iterable

from identengine.config.schema import Config
from identengine.errors import DamagedError, LoadError, Problem, sentences
from identengine.lint.findings import Finding
from identengine.lint.scope import Scope, scope_of
from identengine.lint.touched import brought
from identengine.store.draft import Draft
from identengine.store.format import Change

NO_SCOPE = Scope()
"""The scope without a config."""
_LISTED = 100
"""Largest number of errors that a refused import names."""


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


class ImportLint:
    """The findings that an import brings."""

    def __init__(self, scope: Scope, *, refuse: bool) -> None:
        """Judge by ``scope``. With ``refuse``, an import that brings errors fails."""
        self._scope = scope
        self._refuse = refuse
        self.findings: tuple[Finding, ...] = ()

    def judge(self, draft: Draft) -> None:
        """Keep the findings that the draft brings. Raise LoadError for refused errors."""
        self.findings = findings_of(draft, draft.changes(), self._scope)
        errors = [one for one in self.findings if one.severity == "error"]
        if self._refuse and errors:
            raise LoadError([_as_problem(one) for one in errors[:_LISTED]], len(errors))


def _as_problem(finding: Finding) -> Problem:
    """Return a finding as a mistake of an import."""
    return Problem("lint", None, finding.check, None, sentences(finding.message, finding.remedy))
