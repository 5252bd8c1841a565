"""The one list of what is counted: :data:`REGISTRY`, with what Prometheus calls each number.

An entry is one number for a person (``stats``), and as many cells of the file of the counters
(:mod:`identengine.stats.file`) as it has series for Prometheus (:mod:`identengine.stats.metrics`): rejects by
interface and direction, say. :data:`HISTOGRAMS` are cells as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from identengine.model.reasons import Reason
from identengine.model.records import INTERFACES, Direction, Interface

METHODS = ("authorize", "identify", "explain", "start", "update", "stop", "sync", "switch_up", "switch_down")
UNKNOWN_WAY = "unknown"
WAYS = (*(way.value for way in Direction), UNKNOWN_WAY)
"""Of an authorization; of a reject it may be unknown."""
CONNECTED: tuple[Interface, ...] = ("tcp", "tls", "http", "resp")
"""Interfaces with connections."""
PROCESSES = ("decider", "standby", "http")
DROPPED = ("unknown_peer", "too_old")
"""Why a datagram is dropped undecided."""
REFUSED = ("unknown_peer", "too_many", "too_many_of_switch", "tls_handshake")
"""Why a connection is not let in."""


class Family(NamedTuple):
    """What Prometheus calls a metric: one name, one explanation, one set of labels."""

    name: str
    """Without what all begin with; it ends in its unit, and a counter in ``_total``."""
    kind: Literal["counter", "gauge"]
    what: str
    labels: tuple[str, ...] = ()
    unit: float = 1.0
    """What 1 in the file is worth in the unit of the name."""


class Known(NamedTuple):
    """One number for a person, and its cells."""

    name: str
    kind: Literal["counter", "gauge"]
    """A counter only grows, over restarts too; a gauge is what was so a moment ago."""
    what: str
    """A line of explanation."""
    family: str | None
    """The family that its cells are series of; None: it is none for Prometheus."""
    series: tuple[tuple[str, ...], ...] = ((),)
    """The values of the family's labels, of each cell."""


class Histogram(NamedTuple):
    """How often a value was how large. Its cells: one for each bound, one for what is larger, and the sum."""

    name: str
    what: str
    bounds: tuple[float, ...]
    """A value counts where it is no larger than the bound, and larger than the one before."""
    unit: float
    """What 1 in the cell of the sum is worth."""

    @property
    def cells(self) -> int:
        """How many it has."""
        return len(self.bounds) + 2


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("requests_total", "counter", "Requests that were decided.", ("interface", "method")),
        Family("accepted_total", "counter", "Authorizations that were accepted.", ("interface", "direction")),
        Family(
            "rejected_total",
            "counter",
            "Authorizations that were rejected.",
            ("interface", "direction", "reason"),
        ),
        Family("retransmissions_total", "counter", "Authorizations that were answered as before."),
        Family("unreserved_total", "counter", "Accepted calls without a slot, since they came without call_id."),
        Family("wrong_parameters_total", "counter", "Life-cycle messages with a parameter that cannot be used."),
        Family("overcommits_total", "counter", "Calls that exist and were counted over a limit."),
        Family("unknown_calls_total", "counter", "Life-cycle messages of calls that are not held.", ("method",)),
        Family("missing_calls_total", "counter", "Calls in complete lists of switches that are not held."),
        Family("freed_legs_total", "counter", "Legs that were freed before their lease lapsed.", ("by",)),
        Family("lapsed_legs_total", "counter", "Legs whose lease lapsed.", ("state",)),
        Family("datagrams_dropped_total", "counter", "Datagrams that were dropped undecided.", ("why",)),
        Family("connections_refused_total", "counter", "Connections that were not let in.", ("why",)),
        Family("wrong_tokens_total", "counter", "Requests and connections with a wrong token."),
        Family(
            "messages_shed_total", "counter", "Messages that were answered overload, undecided.", ("interface",)
        ),
        Family("answers_unsent_total", "counter", "Answers over UDP that the system did not take."),
        Family("faults_total", "counter", "Faults of the program, of requests or beside them."),
        Family("log_lines_dropped_total", "counter", "Log lines of the decider that nobody read in time."),
        Family("restarts_total", "counter", "Processes that died and were replaced.", ("process",)),
        Family("decider_starts_total", "counter", "Times that a process began to decide."),
        Family("decider_cpu_seconds_total", "counter", "CPU time of the processes that decided.", unit=1e-6),
        Family("book_loads_total", "counter", "Versions of the book that were taken up."),
        Family("counters_began_timestamp_seconds", "gauge", "When these counters were begun."),
        Family("decider_start_timestamp_seconds", "gauge", "When the process that decides began."),
        Family("noted_timestamp_seconds", "gauge", "When the decider noted its gauges last."),
        Family("decider_resident_memory_bytes", "gauge", "Memory of the process that decides."),
        Family("connections", "gauge", "Connections that are open.", ("interface",)),
        Family("book_version", "gauge", "Version of the book in use; 0: none."),
        Family("book_made_timestamp_seconds", "gauge", "When the version in use was made; 0: there is none."),
        Family("book_taken_up_timestamp_seconds", "gauge", "When the version in use was taken up; 0: none is."),
        Family("book_load_seconds", "gauge", "How long the version in use took to load.", unit=1e-6),
        Family("book_load_pause_seconds", "gauge", "Longest pause for requests while it was loaded.", unit=1e-6),
        Family("legs_held", "gauge", "Legs that hold slots: the reserved and the active ones."),
        Family("legs", "gauge", "Legs that are known.", ("state",)),
        Family("legs_max", "gauge", "Legs that the set of calls has room for."),
        Family("mirror_used_bytes", "gauge", "Bytes of the mirror that are in use."),
        Family("mirror_size_bytes", "gauge", "Size of the mirror."),
    )
}


