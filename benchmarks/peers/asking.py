"""Asking a server: first one request at a time, to read each answer, then by the generator, against time."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from benchmarks import generator, machine, switches
from benchmarks.generator import Options
from benchmarks.peers import Case, WrongAnswerError
from benchmarks.rounds import Contender, alternate

CHECKED = 5_000
"""Number of requests whose answers are checked before the timing."""
_PATIENCE = 5.0
"""Time limit of one answer, in seconds."""


class Ask(NamedTuple):
    """A request in the server's format, and its expected answer."""

    payload: bytes
    account_id: int | None
    """The account that the answer must name, or None if it must name none."""
    expected: bytes
    """Bytes that the answer must contain, for the generator."""
    lane: int
    """Requests of one lane use the same socket, in order."""
    source: str | None = None
    """Source address of the request."""


def datagram(ask: Ask, port: int, options: Options) -> bytes:
    """Send one datagram as the generator would, and return its answer. Raise OSError if none arrives."""
    payload = bytearray(ask.payload)
    if (at := options.random_at) is not None:
        payload[at : at + options.random_bytes] = os.urandom(options.random_bytes)
    sent = bytes(payload) if options.radius is None else switches.signed(bytes(payload))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((ask.source or "", 0))
        opened.settimeout(_PATIENCE)
        opened.connect(("127.0.0.1", port))
        opened.send(sent)
        return opened.recv(4096)


def compare(asks: Sequence[Ask], answer: Callable[[Ask], bytes], account: Callable[[bytes], int | None]) -> int:
    """Ask the first few thousand requests one by one. Return their number, or raise WrongAnswerError."""
    for ask in islice(asks, CHECKED):
        said = answer(ask)
        found = account(said)
        if found != ask.account_id or ask.expected not in said:
            raise WrongAnswerError(f"{ask.payload!r}: expected account {ask.account_id}, got {found}: {said!r}")
    return min(CHECKED, len(asks))


def by_datagrams(
    name: str,
    pid: int,
    port: int,
    options: Options,
    folder: Path,
    asks: Sequence[Ask],
    *,
    account: Callable[[bytes], int | None],
    caveats: tuple[str, ...],
) -> Case:
    """Return the case of a server that is asked over UDP; see :func:`by_generator`."""
    return by_generator(
        name,
        pid,
        f"udp:127.0.0.1:{port}",
        options,
        folder,
        asks,
        answer=lambda ask: datagram(ask, port, options),
        account=account,
        caveats=caveats,
    )


def by_generator(
    name: str,
    pid: int,
    target: str,
    options: Options,
    folder: Path,
    asks: Sequence[Ask],
    *,
    answer: Callable[[Ask], bytes],
    account: Callable[[bytes], int | None],
    requests_a_call: int = 1,
    caveats: tuple[str, ...] = (),
) -> Case:
    """Return the case of a server that is asked each of ``asks`` in a round.

    ``target`` and ``options`` are the generator's, except for count and core. ``answer`` asks one request, and
    ``account`` returns the account that an answer names.
    """
    requests = folder / f"{name.replace(' ', '-').replace('/', '-')}.requests"
    count = generator.write(
        requests, (generator.Record(ask.payload, ask.expected, ask.source, ask.lane) for ask in asks)
    )
    told = replace(options, count=count, cpu=machine.cores()[0])
    contender = Contender(name, pid, target, requests, told)
    return Case(
        name,
        requests_a_call,
        caveats,
        check=lambda: compare(asks, answer, account),
        take=lambda retakes: alternate([contender], 1, retakes)[0][name],
    )
