"""Records of decisions for the tests of their readers: entries as the server writes them, without a server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from identengine.model.records import Decision, Request
from identengine.record import segments
from identengine.record.entry import CredentialUse, LimitUse, encode


def entry(
    at: float,
    asked: Request,
    decision: Decision,
    *,
    switch: str = "sbc1",
    credential: CredentialUse | None = None,
    limits: Iterable[LimitUse] = (),
    masked: bool = False,
) -> bytes:
    """Return a decision as an entry of a segment."""
    fields: dict[str, Any] = msgspec.structs.asdict(asked)
    names = ("call_id", "leg_id", "direction", "account_id", "src_ip", "src_port", "protocol", "gateway", "name")
    body = encode(
        (
            *(switch, "jsonrpc", *(fields[name] for name in names), asked.src_number, asked.dst_number),
            *(credential, tuple(limits) or None, masked, decision),
        )
    )
    return segments.frame(at, body) + body


def write_segment(folder: Path, entries: Iterable[bytes], number: int = 1) -> None:
    """Write entries as a segment of the record in a folder."""
    folder.mkdir(mode=0o700, exist_ok=True)
    segments.segment_path(folder, number).write_bytes(segments.header() + b"".join(entries))