def _counter(name: str, what: str, family: str, *series: tuple[str, ...]) -> Known:
    return Known(name, "counter", what, family, series or ((),))


def _gauge(name: str, what: str, family: str | None, *series: tuple[str, ...]) -> Known:
    return Known(name, "gauge", what, family, series or ((),))


def _rejected(reason: Reason) -> Known:
    series = ((interface, way, reason.value) for interface in INTERFACES for way in WAYS)
    return _counter(f"rejected_{reason}", f"authorizations rejected as {reason}", "rejected_total", *series)


def _requests(method: str) -> Known:
    series = ((interface, method) for interface in INTERFACES)
    return _counter(f"requests_{method}", f"requests of the method {method}", "requests_total", *series)


def _each(values: Iterable[str], name: str, what: str, family: str) -> Iterable[Known]:
    """Return a counter for each value of a family's one label."""
    return (_counter(name.format(one), what.format(one.replace("_", " ")), family, (one,)) for one in values)


REGISTRY: tuple[Known, ...] = (
    *(_requests(method) for method in METHODS),
    _counter(
        "accepted",
        "authorizations that were accepted",
        "accepted_total",
        *((interface, way.value) for interface in INTERFACES for way in Direction),
    ),
    *(_rejected(reason) for reason in Reason),
    _counter(
        "retransmissions",
        "authorizations that were answered as before, without a second slot",
        "retransmissions_total",
    ),
    _counter("unreserved", "accepted calls without a slot, since they came without call_id", "unreserved_total"),
    _counter(
        "wrong_parameters",
        "starts, updates, stops and syncs with a parameter that cannot be used",
        "wrong_parameters_total",
    ),
    _counter("overcommits", "calls that exist and were counted over a limit", "overcommits_total"),
    *_each(("start", "update", "stop"), "unknown_{}s", "{}s of calls that are not held", "unknown_calls_total"),
    _counter("missing_calls", "calls in complete lists of switches that are not held", "missing_calls_total"),
    _counter("freed_by_stop", "legs freed by a stop", "freed_legs_total", ("stop",)),
    _counter(
        "freed_by_sync",
        "legs freed since two complete lists of their switch lacked them",
        "freed_legs_total",
        ("sync",),
    ),
    _counter("freed_by_switch", "legs freed by switch_up and switch_down", "freed_legs_total", ("switch",)),
    _counter("freed_by_operator", "legs freed by `calls end`", "freed_legs_total", ("operator",)),
    _counter("lapsed_reserved", "reservations that lapsed without a start", "lapsed_legs_total", ("reserved",)),
    _counter("lapsed_active", "active legs that lapsed without a stop", "lapsed_legs_total", ("active",)),
    *_each(DROPPED, "datagrams_dropped_{}", "datagrams dropped undecided: {}", "datagrams_dropped_total"),
    *_each(REFUSED, "connections_refused_{}", "connections that were not let in: {}", "connections_refused_total"),
    _counter("wrong_tokens", "requests and connections with a wrong token", "wrong_tokens_total"),
    *_each(INTERFACES, "messages_shed_{}", "messages by {} answered overload, undecided", "messages_shed_total"),
    _counter("answers_unsent", "answers that the system did not take over UDP", "answers_unsent_total"),
    _counter("faults", "faults of the program, of requests or beside them", "faults_total"),
    _counter("log_lines_dropped", "log lines of the decider that nobody read in time", "log_lines_dropped_total"),
    _counter("deciders_started", "times that a process began to decide", "decider_starts_total"),
    *_each(PROCESSES, "restarts_{}", "deaths of a process that was replaced: {}", "restarts_total"),
    _counter("book_loads", "versions of the book that were taken up", "book_loads_total"),
    _counter("cpu_microseconds", "CPU time of the processes that decided", "decider_cpu_seconds_total"),
    _gauge("began", "when these counters were begun, Unix seconds", "counters_began_timestamp_seconds"),
    _gauge("started", "when the process that decides began, Unix seconds", "decider_start_timestamp_seconds"),
    _gauge("noted", "when gauges were written last, Unix seconds", "noted_timestamp_seconds"),
    _gauge("pid", "of the process that decides, or did last", None),
    _gauge("resident_bytes", "memory of the process that decides", "decider_resident_memory_bytes"),
    *(
        _gauge(f"connections_{one}", f"connections by {one} that are open", "connections", (one,))
        for one in CONNECTED
    ),
    _gauge("book_version", "version of the book in use; 0: none", "book_version"),
    _gauge("book_made", "when that version was made, Unix seconds", "book_made_timestamp_seconds"),
    _gauge("book_taken_up", "when it was taken up, Unix seconds", "book_taken_up_timestamp_seconds"),
    _gauge("book_load_microseconds", "how long it took to load", "book_load_seconds"),
    _gauge("book_pause_microseconds", "longest pause for requests meanwhile", "book_load_pause_seconds"),
    _gauge("held", "legs that hold slots", "legs_held"),
    _gauge("reserved", "legs that are reserved", "legs", ("reserved",)),
    _gauge("active", "legs that are active", "legs", ("active",)),
    _gauge("remembered", "lapsed legs that can be revived", "legs", ("remembered",)),
    _gauge("max_legs", "legs that the set of calls has room for", "legs_max"),
    _gauge("mirror_used_bytes", "bytes of the mirror that are in use", "mirror_used_bytes"),
    _gauge("mirror_bytes", "size of the mirror", "mirror_size_bytes"),
)
"""Every number, in its place; one that is added or moved is another format."""

