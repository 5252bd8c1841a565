"""How a server is asked: one request after another, each answer read; then by the generator, against time."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from benchmarks import generator, machine
from benchmarks.generator import Options
from benchmarks.peers import Case, WrongAnswerError
from benchmarks.rounds import Contender, alternate

CHECKED = 5_000
"""Requests whose answers are read before anything is timed."""
_PATIENCE = 5.0
"""Seconds for one answer."""


class Ask(NamedTuple):
    """A request as a server gets it, and what its answer has to be."""

    payload: bytes
    account_id: int | None
    """What the answer has to name; None where it names none."""
    expected: bytes
    """What has to be in the answer, for the generator to find."""
    lane: int
    """What has the same lane goes by the same socket, in its order."""
    source: str | None = None
    """The address that it comes from."""


def datagram(ask: Ask, port: int, options: Options) -> bytes:
    """Send one datagram as the generator would, and return its answer; OSError where none comes."""
    payload = bytearray(ask.payload)
    if (at := options.random_at) is not None:
        payload[at : at + options.random_bytes] = os.urandom(options.random_bytes)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((ask.source or "", 0))
        opened.settimeout(_PATIENCE)
        opened.connect(("127.0.0.1", port))
        opened.send(payload)
        return opened.recv(4096)


def compare(asks: Sequence[Ask], answer: Callable[[Ask], bytes], account: Callable[[bytes], int | None]) -> int:
    """Ask the first few thousand, one after another; returns how many, or raises WrongAnswerError for one."""
    for ask in islice(asks, CHECKED):
        said = answer(ask)
        found = account(said)
        if found != ask.account_id or ask.expected not in said:
            raise WrongAnswerError(
                f"{ask.payload!r} is of account {ask.account_id}, answered is {found}: {said!r}"
            )
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

    ``target`` and ``options`` are the generator's, the latter but for count and core; ``answer`` asks one request,
    and ``account`` reads which account an answer names.
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
