"""Options and the result table of the benchmarks that pytest-benchmark runs."""

from __future__ import annotations

from typing import Any

import pytest

FULL = (1_000, 10_000, 100_000, 1_000_000)
QUICK = (1_000, 10_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--quick``."""
    parser.addoption("--quick", action="store_true", help="only small books, for CI")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with the parameter ``accounts`` for each size of book."""
    if "accounts" in metafunc.fixturenames:
        sizes = QUICK if metafunc.config.getoption("--quick") else FULL
        metafunc.parametrize("accounts", sizes, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print microseconds per request, and the ratio to the plain dict look-up of the same run and size."""
    session = getattr(config, "_benchmarksession", None)
    rows = [bench for bench in session.benchmarks if "requests" in bench.extra_info] if session else []
    floors = {bench.extra_info["accounts"]: _each(bench) for bench in rows if bench.name.startswith("test_floor")}
    if not rows:
        return
    terminalreporter.write_line("")
    terminalreporter.write_line(f"{'step':<38}{'accounts':>10}{'us/request':>12}{'x dict look-up':>16}")
    for bench in rows:
        accounts = bench.extra_info["accounts"]
        floor = floors.get(accounts)
        ratio = f"{_each(bench) / floor:.1f}" if floor else "-"
        step = bench.extra_info["step"]
        terminalreporter.write_line(f"{step:<38}{accounts or '-':>10}{_each(bench) * 1e6:>12.2f}{ratio:>16}")


def _each(bench: Any) -> float:
    return float(bench.stats.median) / int(bench.extra_info["requests"])
