"""The counts of a run and its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from identengine.loadgen.latency import Histogram
from identengine.loadgen.mix import Verdict

MISTAKES = 10
"""Largest number of wrong answers that a report shows."""


class Latency(msgspec.Struct, frozen=True):
    """Percentiles of the response time, in milliseconds, as exact as :meth:`Histogram.at`."""

    mean: float
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float


class Outcome(msgspec.Struct, frozen=True):
    """The number of answers of one kind to one method: accepted, the reason of a reject, done, or an error."""

    method: str
    outcome: str
    count: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run."""

    seconds: float
    """Time from the first request to the last answer."""
    sent: int
    answered: int
    per_second: float
    """Answers per second."""
    lost: int
    """Requests that were sent and not answered before the time-out or the end of their connection."""
    unsent: int
    """Requests that were due and not sent in time: no connection, a full socket, or a slow machine."""
    late: int
    """Answers to requests that were already counted as lost."""
    wrong: int
    """Answers that differ from the expected one or belong to no request."""
    retransmitted: int
    """Number of datagrams that repeat a request, over interfaces whose clients retransmit."""
    reconnects: int
    latency: Latency | None
    """Time from the moment a request was due to its answer. None if there were no answers."""
    outcomes: tuple[Outcome, ...]
    mistakes: tuple[str, ...]
    """Descriptions of the first wrong answers."""
    troubles: dict[str, int]
    """Reasons why connections failed or ended, and errors of the network, with their counts."""
    stopped: bool
    """True if the run was stopped early."""

    @property
    def loss(self) -> float:
        """Share of all requests that were not answered in time, in percent."""
        return 100 * (self.lost + self.unsent) / max(1, self.sent + self.unsent)


class Scores:
    """The counts of all connections."""

    def __init__(self, methods: Sequence[str]) -> None:
        """``methods`` are the methods of the lines of the mix, in order."""
        self.sent = self.answered = self.lost = self.unsent = self.late = self.wrong = self.reconnects = 0
        self.retransmitted = 0
        self.latency = Histogram()
        self.verdicts: list[Counter[Verdict]] = [Counter() for _ in methods]
        """Counts of the answers to each line."""
        self.mistakes: list[str] = []
        self.troubles: Counter[str] = Counter()
        self._methods = methods

    def mistake(self, what: str) -> None:
        """Count a wrong answer and keep its description."""
        self.wrong += 1
        if len(self.mistakes) < MISTAKES and what not in self.mistakes:
            self.mistakes.append(what)

    def trouble(self, what: str) -> None:
        """Count a failure. The number of kinds is bounded, however long the run is."""
        self.troubles[what if what in self.troubles or len(self.troubles) < MISTAKES else "others"] += 1

    def report(self, seconds: float, *, stopped: bool) -> Report:
        """Return the report of a run of ``seconds``."""
        outcomes: Counter[tuple[str, str]] = Counter()
        for method, verdicts in zip(self._methods, self.verdicts, strict=True):
            for verdict, count in verdicts.items():
                outcomes[method, verdict.outcome] += count
        times = self.latency
        latency = None
        if times.count:
            p50, p90, p99, p99_9 = (times.at(share) / 1000 for share in (0.5, 0.9, 0.99, 0.999))
            latency = Latency(times.total / times.count / 1000, p50, p90, p99, p99_9, times.largest / 1000)
        return Report(
            seconds=seconds,
            sent=self.sent,
            answered=self.answered,
            per_second=self.answered / seconds if seconds else 0.0,
            lost=self.lost,
            unsent=self.unsent,
            late=self.late,
            wrong=self.wrong,
            retransmitted=self.retransmitted,
            reconnects=self.reconnects,
            latency=latency,
            outcomes=tuple(Outcome(*key, count) for key, count in sorted(outcomes.items())),
            mistakes=tuple(self.mistakes),
            troubles=dict(self.troubles),
            stopped=stopped,
        )
