"""The numbers of the server for Prometheus (interfaces.md 6, ``/metrics``), as text; nothing of HTTP.

Nearly all of it is the file of the counters, which outlives the process that counts; so a scrape costs the decider
nothing, and the counters are there while it is being replaced. What the decider is asked for comes as arguments.
What each metric means, and what to do about it: docs/operate/metrics.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from identengine.errors import StoreError
from identengine.stats import file as counters
from identengine.stats.file import Snapshot
from identengine.stats.registry import FAMILIES, HISTOGRAMS, PLACE, REGISTRY, Family
from identengine.wire.operator import Status, Use

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of what :func:`exposition` returns."""
PREFIX = "identengine_"
"""What the name of each metric begins with."""
MOST_ROWS = 20
"""Accounts, and clients, whose use is shown: those fullest. Each has labels of its own, so they must be few."""

_OF_ONE = ("id", "name", "direction")
UP = Family("up", "gauge", "Whether a process decides and answers: 1 or 0.")
BUILD = Family("build_info", "gauge", "The program that decides; the value is 1.", ("program",))
ALARMS = Family("alarms", "gauge", "Alarms of the process that decides, as long as they last.")
ACCOUNTS = Family("book_accounts", "gauge", "Accounts in the version in use.")
AGE = Family("book_age_seconds", "gauge", "Time since the version in use was made.")
CAPACITY = Family("global_capacity_legs", "gauge", "Legs that may be held at once; not there where unlimited.")
ACCOUNT_LEGS = Family("account_legs", "gauge", "Legs of the fullest accounts.", _OF_ONE)
ACCOUNT_LIMIT = Family("account_limit_legs", "gauge", "Their limits; not there where unlimited.", _OF_ONE)
CLIENT_LEGS = Family("client_legs", "gauge", "Legs of the fullest clients.", _OF_ONE)
CLIENT_LIMIT = Family("client_limit_legs", "gauge", "Their limits; not there where unlimited.", _OF_ONE)

_ASKED = (
    UP,
    BUILD,
    ALARMS,
    ACCOUNTS,
    AGE,
    CAPACITY,
    ACCOUNT_LEGS,
    ACCOUNT_LIMIT,
    CLIENT_LEGS,
    CLIENT_LIMIT,
)

_Metric: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


def names() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return every metric's kind and labels, by its full name."""
    plain = {family.name: (str(family.kind), family.labels) for family in (*FAMILIES.values(), *_ASKED)}
    histograms: dict[str, tuple[str, tuple[str, ...]]] = {one.name: ("histogram", ()) for one in HISTOGRAMS}
    return {PREFIX + name: known for name, known in (plain | histograms).items()}


def exposition(folder: Path, status: Status | None, accounts: Sequence[Use], clients: Sequence[Use]) -> bytes:
    """Return all metrics of the server whose set of calls is in ``folder``.

    ``status``: what the decider answers to AskStatus; None where none answers. ``accounts`` and ``clients``: what
    it answers to AskUsage, of which the fullest are shown. Where the counters cannot be read theirs are not there.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(folder, status, accounts, clients))
    return generate_latest(registry)


class _Collected(Collector):
    """Everything of one moment."""

    def __init__(
        self, folder: Path, status: Status | None, accounts: Sequence[Use], clients: Sequence[Use]
    ) -> None:
        self._status = status
        self._accounts = accounts
        self._clients = clients
        self._snapshot: Snapshot | None
        try:
            self._snapshot = counters.read(folder)
        except StoreError:
            self._snapshot = None

    def describe(self) -> Iterable[_Metric]:
        """Say nothing ahead: this is no registry that others add to."""
        return ()

    def collect(self) -> Iterator[_Metric]:
        """Yield every family with its series."""
        if self._snapshot is not None:
            yield from _counted(self._snapshot)
        status = self._status
        yield _single(UP, int(status is not None))
        if status is not None:
            build = _family(BUILD)
            build.add_metric((status.program,), 1)
            yield build
            yield _single(ALARMS, len(status.alarms))
            yield _single(ACCOUNTS, status.accounts)
            if status.global_capacity is not None:
                yield _single(CAPACITY, status.global_capacity)
        yield from _use(self._accounts, ACCOUNT_LEGS, ACCOUNT_LIMIT)
        yield from _use(self._clients, CLIENT_LEGS, CLIENT_LIMIT)


def _counted(snapshot: Snapshot) -> Iterator[_Metric]:
    """Yield what stands in the file."""
    families = {name: _family(family) for name, family in FAMILIES.items()}
    for known in REGISTRY:
        if known.family is None:
            continue
        unit = FAMILIES[known.family].unit
        for cell, labels in enumerate(known.series, PLACE[known.name]):
            value = snapshot.cells[cell]
            families[known.family].add_metric(labels, value if unit == 1 else value * unit)
    yield from families.values()
    for histogram in HISTOGRAMS:
        first, bounds = PLACE[histogram.name], histogram.bounds
        cells = snapshot.cells[first : first + histogram.cells]
        counts = accumulate(cells[:-1])
        ends = [*(f"{float(bound):g}" for bound in bounds), "+Inf"]
        yield HistogramMetricFamily(
            PREFIX + histogram.name,
            histogram.what,
            buckets=list(zip(ends, counts, strict=True)),
            sum_value=cells[-1] * histogram.unit,
        )
    if made := snapshot.values["book_made"]:
        yield _single(AGE, max(0.0, time.time() - made))


def _use(rows: Sequence[Use], legs: Family, limit: Family) -> Iterator[_Metric]:
    """Yield the use and the limits of the fullest; each once, though pages are no picture of one moment."""
    use, limits = _family(legs), _family(limit)
    fullest = {(row.id, row.direction): row for row in sorted(rows, key=lambda row: row.rank, reverse=True)}
    for row in sorted(fullest.values(), key=lambda row: row.rank)[:MOST_ROWS]:
        labels = (str(row.id), row.name or "", row.direction)
        use.add_metric(labels, row.held)
        if row.limit is not None:
            limits.add_metric(labels, row.limit)
    yield use
    yield limits


def _single(family: Family, value: float) -> _Metric:
    metric = _family(family)
    metric.add_metric((), value)
    return metric


def _family(family: Family) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return kind(PREFIX + family.name, family.what, labels=family.labels)
