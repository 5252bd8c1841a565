"""Mirrors of earlier formats of the set of calls, written as their programs wrote them (engine.md 8.1).

Rule: the content of each format is frozen. This module uses no code of the program, so that a change of the
program cannot change it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import msgspec

RESERVED, ACTIVE = 1, 2
_encode = msgspec.msgpack.encode


class OldLeg(NamedTuple):
    """A leg, as far as tests choose it."""

    call: str
    state: int
    account: int
    client: int
    since: float
    due: float
    answer: dict[str, Any] | None = None


def now() -> float:
    """Return the time of the set's clock in a mirror of this boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write(folder: Path, mirror_format: int, legs: Sequence[OldLeg], stopped: Sequence[str] = ()) -> Path:
    """Write ``calls.mdb`` in a format from 1 to 4. Return its path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "calls.mdb"
    with lmdb.open(
        str(path),
        map_size=16 << 20,
        subdir=False,
        lock=False,
        writemap=True,
        sync=False,
        metasync=False,
        max_dbs=7,
    ) as env:
        by_number = ("small", "large") if mirror_format < 4 else ("rows", "dead")
        names = (*by_number, "stops", "notes", "meta")
        dbs = {name: env.open_db(name.encode(), integerkey=name in by_number) for name in names}
        with env.begin(write=True) as txn:
            if mirror_format < 4:
                _put_legs(txn, dbs, mirror_format, legs)
            else:
                _put_rows(txn, dbs, legs)
            until = now() + 60
            row = [until, [[call, None, None] for call in stopped]]
            txn.put(struct.pack(">Q", 1), _encode(row), db=dbs["stops"])
            txn.put(b"lists:sbc1", _encode(["list 1"]), db=dbs["notes"])
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            beat = [mirror_format, boot, now(), time.time()]
            txn.put(b"beat", _encode([*beat, 0.0] if mirror_format > 2 else beat), db=dbs["meta"])
    return path


def _put_legs(txn: Any, dbs: dict[str, Any], mirror_format: int, legs: Sequence[OldLeg]) -> None:
    """Write legs as the formats 1 to 3 have them: each leg is a value, and a freed position is nil."""
    counts = {"small": 0, "large": 0}
    for leg in legs:
        space = "large" if leg.state == RESERVED else "small"
        position = counts[space]
        counts[space] += 1
        slot = ~position if space == "large" else position
        txn.put(struct.pack("=I", position), _leg(mirror_format, slot, leg), db=dbs[space])
    for free in ("small", "large"):
        txn.put(struct.pack("=I", counts[free]), _encode(None), db=dbs[free])


def _put_rows(txn: Any, dbs: dict[str, Any], legs: Sequence[OldLeg]) -> None:
    """Write legs as format 4 has them: rows of one state.

    The first place of each row is nil, and the last one holds a leg that left the row.
    """
    serial = 0
    for state in sorted({leg.state for leg in legs}):
        some = [leg for leg in legs if leg.state == state]
        for first in range(0, len(some), 20):
            serial += 3
            row: list[object] = [None]
            gone = some[0]._replace(call="s\0gone")
            for place, leg in enumerate([*some[first : first + 20], gone], 1):
                account, client = [leg.account << 1, 1], [leg.client << 1, 1]
                content = b"content" if leg.state == RESERVED else None
                answer = None if leg.answer is None else _encode(leg.answer)
                row.append([serial, place, leg.call, "o", "sbc1", leg.state, [account, client], leg.since, leg.due,
                            7200.0, None, content, answer])  # fmt: skip
            txn.put(struct.pack("=Q", serial), _encode(row), db=dbs["rows"])
            txn.put(struct.pack("=Q", serial), (1 << len(row) - 1).to_bytes(8, "little"), db=dbs["dead"])


def _leg(mirror_format: int, slot: int, leg: OldLeg) -> bytes:
    """Return a leg as a program of a format wrote it: an array of its fields."""
    account, clients = leg.account << 1, [leg.client << 1, -leg.client]
    content = b"content" if leg.state == RESERVED else None
    head = [slot, leg.call, "o", "sbc1", leg.state]
    tail = [leg.since, leg.due, 7200.0, None, content]
    if mirror_format == 1:
        return _encode([*head, [account, clients], *tail, leg.answer])
    answer = None if leg.answer is None else _encode(leg.answer)
    return _encode([*head, [[account, 1], *([client, 1] for client in clients)], *tail, answer])
