"""Peers of the benchmarks: one that names the wrong account ends the run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import program

from benchmarks import side_by_side, workload
from benchmarks.generator import WrongAnswersError
from benchmarks.peers import Entry, MissingError, Peer, WrongAnswerError, entries, redis

QUICK = ["--quick", "--rounds", "1", "--accounts", "60", "--calls", "120", "--peers"]


@pytest.fixture(autouse=True)
def programs() -> Iterator[None]:
    program("cc", "gcc libc6-dev")
    program("redis-server", redis.PEER.packages)
    before = signal.getsignal(signal.SIGTERM)  # the benchmark sets it for its own process
    yield
    signal.signal(signal.SIGTERM, before)


def swapped(made: workload.Workload) -> list[Entry]:
    """Return the entries of a peer with two accounts swapped."""
    one, two, *rest = entries(made)
    return [one._replace(account_id=two.account_id), two._replace(account_id=one.account_id), *rest]


def test_a_planted_wrong_answer_ends_the_run_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(redis, "entries", swapped)
    with pytest.raises(WrongAnswerError, match=r"expected account \d+, got \d+"):
        side_by_side.main([*QUICK, "redis", "--json", str(tmp_path / "results.json")])
    assert "requests/s" not in capsys.readouterr().out
    assert not (tmp_path / "results.json").exists()


def test_answers_are_compared_while_they_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = workload.make(accounts=60, calls=120)
    with redis.PEER.serve(tmp_path, made) as running:
        for case in running.cases:
            assert case.check() == 120 * case.requests_a_call
            result = case.take(0).result
            assert (result.answered, result.wrong) == (120 * case.requests_a_call, 0)
    monkeypatch.setattr(redis, "entries", swapped)
    with redis.PEER.serve(tmp_path, made) as running:
        for case in running.cases:
            with pytest.raises(WrongAnswersError):
                case.take(0)


def test_a_peer_that_is_not_there_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(folder: Path, made: workload.Workload) -> object:
        raise MissingError

    monkeypatch.setattr(side_by_side, "PEERS", (Peer("Other", "other-server", serve), redis.PEER))  # type: ignore[arg-type]  # the first argument is not used
    side_by_side.main([*QUICK, "other,redis"])
    said = capsys.readouterr().out
    assert "Other is left out: apt-get install --no-install-recommends other-server" in said
    assert "| Redis Lua, EVALSHA authorize and HINCRBY stop, 50 connections x 16 | " in said
    assert "| identengine, TCP MessagePack, next to Redis | " in said
