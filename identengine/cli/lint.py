"""``lint``: settings of the book that will cause trouble (engine.md 8.5)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli.options import AsJson, ConfigFile, StoreDir, integer
from identengine.cli.output import NO_VERSIONS, Column, emit, hint, paragraph, progress, say, table
from identengine.cli.styles import Style
from identengine.cli.workspace import find_workspace
from identengine.errors import counted

if TYPE_CHECKING:
    from identengine.lint.findings import Finding
    from identengine.lint.walk import Linted

_SHOWN = 20
"""Largest number of findings of a check that are shown as text."""
_STYLES = {"error": Style.ERROR, "warning": Style.WARNING}


class Severity(StrEnum):
    """The severity of a finding, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


Checks = Annotated[
    list[str] | None,
    typer.Option("--check", metavar="NAME", help="Only this check. Repeat the option for several checks."),
]
Least = Annotated[Severity, typer.Option("--severity", help="The least severity that is shown.")]


def lint(
    check: Checks = None,
    severity: Least = Severity.INFO,
    version: Annotated[
        int | None,
        typer.Option("--version", parser=integer(1), metavar="N", help="Check this version. Default: the newest."),
    ] = None,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show settings of the book that will cause trouble, each with the remedy and a request that shows it.

    The exit status is 1 if an error is shown. With --config, the options of its switches count.

    Example: identengine lint --severity warning --store STORE
    """
    from identengine.lint.findings import CHECKS
    from identengine.lint.walk import lint as lint_book
    from identengine.provisioning.findings import scope_for

    checks = _checked(check) or tuple(CHECKS)
    here = find_workspace(store, config)
    scope = scope_for(here.config)
    with here.open(readonly=True) as opened, opened.read(version) as book, progress("lint") as tell:
        total = book.counts.accounts
        linted = lint_book(book, scope, checks, tell=lambda done: tell(done, total))
        number = book.version
    skipped = ["covers_switch"] if scope.switches is None and "covers_switch" in checks else []
    shown = [one for one in linted.findings if list(Severity).index(Severity(one.severity)) <= _rank(severity)]
    for name in skipped:
        hint(f"{name} was skipped, since no config names the switches. Use --config FILE.")
    if as_json:
        emit({"version": number, "findings": shown, "more": linted.more, "skipped": skipped})
    else:
        _print(shown, linted, empty=not number)
    if any(one.severity == "error" for one in shown):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(lint)


def _checked(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of checks, each once. Raise BadParameter for an unknown one."""
    from identengine.lint.findings import check_name

    try:
        return tuple(dict.fromkeys(check_name(name) for name in names or ()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--check") from None


def _rank(severity: Severity) -> int:
    return list(Severity).index(severity)


def _print(findings: Sequence[Finding], linted: Linted, *, empty: bool) -> None:
    """Print the findings of each check as a table, with the remedy below."""
    from identengine.lint.findings import CHECKS

    if empty:
        hint(NO_VERSIONS)
    for name, group in groupby(findings, attrgetter("check", "severity")):
        check, severity = name
        same = list(group)
        count = sum(one.count for one in same)
        kind = "account" if same[0].accounts else "client" if same[0].clients else "number"
        title = f"{severity}: {check}: {CHECKS[check].title}: {counted(count, kind)}"
        paragraph(title, style=_STYLES.get(severity))
        columns = (Column("Finding"), Column("A request that shows it"))
        table(columns, ((one.message, _example(one)) for one in same[:_SHOWN]))
        if (more := len(same) - _SHOWN + linted.more.get(check, 0)) > 0:
            say(f"and {counted(more, 'finding')} more. Use --check {check} --json to show more.")
        paragraph(f"Remedy: {CHECKS[check].remedy}")
        say("")
    say(_summary(findings, linted))


def _example(finding: Finding) -> str:
    """Return the arguments of ``explain`` that show a finding."""
    return " ".join(shlex.quote(f"{name}={value}") for name, value in (finding.example or {}).items())


def _summary(findings: Sequence[Finding], linted: Linted) -> str:
    if not findings:
        return "no findings"
    numbers = {level: sum(one.severity == level for one in findings) for level in Severity}
    parts = [
        f"{number:,} info" if level is Severity.INFO else counted(number, level.value)
        for level, number in numbers.items()
        if number
    ]
    more = sum(linted.more.values())
    return f"{', '.join(parts)}{f', and {more:,} more' if more else ''}"
