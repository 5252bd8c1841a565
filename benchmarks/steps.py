"""The steps of the engine in process, as results of ``test_engine.py`` under pytest-benchmark.

``python -m benchmarks.steps [--quick] [--json FILE]``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks import machine
from benchmarks.results import Column, Results, Row, arguments, publish, today

_TESTS = Path(__file__).parent / "test_engine.py"


class _About(msgspec.Struct, frozen=True):
    step: str
    accounts: int
    """Number of accounts, or 0 if the step does not depend on the book."""
    requests: int
    """Number of requests in one round."""


class _Stats(msgspec.Struct, frozen=True):
    median: float


class _Benchmark(msgspec.Struct, frozen=True):
    extra_info: _About
    stats: _Stats


class _Run(msgspec.Struct, frozen=True):
    """The fields that are used of the file that pytest-benchmark writes."""

    benchmarks: list[_Benchmark]


def main() -> None:
    """Run the steps, print a table, and write the results."""
    given = arguments(__doc__).parse_args()
    run = _measure(quick=given.quick)
    sizes = sorted({each.extra_info.accounts for each in run.benchmarks if each.extra_info.accounts})
    rows: dict[str, Row] = {}
    for each in run.benchmarks:
        about = each.extra_info
        row = rows.setdefault(about.step, Row(about.step, {}))
        row.figures[str(about.accounts)] = each.stats.median / about.requests * 1e6
    results = Results(
        name="steps",
        title="The engine in process, step by step",
        method="Microseconds per request, medians of the rounds. The accounts of a round are in random order. "
        "*identify* is from the decoded request to the match, *decide* to the answer, by the general way.",
        quick=given.quick,
        date=today(),
        machine=machine.describe(),
        first="step",
        columns=[Column(str(size), f"{size:,} accounts", 2) for size in sizes] + [Column("0", "any book", 2)],
        rows=list(rows.values()),
    )
    publish(results, given.json)


def _measure(*, quick: bool) -> _Run:
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", str(_TESTS), f"--benchmark-json={found}"]
        command += ["--timeout=600", "--benchmark-columns=median", *(["--quick"] if quick else [])]
        subprocess.run(command, check=True)  # noqa: S603 - ours
        return msgspec.json.decode(found.read_bytes(), type=_Run)


if __name__ == "__main__":
    main()
