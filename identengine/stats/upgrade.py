"""Reads the counters of a file of an earlier format, so that counters survive an upgrade of the program.

The layout of an earlier format is frozen here: names in the order of their cells. Rule: every number that the
current registry still has keeps its value, under its current name.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import msgspec

from identengine.stats.heavyhitters import Counts

_HEADER = struct.Struct("=16sI12s")
_FORMAT_2 = _HEADER.pack(b"identengine/cnt\n", 2, bytes.fromhex("fed53806650458df7b843caa"))
_AREA = struct.Struct("=QII")
_AREA_BYTES = 160 * 1024
_FIRST_CELL = 64
_FIRST_AREA = 16384
_LAYOUT_2: tuple[tuple[int, str], ...] = (
    (
        6,
        "requests_authorize requests_identify requests_explain requests_start requests_update requests_stop "
        "requests_sync requests_switch_up requests_switch_down",
    ),
    (12, "accepted"),
    (
        18,
        "rejected_invalid_request rejected_unknown_source rejected_gateway_mismatch "
        "rejected_protocol_mismatch rejected_port_mismatch rejected_tech_prefix_mismatch rejected_ambiguous "
        "rejected_auth_required rejected_bad_password rejected_account_disabled rejected_client_blocked "
        "rejected_src_not_allowed rejected_no_did rejected_invalid_destination rejected_account_capacity "
        "rejected_client_capacity rejected_reseller_capacity rejected_global_capacity rejected_cps_exceeded "
        "rejected_not_ready rejected_overload rejected_internal_error",
    ),
    (
        1,
        "retransmissions unreserved wrong_parameters overcommits unknown_starts unknown_updates "
        "unknown_stops missing_calls freed_by_stop freed_by_sync freed_by_switch freed_by_operator "
        "lapsed_reserved lapsed_active datagrams_dropped_unknown_peer datagrams_dropped_too_old "
        "connections_refused_unknown_peer connections_refused_too_many "
        "connections_refused_too_many_of_switch connections_refused_tls_handshake wrong_tokens "
        "messages_shed_udp messages_shed_tcp messages_shed_tls messages_shed_http messages_shed_resp "
        "messages_shed_radius answers_unsent faults log_lines_dropped deciders_started restarts_decider "
        "restarts_standby restarts_front book_loads cpu_microseconds began started noted pid resident_bytes "
        "connections_tcp connections_tls connections_http connections_resp book_version book_made "
        "book_taken_up book_load_microseconds book_pause_microseconds held reserved active remembered "
        "max_legs mirror_used_bytes mirror_bytes",
    ),
    (18, "decide_seconds"),
    (13, "batch_requests"),
)
"""Cells of each name, and names, in the order of the file."""
_RENAMED = {"restarts_front": "restarts_http"}
"""Names of the earlier format to the names that the registry has for them now."""


class EarlierCounters(NamedTuple):
    """The content of a file of an earlier format."""

    cells: dict[str, tuple[int, ...]]
    """Cells by the current name of the number or histogram."""
    addresses: Counts
    """Rejected authorizations by source address."""


def earlier(raw: bytes) -> EarlierCounters | None:
    """Return the counters of a file of format 2, or None if ``raw`` is not a complete file of that format."""
    if not raw.startswith(_FORMAT_2) or len(raw) != _FIRST_AREA + 2 * _AREA_BYTES:
        return None
    found: dict[str, tuple[int, ...]] = {}
    at = _FIRST_CELL
    for cells, names in _LAYOUT_2:
        for name in names.split():
            found[_RENAMED.get(name, name)] = struct.unpack_from(f"={cells}Q", raw, at)
            at += 8 * cells
    return EarlierCounters(found, _addresses(raw))


def _addresses(raw: bytes) -> Counts:
    """Return the newer of the two copies of the addresses that are complete; empty if none is."""
    copies: dict[int, bytes] = {}
    for begin in (_FIRST_AREA, _FIRST_AREA + _AREA_BYTES):
        number, length, checksum = _AREA.unpack_from(raw, begin)
        body = raw[begin + _AREA.size : begin + _AREA.size + length]
        if number and length <= _AREA_BYTES - _AREA.size and zlib.crc32(body, number & 0xFFFFFFFF) == checksum:
            copies[number] = body
    for _, body in sorted(copies.items(), reverse=True):
        try:
            return msgspec.msgpack.decode(body, type=Counts)
        except msgspec.MsgspecError:
            continue
    return Counts()
