"""Cases of the benchmarks: a server answers each kind of request as expected, and the comparisons run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from math import isnan, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.programs import program

from benchmarks import against, kinds, memory, ratios, rounds, served, way
from benchmarks.cases import Case, Ground
from benchmarks.messages import FORMS
from benchmarks.results import Row
from benchmarks.served import Program
from benchmarks.workload import Life
from identengine.model.reasons import Reason

ROOT = Path(__file__).parents[2]
OF_KIND = 12
SMALL = ["--accounts", "60", "--calls", "60", "--rounds", "1"]


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    program("cc", "gcc libc6-dev")
    before = signal.getsignal(signal.SIGTERM)  # a benchmark sets it for its own process
    yield
    signal.signal(signal.SIGTERM, before)


def test_each_kind_of_request_is_answered_as_expected(tmp_path: Path) -> None:
    """The generator raises an error at a wrong answer. Each file is sent twice, since rounds repeat it."""
    ground = Ground(tmp_path, 60, 60, OF_KIND, 2 * OF_KIND)
    with served.serving(tmp_path) as engine:
        cases = [Case(kind.name, kind.name, form) for kind in kinds.KINDS for form in FORMS]
        lives = (Life(0), Life(20, ("start", "update"), scattered=True))
        cases += [
            Case("calls", life, form, tcp, (5, 4) if tcp else None)
            for life in lives
            for form in FORMS
            for tcp in (False, True)
        ]
        for case in cases:
            _, count = ground.file(case)
            rounds.check([ground.contender(case, engine, case.name, count + 1)])


def test_kinds_cover_the_reasons_of_a_book_and_have_names_of_their_own() -> None:
    assert len({kind.name for kind in kinds.KINDS}) == len(kinds.KINDS)
    covered = {kind.reason for kind in kinds.KINDS if kind.reason}
    # These need a config of their own, or a server without a book or with a fault.
    others = {Reason.AMBIGUOUS, Reason.GLOBAL_CAPACITY, Reason.NOT_READY, Reason.OVERLOAD, Reason.INTERNAL_ERROR}
    assert covered | others == set(Reason)


def test_a_tree_is_compared_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    against.main([str(ROOT), "--quick", "--requests", "20", *SMALL, "--only", "usual", "bad_password"])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == 2 + len(against.USUAL) + 4 + 1  # heads, bad_password in four ways, the mean
    assert all(f"| {case.name} | " in "\n".join(table) for case in against.USUAL)


@pytest.mark.parametrize("noted", [[(0.0, 3.0)], [(3.0, 0.0)], [(0.0, 3.0), (8.0, 4.0)]])
def test_a_round_without_processor_time_has_no_ratio(noted: list[tuple[float, float]]) -> None:
    """The system notes processor time in steps, so a short measurement can have none."""
    taken = [
        {"this": SimpleNamespace(processor=one), "other": SimpleNamespace(processor=two)} for one, two in noted
    ]
    ratio = rounds.ratios(cast(Any, taken), "this", "other", rounds.processor)
    assert isnan(ratio.median) if len(noted) == 1 else ratio == (2.0, 2.0, 2.0)
    measured = [Row("a", {"ratio": ratio.median}), Row("b", {"ratio": 0.5})]
    assert against.mean(measured).figures["ratio"] == pytest.approx(0.5 if len(noted) == 1 else 1.0)
    assert isnan(against.mean([Row("a", {"ratio": nan})]).figures["ratio"])


def test_only_the_engine_of_the_given_tree_is_compared(tmp_path: Path) -> None:
    """An installed engine must not stand in for a tree that has none."""
    with pytest.raises(AssertionError, match="expected the engine of"):
        Program(tree=tmp_path).check()


def test_the_goals_are_printed_as_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--pairs", "1", "--seconds", "0.05", "--peers", ""]
    ratios.main(["--quick", *SMALL, *few])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == 2 + len(ratios.LINES) + 1
    assert any(
        "stop at once | bare uvloop UDP echo | processor time, µs | ≤ 1.7 | ≤ 1.4 | " in line for line in table
    )


def test_a_held_leg_has_a_size() -> None:
    figures = memory.held_legs(500).figures
    assert all(0 < figures[name] < 5_000 for name in ("active", "active_mirror", "reserved", "reserved_mirror"))


def test_each_piece_of_the_usual_way_takes_time() -> None:
    """The usual way leaves no message to the general way: the benchmark raises an error if it does."""
    taken = way.measure(500, 300, 1)
    assert list(taken) == [case.title for case in way.CASES]
    for figures in taken.values():
        assert list(figures) == list(way.PIECES)
        assert all(spent > 0 for piece, spent in figures.items() if piece != "between")
