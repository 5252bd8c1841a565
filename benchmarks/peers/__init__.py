"""Servers that others use to find the account of a call, set up from the same workload and asked the same calls.

What an exact key finds is all that most of them know, so each gets for an account the one key that its calls come
by, which is less than our server has to do with networks, names and numbers; the tech prefix they have to find
themselves. Each is started in a folder of its own with a configuration made for it, at its best as far as we know.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from benchmarks.rounds import Taken
from benchmarks.workload import Workload


class WrongAnswerError(Exception):
    """A server named another account than the call is of: nothing that it does is worth timing."""


class MissingError(Exception):
    """A peer's program is not on this machine; the text says what to install."""


class Entry(NamedTuple):
    """What a peer knows of an account."""

    key: str
    tech_prefix: str
    account_id: int
    capacity: int


class Case(NamedTuple):
    """One way to ask a running server."""

    name: str
    requests_a_call: int
    """2 where a call is authorized and stopped, 1 where one request takes and gives back its slot, or has none."""
    caveats: tuple[str, ...]
    check: Callable[[], int]
    """Ask several thousand requests, read whose each call is said to be; returns how many, or raises
    WrongAnswerError."""
    take: Callable[[int], Taken]
    """Ask about all calls of the workload, against time; where others used the processors, again so many times."""


class Served(NamedTuple):
    """A running server."""

    version: str
    pid: int
    """Of all its processes the first."""
    cases: tuple[Case, ...]


class Peer(NamedTuple):
    """A server that can be started."""

    name: str
    packages: str
    """What ``apt-get install --no-install-recommends`` is to be told."""
    serve: Callable[[Path, Workload], AbstractContextManager[Served]]
    """Start it in an empty folder, with the accounts and calls of a workload; raises MissingError."""


def entries(workload: Workload) -> list[Entry]:
    """Return what peers are told: each account that has calls once, of a key the longest tech prefix first."""
    capacities = {account.id: account.orig_capacity or 0 for account in workload.book.accounts}
    known = {(call.key, call.tech_prefix): call.account_id for call in workload.calls}
    found = [Entry(key, prefix, account, capacities[account]) for (key, prefix), account in known.items()]
    return sorted(found, key=lambda entry: (entry.key, -len(entry.tech_prefix)))
