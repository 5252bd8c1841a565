"""The one list of all numbers, :data:`REGISTRY`, with the Prometheus metric that each belongs to.

An entry is one number for a person (``stats``). It has one cell in the counter file
(:mod:`identengine.stats.file`) for each of its Prometheus series (:mod:`identengine.stats.metrics`), such as
rejects by interface and direction. :data:`HISTOGRAMS` have cells, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from identengine.model.reasons import Reason
from identengine.model.records import INTERFACES, Direction, Interface
from identengine.wire.codes import BAD_PARAMS, INVALID_REQUEST, NO_SUCH_METHOD, PARSE_ERROR
from identengine.wire.radius.packet import MEANINGS, Cause

METHODS = ("authorize", "identify", "explain", "start", "update", "stop", "sync", "switch_up", "switch_down")
UNKNOWN_WAY = "unknown"
WAYS = (*(way.value for way in Direction), UNKNOWN_WAY)
"""Directions of an authorization. That of a reject may be unknown."""
CONNECTED: tuple[Interface, ...] = ("tcp", "tls", "http", "resp")
"""Interfaces that have connections."""
MALFORMED = {
    PARSE_ERROR: "parse_error",
    INVALID_REQUEST: "invalid_request",
    NO_SUCH_METHOD: "unknown_method",
    BAD_PARAMS: "bad_params",
}
"""Codes of the errors of malformed messages (interfaces.md 3, "Errors"), and their names in counters."""
PROCESSES = ("decider", "standby", "http")
DROPPED = ("unknown_peer", "too_old", "too_many")
"""Reasons to drop a datagram without a decision."""
REFUSED = ("unknown_peer", "too_many", "too_many_of_switch", "tls_handshake")
"""Reasons to refuse a connection."""


class Family(NamedTuple):
    """A Prometheus metric: one name, one help text and one set of labels."""

    name: str
    """The name without the common prefix. It ends with the unit, that of a counter with ``_total``."""
    kind: Literal["counter", "gauge"]
    what: str
    """The help text: one sentence."""
    labels: tuple[str, ...] = ()
    unit: float = 1.0
    """The value of 1 in the file, in the unit of the name."""


class Known(NamedTuple):
    """One number for a person, with its cells."""

    name: str
    kind: Literal["counter", "gauge"]
    """A counter only grows, also across restarts. A gauge is a state, at most a moment old."""
    what: str
    """A description of the number, as a noun phrase."""
    family: str | None
    """The name of the family that has the cells as series; None if Prometheus does not get the number."""
    series: tuple[tuple[str, ...], ...] = ((),)
    """The label values of each cell."""


class Histogram(NamedTuple):
    """A distribution of a value. Its cells: one for each bound, one for larger values, and the sum."""

    name: str
    what: str
    """The help text: one sentence."""
    bounds: tuple[float, ...]
    """The upper bounds of the cells. A value counts in the first cell whose bound it does not exceed."""
    unit: float
    """The value of 1 in the cell of the sum, in the unit of the name."""

    @property
    def cells(self) -> int:
        """The number of cells."""
        return len(self.bounds) + 2


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("requests_total", "counter", "Requests that the decider answered.", ("interface", "method")),
        Family(
            "accepted_total",
            "counter",
            "Authorizations that were accepted, retransmissions included.",
            ("interface", "direction"),
        ),
        Family(
            "rejected_total",
            "counter",
            "Authorizations that were rejected.",
            ("interface", "direction", "reason"),
        ),
        Family(
            "retransmissions_total",
            "counter",
            "Authorizations that repeated an earlier one and got the same answer, without a second slot.",
        ),
        Family(
            "unreserved_total",
            "counter",
            "Accepted calls that hold no slot, because their request had no call_id.",
        ),
        Family(
            "wrong_parameters_total",
            "counter",
            "Messages start, update, stop and sync with an unusable parameter.",
        ),
        Family("overcommits_total", "counter", "Existing calls that were counted although a limit was full."),
        Family(
            "unknown_calls_total",
            "counter",
            "Messages start, update and stop for calls that are not held.",
            ("method",),
        ),
        Family(
            "missing_calls_total", "counter", "Calls in complete lists of the switches (sync) that are not held."
        ),
        Family("freed_legs_total", "counter", "Legs that were freed before their lease expired.", ("by",)),
        Family("lapsed_legs_total", "counter", "Legs whose lease expired.", ("state",)),
        Family("datagrams_dropped_total", "counter", "Datagrams that were dropped without a decision.", ("why",)),
        Family(
            "radius_packets_dropped_total",
            "counter",
            "RADIUS packets of known switches that got no reply, by cause.",
            ("why",),
        ),
        Family(
            "radius_duplicates_total",
            "counter",
            "RADIUS packets that repeated a recent one, and were not decided again.",
        ),
        Family("connections_refused_total", "counter", "Connections that were refused.", ("why",)),
        Family("wrong_tokens_total", "counter", "Requests and connections with a wrong token, over HTTP too."),
        Family(
            "messages_shed_total",
            "counter",
            "Messages over connections that were answered overload without a decision.",
            ("interface",),
        ),
        Family("answers_unsent_total", "counter", "Answers over UDP that the system did not accept for sending."),
        Family(
            "answers_withheld_total",
            "counter",
            "Errors over UDP that were not sent, since they had more bytes than a message without a right token.",
        ),
        Family("faults_total", "counter", "Faults of the program, in requests (internal_error) or in other work."),
        Family(
            "log_lines_dropped_total",
            "counter",
            "Log lines that the decider dropped because no process read them in time.",
        ),
        Family("decisions_recorded_total", "counter", "Decisions that were written to the record."),
        Family(
            "decisions_unrecorded_total",
            "counter",
            "Decisions that could not be written to the record, since the disk is full, slow or unusable.",
        ),
        Family("restarts_total", "counter", "Processes that died and were replaced.", ("process",)),
        Family("decider_starts_total", "counter", "Starts of deciders."),
        Family("decider_cpu_seconds_total", "counter", "CPU time of the deciders.", unit=1e-6),
        Family("book_loads_total", "counter", "Versions of the book that were loaded, restarts included."),
        Family("counters_began_timestamp_seconds", "gauge", "Time at which these counters started from zero."),
        Family("decider_start_timestamp_seconds", "gauge", "Time at which the current decider started."),
        Family("noted_timestamp_seconds", "gauge", "Time at which the decider last wrote its gauges."),
        Family("decider_resident_memory_bytes", "gauge", "Resident memory of the decider."),
        Family("connections", "gauge", "Open connections.", ("interface",)),
        Family("book_version", "gauge", "Version of the book in use, or 0 without a book."),
        Family(
            "book_made_timestamp_seconds",
            "gauge",
            "Time at which the version in use was made in the store, or 0 without a book.",
        ),
        Family(
            "book_taken_up_timestamp_seconds",
            "gauge",
            "Time at which the decider loaded the version in use, or 0 without a book.",
        ),
        Family("book_load_seconds", "gauge", "Time that loading the version in use took.", unit=1e-6),
        Family(
            "book_load_pause_seconds",
            "gauge",
            "Longest time that requests waited while the version in use was loaded.",
            unit=1e-6,
        ),
        Family("legs_held", "gauge", "Legs that hold slots, reserved or active."),
        Family(
            "legs",
            "gauge",
            "Legs by state: reserved, active, or remembered after their lease expired.",
            ("state",),
        ),
        Family("legs_max", "gauge", "Capacity of the set of calls in legs ([calls] max_legs)."),
        Family("mirror_used_bytes", "gauge", "Used bytes of the mirror, the file that keeps the set of calls."),
        Family("mirror_size_bytes", "gauge", "Size of the mirror, the file that keeps the set of calls."),
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
    return _counter(f"requests_{method}", f"requests of method {method}", "requests_total", *series)


def _each(values: Iterable[str], name: str, what: str, family: str) -> Iterable[Known]:
    """Return one counter for each value of the label of a family."""
    return (_counter(name.format(one), what.format(one.replace("_", " ")), family, (one,)) for one in values)


_UNANSWERED = "RADIUS packets without a reply"

REGISTRY: tuple[Known, ...] = (
    *(_requests(method) for method in METHODS),
    _counter(
        "accepted",
        "authorizations accepted",
        "accepted_total",
        *((interface, way.value) for interface in INTERFACES for way in Direction),
    ),
    *(_rejected(reason) for reason in Reason),
    _counter(
        "retransmissions",
        "authorizations repeated and answered as before, without a second slot",
        "retransmissions_total",
    ),
    _counter("unreserved", "accepted calls without a slot, because they had no call_id", "unreserved_total"),
    _counter(
        "wrong_parameters",
        "starts, updates, stops and syncs with an unusable parameter",
        "wrong_parameters_total",
    ),
    _counter("overcommits", "existing calls counted although a limit was full", "overcommits_total"),
    *_each(("start", "update", "stop"), "unknown_{}s", "{}s for calls that are not held", "unknown_calls_total"),
    _counter(
        "missing_calls", "calls in complete lists of switches (sync) that are not held", "missing_calls_total"
    ),
    _counter("freed_by_stop", "legs freed by a stop", "freed_legs_total", ("stop",)),
    _counter(
        "freed_by_sync",
        "legs freed because two complete lists of their switch did not have them",
        "freed_legs_total",
        ("sync",),
    ),
    _counter("freed_by_switch", "legs freed by switch_up and switch_down", "freed_legs_total", ("switch",)),
    _counter("freed_by_operator", "legs freed by `calls end`", "freed_legs_total", ("operator",)),
    _counter("lapsed_reserved", "reservations that expired without a start", "lapsed_legs_total", ("reserved",)),
    _counter("lapsed_active", "active legs that expired without a stop", "lapsed_legs_total", ("active",)),
    *_each(DROPPED, "datagrams_dropped_{}", "datagrams dropped without a decision: {}", "datagrams_dropped_total"),
    *(
        _counter(f"radius_dropped_{cause}", f"{_UNANSWERED}: {meaning}", "radius_packets_dropped_total", (cause,))
        for cause, meaning in MEANINGS.items()
    ),
    _counter(
        "radius_duplicates",
        "RADIUS packets that repeated a recent one, not decided again",
        "radius_duplicates_total",
    ),
    *_each(REFUSED, "connections_refused_{}", "connections refused: {}", "connections_refused_total"),
    _counter("wrong_tokens", "requests and connections with a wrong token", "wrong_tokens_total"),
    *(
        Known(f"malformed_{name}", "counter", f"malformed messages with error {code}", None)
        for code, name in MALFORMED.items()
    ),
    *_each(
        INTERFACES,
        "messages_shed_{}",
        "messages over {} answered overload without a decision",
        "messages_shed_total",
    ),
    _counter(
        "answers_unsent", "answers over UDP that the system did not accept for sending", "answers_unsent_total"
    ),
    _counter(
        "answers_withheld",
        "errors over UDP that were not sent, since they had more bytes than a message without a right token",
        "answers_withheld_total",
    ),
    _counter("faults", "faults of the program, in requests or in other work", "faults_total"),
    _counter(
        "log_lines_dropped", "log lines of the decider that no process read in time", "log_lines_dropped_total"
    ),
    _counter("decisions_recorded", "decisions written to the record", "decisions_recorded_total"),
    _counter(
        "decisions_unrecorded", "decisions that could not be written to the record", "decisions_unrecorded_total"
    ),
    _counter("deciders_started", "starts of deciders", "decider_starts_total"),
    *_each(PROCESSES, "restarts_{}", "deaths of processes that were then replaced: {}", "restarts_total"),
    _counter("book_loads", "versions of the book loaded", "book_loads_total"),
    _counter("cpu_microseconds", "CPU time of the deciders, microseconds", "decider_cpu_seconds_total"),
    _gauge("began", "start of these counters, Unix seconds", "counters_began_timestamp_seconds"),
    _gauge("started", "start of the decider, Unix seconds", "decider_start_timestamp_seconds"),
    _gauge("noted", "last update of the gauges, Unix seconds", "noted_timestamp_seconds"),
    _gauge("pid", "process id of the decider, or of the last one", None),
    _gauge("resident_bytes", "resident memory of the decider, bytes", "decider_resident_memory_bytes"),
    *(_gauge(f"connections_{one}", f"open connections over {one}", "connections", (one,)) for one in CONNECTED),
    _gauge("book_version", "version of the book in use, 0 without a book", "book_version"),
    _gauge("book_made", "creation of that version in the store, Unix seconds", "book_made_timestamp_seconds"),
    _gauge("book_taken_up", "load of that version, Unix seconds", "book_taken_up_timestamp_seconds"),
    _gauge("book_load_microseconds", "duration of that load, microseconds", "book_load_seconds"),
    _gauge(
        "book_pause_microseconds",
        "longest wait of requests during that load, microseconds",
        "book_load_pause_seconds",
    ),
    _gauge("held", "legs that hold slots", "legs_held"),
    _gauge("reserved", "reserved legs", "legs", ("reserved",)),
    _gauge("active", "active legs", "legs", ("active",)),
    _gauge("remembered", "lapsed legs that can be revived", "legs", ("remembered",)),
    _gauge("max_legs", "capacity of the set of calls, legs", "legs_max"),
    _gauge("mirror_used_bytes", "used bytes of the file that keeps the set of calls", "mirror_used_bytes"),
    _gauge("mirror_bytes", "size of that file, bytes", "mirror_size_bytes"),
)
"""Every number, in the order of its cells. A change of the list is another format of the counter file."""

HISTOGRAMS: tuple[Histogram, ...] = (
    Histogram(
        "decide_seconds",
        "Time from the start of a request's batch to its commit, decoding and encoding included.",
        (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        1e-9,
    ),
    Histogram(
        "batch_requests",
        "Number of requests that were decided together.",
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
        1.0,
    ),
)
"""The distributions. Their cells follow those of the numbers."""

SUMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "strangers_refused": (
        "datagrams and connections refused",
        ("datagrams_dropped_unknown_peer", *(f"connections_refused_{why}" for why in REFUSED)),
    ),
    "malformed_messages": (
        "messages with an error in their form or parameters",
        tuple(f"malformed_{name}" for name in MALFORMED.values()),
    ),
    "radius_dropped": (
        _UNANSWERED,
        tuple(f"radius_dropped_{cause}" for cause in Cause),
    ),
    "messages_shed": (
        "messages over connections that had waited too long and were not decided",
        tuple(f"messages_shed_{interface}" for interface in INTERFACES),
    ),
}
"""Numbers for a person that are sums of others: the description, and the names of the parts."""


def _places() -> tuple[dict[str, int], int]:
    """Return the first cell of each number and histogram, and the number of all cells."""
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
"""The index of the first cell of each number in :attr:`CounterFile.cells`, and the number of all cells."""
