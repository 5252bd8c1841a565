"""The processor time of hostile messages that are written by hand, in this process: of RADIUS and of RESP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks import served
from benchmarks.hostile import commands, packets
from benchmarks.hostile.subject import Cost, Subject, quiet
from benchmarks.results import Row

_TIED, _TIED_QUICK = 10_000, 1_000
"""Accounts that share one address."""
_COUNT, _COUNT_QUICK = 200, 5
"""Packets of each kind. The least time counts."""
_STREAMS, _STREAMS_QUICK = 5, 1
"""Streams of each kind. The least time counts."""


def rows(*, quick: bool) -> list[Row]:
    """Return a row for each kind of packet and stream."""
    found: list[Row] = []
    with served.folder() as place, ExitStack() as stack:
        subject = Subject(place, stack, _TIED_QUICK if quick else _TIED)
        quiet(lambda: found.extend(_packets(subject, _COUNT_QUICK if quick else _COUNT)))
        quiet(lambda: found.extend(_streams(subject, _STREAMS_QUICK if quick else _STREAMS)))
        if subject.faults():
            raise AssertionError(f"a message was answered with an internal error: {subject.faults()}")
    return found


def _packets(subject: Subject, count: int) -> Iterator[Row]:
    for one in packets.forged():

        def numbered(number: int, raw: bytes = one.raw) -> bytes:
            return raw[:4] + number.to_bytes(16) + raw[20:]

        cost = subject.packet_cost(numbered, packets.SECRET, accounting=one.accounting, most=count)
        yield _row(one.name, "RADIUS", cost, proven=False)
    for one in packets.authentic():

        def signed(number: int, raw: bytes = one.raw) -> bytes:
            return packets.signed(raw, number)

        cost = subject.packet_cost(signed, packets.SECRET, accounting=one.accounting, most=count)
        yield _row(one.name, "RADIUS", cost, proven=True)


def _streams(subject: Subject, count: int) -> Iterator[Row]:
    for shown, streams in ((False, commands.anybody()), (True, commands.authenticated())):
        for one in streams:
            yield _row(one.name, "RESP", subject.stream_cost(one.block, shown=shown, most=count), proven=shown)


def _row(name: str, transport: str, cost: Cost, *, proven: bool) -> Row:
    figures = {"bytes": cost.sent, "cost": cost.microseconds, "per_kilobyte": cost.microseconds * 1024 / cost.sent}
    figures["reflected"] = cost.answered / cost.sent
    texts = {"token": "yes" if proven else "no", "transport": transport, "input": "–"}  # noqa: RUF001 - a dash for a missing name
    return Row(name, figures, texts=texts)
