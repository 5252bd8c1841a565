"""What a benchmark found: one form for all of them, as JSON to keep and as a Markdown table to read."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.machine import Machine

KEPT = Path(__file__).parent / "results"
"""Where full results are kept; those of ``--quick`` are not."""


class Column(msgspec.Struct, frozen=True):
    """A column of the table: which figure, its heading with the unit, and how many decimals it has."""

    figure: str
    heading: str
    decimals: int = 0


class Row(msgspec.Struct, frozen=True):
    """One case: its figures by name; of what was not measured there is none."""

    case: str
    figures: dict[str, float]
    histogram: list[tuple[float, int]] = []
    """Latencies, for plots: upper end in microseconds, and how many."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All that one program found."""

    name: str
    title: str
    method: str
    """What was measured and how, in sentences."""
    quick: bool
    """Whether it was only tried out: figures of small runs say little."""
    date: str
    machine: Machine
    first: str
    """Heading of the cases."""
    columns: list[Column]
    rows: list[Row]
    caveats: list[str] = []

    def row(self, case: str) -> Row | None:
        """Return a row by its case."""
        return next((row for row in self.rows if row.case == case), None)


def today() -> str:
    """Return the date that results are of."""
    return datetime.now(UTC).date().isoformat()


def markdown(results: Results) -> str:
    """Return a table with its title, method and caveats."""
    heads = [results.first, *(column.heading for column in results.columns)]
    lines = [f"### {results.title}", "", results.method, ""]
    lines += [_line(heads), _line(["---", *("---:" for _ in results.columns)])]
    lines += [_line([row.case, *(_cell(row, column) for column in results.columns)]) for row in results.rows]
    lines += ["", *(f"- {caveat}" for caveat in results.caveats)] if results.caveats else []
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(row: Row, column: Column) -> str:
    value = row.figures.get(column.figure)
    return "–" if value is None else f"{value:,.{column.decimals}f}"  # noqa: RUF001 - a dash for what is not there


def load(path: Path) -> Results:
    """Read what :func:`publish` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return what the command lines of all benchmarks have in common.

    From now on SIGTERM ends the program as an exception, so that it ends its servers and removes its folders.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small and short: shows that it works, for CI")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    return parser


def publish(results: Results, path: Path | None) -> None:
    """Print results as a table, and write them where a path is given."""
    print(f"\n{markdown(results)}\n{results.machine.python}", flush=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
