"""Legs for people: the rows of a list, and everything about one call."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from identengine.cli.output import Column, facts, printable, say, table, when

if TYPE_CHECKING:
    from identengine.wire.operator import LegRow

COLUMNS = (
    Column("Call ID"),
    Column("Leg"),
    Column("Direction", firm=True),
    Column("Account"),
    Column("Client"),
    Column("Caller", firm=True),
    Column("Dialled", firm=True),
    Column("Switch"),
    Column("State", firm=True),
    Column("Start", firm=True),
    Column("Age", right=True),
    Column("Lease Left", right=True),
)
"""The columns of a list of legs."""
_UNNAMED = "(not in the book)"


def print_legs(rows: Iterable[LegRow]) -> int:
    """Print a list of legs. Return their number."""
    today = datetime.now().astimezone().date().isoformat()
    return table(COLUMNS, (_cells(row, today) for row in rows))


def print_leg(row: LegRow) -> None:
    """Print everything that the server holds about a leg, without its levels."""
    now = time.time()
    lapsed = row.state == "lapsed"
    facts(
        [
            ("call id", printable(row.call_id)),
            ("leg", printable(row.leg_id) or "(no leg id)"),
            ("direction", row.direction),
            ("state", row.state),
            ("account", _named(row.account_id, row.account_name)),
            ("client", _named(row.client_id, row.client_name)),
            ("resellers", ", ".join(map(str, row.client_ids[1:])) or None),
            ("caller", row.src_number or "(none, or not known)"),
            ("dialled", row.dst_number or "(not known)"),
            ("switch", _switch(row)),
            ("start", f"{when(row.started)}, {span(row.age)} ago"),
            ("forgotten" if lapsed else "lease until", f"{when(now + row.left)}, in {span(row.left)}"),
        ]
    )


def say_legs(rows: Iterable[LegRow]) -> Iterator[LegRow]:
    """Print and yield each leg, with an empty line between two."""
    for place, row in enumerate(rows):
        if place:
            say("")
        print_leg(row)
        yield row


def span(length: float) -> str:
    """Return a time span for people: ``9 s``, ``2:05 min``, ``3:10 h``."""
    whole = max(0, int(length))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole // 60 % 60:02} h"


def _cells(row: LegRow, today: str) -> tuple[str, ...]:
    started = _second(int(row.started))
    return (
        printable(row.call_id),
        printable(row.leg_id),
        row.direction,
        _named(row.account_id, row.account_name),
        _named(row.client_id, row.client_name),
        row.src_number or "",
        row.dst_number or "",
        _switch(row),
        row.state,
        started[11:19] if started.startswith(today) else started[:16],
        span(row.age),
        span(row.left),
    )


_second = lru_cache(4096)(when)
"""A time as the log shows it. Many legs begin in one second."""


def _named(number: int, name: str | None) -> str:
    return f"{number} {name or _UNNAMED}"


def _switch(row: LegRow) -> str:
    return row.switch if row.scope == row.switch else f"{row.switch} ({row.scope})"
