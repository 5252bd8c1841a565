"""What is counted while a server is asked, and the report of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from identengine.loadgen.latency import Histogram
from identengine.loadgen.mix import Verdict

MISTAKES = 10
"""Wrong answers that are shown."""


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds in which that share of the answers came; see :meth:`Histogram.at` for how exact they are."""

    mean: float
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float


class Outcome(msgspec.Struct, frozen=True):
    """How often a method was answered so: accepted, a reject's reason, done, an error."""

    method: str
    outcome: str
    count: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    seconds: float
    """From the first request to the last answer."""
    sent: int
    answered: int
    per_second: float
    """Answers."""
    lost: int
    """Requests that were sent and not answered in time, or before their connection ended."""
    unsent: int
    """Requests that were due and could not be sent in time: no connection, a full socket, a machine too slow."""
    late: int
    """Answers to requests that had been counted as lost."""
    wrong: int
    """Answers that are not what was expected, or belong to no request."""
    reconnects: int
    latency: Latency | None
    """From when a request was due to its answer; None where there were no answers."""
    outcomes: tuple[Outcome, ...]
    mistakes: tuple[str, ...]
    """Some of what was wrong."""
    troubles: dict[str, int]
    """Why connections ended or could not be made, and what the network said."""
    stopped: bool
    """Ended before its time."""

    @property
    def loss(self) -> float:
        """The share of all requests, in percent, that was not answered in time."""
        return 100 * (self.lost + self.unsent) / max(1, self.sent + self.unsent)


class Scores:
    """The counts of all connections."""

    def __init__(self, methods: Sequence[str]) -> None:
        """``methods``: those of the lines of the mix."""
        self.sent = self.answered = self.lost = self.unsent = self.late = self.wrong = self.reconnects = 0
        self.latency = Histogram()
        self.verdicts: list[Counter[Verdict]] = [Counter() for _ in methods]
        """How each line was answered."""
        self.mistakes: list[str] = []
        self.troubles: Counter[str] = Counter()
        self._methods = methods

    def mistake(self, what: str) -> None:
        """Count something wrong."""
        self.wrong += 1
        if len(self.mistakes) < MISTAKES and what not in self.mistakes:
            self.mistakes.append(what)

    def trouble(self, what: str) -> None:
        """Count an obstacle; there are few kinds, however long it goes on."""
        self.troubles[what if what in self.troubles or len(self.troubles) < MISTAKES else "others"] += 1

    def report(self, seconds: float, *, stopped: bool) -> Report:
        """Return what was counted in so many seconds."""
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
            reconnects=self.reconnects,
            latency=latency,
            outcomes=tuple(Outcome(*key, count) for key, count in sorted(outcomes.items())),
            mistakes=tuple(self.mistakes),
            troubles=dict(self.troubles),
            stopped=stopped,
        )
