"""The state of a server at one moment, as ``top`` shows it."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from identengine.cli.operatorclient import OperatorClient, fullest
from identengine.cli.stats import PATIENCE
from identengine.errors import IdentengineError, StoreError
from identengine.stats.file import Snapshot, read
from identengine.stats.registry import REGISTRY
from identengine.wire.operator import Status, StatusRequest, Use

ROWS = 10
"""Number of rows in each table. Limits that are full have a row each, however many they are."""
_REQUESTS = ("requests_authorize", "requests_start", "requests_update", "requests_stop", "accepted")
_WATCHED = (
    "overcommits",
    "unknown_starts",
    "unknown_updates",
    "unknown_stops",
    "lapsed_reserved",
    "lapsed_active",
    "strangers_refused",
    "datagrams_dropped_too_old",
    "wrong_tokens",
    "malformed_messages",
    "radius_dropped",
    "faults",
    "answers_unsent",
    "answers_withheld",
)
_REASONS = tuple(known.name for known in REGISTRY if known.name.startswith("rejected_"))


class Rate(msgspec.Struct, frozen=True):
    """A counter and its growth since the previous refresh."""

    name: str
    total: int
    per_second: float


class Address(msgspec.Struct, frozen=True):
    """An address whose calls were rejected. The count may be too low by ``short_by`` of the picture."""

    address: str
    rejected: int


class Picture(msgspec.Struct, frozen=True):
    """The state of a server at one refresh."""

    server: Status | None
    trouble: str | None
    """Errors of the server or the counters, or None."""
    rates: tuple[Rate, ...] = ()
    accounts: tuple[Use, ...] = ()
    """All limits of accounts that are full, or the fullest."""
    clients: tuple[Use, ...] = ()
    addresses: tuple[Address, ...] = ()
    short_by: int = 0
    switches: tuple[Rate, ...] = ()
    """Rejects by switch."""


class Watch:
    """A source of pictures that keeps the previous counters, for rates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before: tuple[float, Snapshot] | None = None

    def look(self) -> Picture:
        """Return the current state. Rates cover the time since the previous call."""
        troubles: list[str] = []
        status, accounts, clients = None, [], []
        try:
            with OperatorClient(self._folder, PATIENCE) as server:
                status = server.ask(StatusRequest(), Status)
                accounts, clients = (fullest(server, of, ROWS) for of in ("accounts", "clients"))
        except IdentengineError as error:
            troubles.append(str(error))
        try:
            snapshot = read(self._folder)
        except StoreError as error:
            return Picture(status, "\n".join([*troubles, str(error)]), (), tuple(accounts), tuple(clients))
        now = time.monotonic()
        then, before = self._before or (now, snapshot)
        self._before = now, snapshot
        passed = now - then

        def rate(name: str, total: int, earlier: int) -> Rate:
            grown = max(0, total - earlier)  # negative if the file was replaced
            return Rate(name, total, round(grown / passed, 1) if passed else 0.0)

        def rates(*names: str) -> list[Rate]:
            return [rate(name, snapshot.values[name], before.values[name]) for name in names]

        return Picture(
            status,
            "\n".join(troubles) or None,
            (*rates(*_REQUESTS, *_WATCHED), *(one for one in _by_rate(rates(*_REASONS)) if one.total)),
            tuple(accounts),
            tuple(clients),
            tuple(Address(one, count) for one, count in snapshot.addresses.largest(ROWS)),
            snapshot.addresses.floor,
            tuple(
                _by_rate(
                    [rate(name, total, before.rejected.get(name, 0)) for name, total in snapshot.rejected.items()]
                )
            ),
        )


def _by_rate(rates: list[Rate]) -> list[Rate]:
    """Return the rates in order, the highest first."""
    return sorted(rates, key=lambda one: (-one.per_second, -one.total))
