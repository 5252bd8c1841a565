"""Servers that others use to find the account of a call, set up from the same workload and asked the same calls.

Most of them know only exact keys, so each gets the one key that an account's calls come with. That is less work
than the engine has with networks, names and numbers. They still have to find the tech prefix themselves. Each peer
is started in a folder of its own with a generated configuration, as fast as we know how to make it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from benchmarks.rounds import Taken
from benchmarks.workload import Workload


class WrongAnswerError(Exception):
    """A server named another account than the call's, so its speed is not worth measuring."""


class MissingError(Exception):
    """The program of a peer is not installed. The message names the package."""


class Entry(NamedTuple):
    """An account as a peer knows it."""

    key: str
    tech_prefix: str
    account_id: int
    capacity: int


class Case(NamedTuple):
    """One way to ask a running server."""

    name: str
    requests_a_call: int
    """2 if a call is authorized and then stopped; 1 if a single request takes and frees its slot, or has none."""
    caveats: tuple[str, ...]
    check: Callable[[], int]
    """Ask several thousand requests and check their accounts. Return the number, or raise WrongAnswerError."""
    take: Callable[[int], Taken]
    """Ask about all calls of the workload and time them. Repeat if other processes used the processors."""


class Served(NamedTuple):
    """A running server."""

    version: str
    pid: int
    """Pid of its first process."""
    cases: tuple[Case, ...]


class Peer(NamedTuple):
    """A server that can be started."""

    name: str
    packages: str
    """Packages for ``apt-get install --no-install-recommends``."""
    serve: Callable[[Path, Workload], AbstractContextManager[Served]]
    """Start the server in an empty folder, with the accounts and calls of a workload. Raise MissingError."""


def entries(workload: Workload) -> list[Entry]:
    """Return the entries for peers: each account that has calls, for each key the longest tech prefix first."""
    capacities = {account.id: account.orig_capacity or 0 for account in workload.book.accounts}
    known = {(call.key, call.tech_prefix): call.account_id for call in workload.calls}
    found = [Entry(key, prefix, account, capacities[account]) for (key, prefix), account in known.items()]
    return sorted(found, key=lambda entry: (entry.key, -len(entry.tech_prefix)))
