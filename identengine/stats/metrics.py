"""The numbers of the server as text for Prometheus (interfaces.md 6, ``/metrics``), without the HTTP part.

Nearly all numbers come from the counter file. So a scrape costs the decider nothing, and works while the decider
is replaced. The few numbers that only the decider knows are arguments. docs/operate/metrics.md explains each
metric.
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
"""Content type of the text that :func:`exposition` returns."""
PREFIX = "identengine_"
"""Prefix of the name of each metric."""
MOST_ROWS = 20
"""Number of accounts, and of clients, whose use is shown. It is small, since each has its own series."""

_OF_ONE = ("id", "name", "direction")
UP = Family("up", "gauge", "1 if a decider answers, else 0.")
BUILD = Family(
    "build_info", "gauge", "Name and version of the program as a label; the value is always 1.", ("program",)
)
ALARMS = Family("alarms", "gauge", "Alarms of the decider that are active.")
ACCOUNTS = Family("book_accounts", "gauge", "Accounts in the version of the book in use.")
AGE = Family("book_age_seconds", "gauge", "Time since the version of the book in use was made in the store.")
CAPACITY = Family(
    "global_capacity_legs",
    "gauge",
    "Limit of all legs held at once ([calls] global_capacity), absent if unlimited.",
)
ACCOUNT_LEGS = Family(
    "account_legs", "gauge", "Legs held by the accounts that are nearest to their limits.", _OF_ONE
)
ACCOUNT_LIMIT = Family("account_limit_legs", "gauge", "Limits of these accounts, absent if unlimited.", _OF_ONE)
CLIENT_LEGS = Family("client_legs", "gauge", "Legs held by the clients that are nearest to their limits.", _OF_ONE)
CLIENT_LIMIT = Family("client_limit_legs", "gauge", "Limits of these clients, absent if unlimited.", _OF_ONE)
MALFORMED_MESSAGES = Family(
    "malformed_messages_total",
    "counter",
    "Messages with an error in their form or parameters, by the code of the error.",
    ("code", "switch"),
)
REJECTED_BY_SWITCH = Family(
    "rejected_by_switch_total", "counter", "Authorizations that were rejected, by switch.", ("switch",)
)

_ASKED = (
    MALFORMED_MESSAGES,
    REJECTED_BY_SWITCH,
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
    """Return the kind and the labels of each metric, by its full name."""
    plain = {family.name: (str(family.kind), family.labels) for family in (*FAMILIES.values(), *_ASKED)}
    histograms: dict[str, tuple[str, tuple[str, ...]]] = {one.name: ("histogram", ()) for one in HISTOGRAMS}
    return {PREFIX + name: known for name, known in (plain | histograms).items()}


def exposition(folder: Path, status: Status | None, accounts: Sequence[Use], clients: Sequence[Use]) -> bytes:
    """Return all metrics of the server whose set of calls is in ``folder``.

    ``status`` is the decider's answer to a StatusRequest, or None if no decider answers. ``accounts`` and
    ``clients`` are its answers to UsageRequests; the fullest rows of each are shown. If the counter file cannot be
    read, its metrics are absent.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(folder, status, accounts, clients))
    return generate_latest(registry)


class _Collected(Collector):
    """A collector of all metrics, read once."""

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
        """Return no families: the registry has no other collector whose names could collide."""
        return ()

    def collect(self) -> Iterator[_Metric]:
        """Yield each family with its series."""
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
    """Yield the metrics of the counter file."""
    families = {name: _family(family) for name, family in FAMILIES.items()}
    for known in REGISTRY:
        if known.family is None:
            continue
        unit = FAMILIES[known.family].unit
        for cell, labels in enumerate(known.series, PLACE[known.name]):
            value = snapshot.cells[cell]
            families[known.family].add_metric(labels, value if unit == 1 else value * unit)
    yield from families.values()
    malformed = _family(MALFORMED_MESSAGES)
    for switch, by_code in snapshot.malformed.items():
        for code, count in by_code.items():
            malformed.add_metric((str(code), switch), count)
    yield malformed
    rejected = _family(REJECTED_BY_SWITCH)
    for switch, count in snapshot.rejected.items():
        rejected.add_metric((switch,), count)
    yield rejected
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
    """Yield use and limits of the fullest rows. A row that two pages repeat is shown once."""
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