HISTOGRAMS: tuple[Histogram, ...] = (
    Histogram(
        "decide_seconds",
        "Time that a request waited for its decision, from when its batch was read to when the batch was decided.",
        (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        1e-9,
    ),
    Histogram(
        "batch_requests",
        "Requests that were decided together.",
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
        1.0,
    ),
)
"""They stand behind the numbers."""

SUMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "strangers_refused": (
        "datagrams and connections that were not let in",
        ("datagrams_dropped_unknown_peer", *(f"connections_refused_{why}" for why in REFUSED)),
    ),
    "messages_shed": (
        "messages over connections that had waited too long and were not decided",
        tuple(f"messages_shed_{interface}" for interface in INTERFACES),
    ),
}
"""Numbers for a person that are sums of others: what each is, and of which."""


def _places() -> tuple[dict[str, int], int]:
    """Return the first cell of everything, and how many cells there are."""
    places: dict[str, int] = {}
    cells = 0
    for known in REGISTRY:
        places[known.name] = cells
        cells += len(known.series)
    for histogram in HISTOGRAMS:
        places[histogram.name] = cells
        cells += histogram.cells
    return places, cells


PLACE, CELLS = _places()
"""Where the first cell of each stands in :attr:`CounterFile.cells`, and how many cells there are."""
