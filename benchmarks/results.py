"""Results of a benchmark: one form for all of them, stored as JSON and printed as a Markdown table."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.machine import Machine

KEPT = Path(__file__).parent / "results"
"""Folder of full results. Those of ``--quick`` are not kept."""


class Column(msgspec.Struct, frozen=True):
    """A column of the table: its figure, its heading with the unit, and its decimals."""

    figure: str
    heading: str
    decimals: int = 0
    """Ignored for a text."""


class Row(msgspec.Struct, frozen=True):
    """One case with its figures by name. Figures that were not measured are absent."""

    case: str
    figures: dict[str, float]
    histogram: list[tuple[float, int]] = []
    """Latencies for plots, as pairs of upper end in microseconds and count."""
    texts: dict[str, str] = {}
    """Texts of columns that hold no figures."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All results of one program."""

    name: str
    title: str
    method: str
    """The subject and method of the measurement, in sentences."""
    quick: bool
    """True for a short trial run, whose figures mean little."""
    date: str
    machine: Machine
    first: str
    """Heading of the cases."""
    columns: list[Column]
    rows: list[Row]
    caveats: list[str] = []

    def row(self, case: str) -> Row | None:
        """Return the row of a case, or None."""
        return next((row for row in self.rows if row.case == case), None)


def today() -> str:
    """Return today's date for the results."""
    return datetime.now(UTC).date().isoformat()


def markdown(results: Results) -> str:
    """Return a table with its title, method and caveats."""
    heads = [results.first, *(column.heading for column in results.columns)]
    lines = [f"### {results.title}", "", results.method, ""]
    texts = {name for row in results.rows for name in row.texts}
    lines += [_line(heads)]
    lines += [_line(["---", *("---" if column.figure in texts else "---:" for column in results.columns)])]
    lines += [_line([row.case, *(_cell(row, column) for column in results.columns)]) for row in results.rows]
    lines += ["", *(f"- {caveat}" for caveat in results.caveats)] if results.caveats else []
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(row: Row, column: Column) -> str:
    if column.figure in row.texts:
        return row.texts[column.figure]
    value = row.figures.get(column.figure)
    return "–" if value is None else f"{value:,.{column.decimals}f}"  # noqa: RUF001 - a dash for an absent figure


def load(path: Path) -> Results:
    """Read results that :func:`publish` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the options that all benchmarks share.

    Afterwards, SIGTERM ends the program as an exception, so that it stops its servers and removes its folders.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small, short trial run, for CI")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    return parser


def publish(results: Results, path: Path | None) -> None:
    """Print results as a table, and write them if a path is given."""
    print(f"\n{markdown(results)}\n{results.machine.python}", flush=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
