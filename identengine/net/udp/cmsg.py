"""Ancillary data of a datagram (control messages): when it arrived, and at a wildcard the address it came to.

A socket that is bound to every address (a wildcard) is told the destination of each datagram. The answer leaves
from there: a peer accepts answers only from the address that it asked.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple, TypeAlias

Control: TypeAlias = list[tuple[int, int, bytes]]
"""Control messages as Python's sockets give them: level, kind and data."""

_SO_TIMESTAMPNS = 35  # Linux, with the time as it was before the year 2038 mattered: that of 64-bit machines
_STAMP = struct.Struct("@qq")
"""Seconds and nanoseconds of the wall clock."""
STAMP_SPACE = socket.CMSG_SPACE(_STAMP.size)
"""Bytes of a time stamp with its header."""
_IP_PKTINFO = 8  # Linux
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound here


class PacketInfo(NamedTuple):
    """How the kernel says which address a datagram came to: as ``struct in_pktinfo`` or ``in6_pktinfo``."""

    level: int
    option: int
    kind: int
    size: int
    interface: int
    """Where in it the interface stands. An answer must not be bound to it: its way may be another one."""
    link_local: bool
    """Whether there are addresses that mean nothing without their interface."""


_PACKET_INFO = {
    socket.AF_INET: PacketInfo(socket.IPPROTO_IP, _IP_PKTINFO, _IP_PKTINFO, 12, 0, link_local=False),
    socket.AF_INET6: PacketInfo(
        socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, socket.IPV6_PKTINFO, 20, 16, link_local=True
    ),
}
LINK_LOCAL = b"\xfe\x80"
"""How the address, which is the beginning of ``in6_pktinfo``, then begins."""
MULTICAST = 0xFF
"""First byte of IPv6 addresses of many, from which nothing can be sent; with IPv4 the system names another."""


def enable_control(bound: socket.socket) -> PacketInfo | None:
    """Set the socket's options; returns how it says where datagrams came to, None where that is known."""
    bound.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    if bound.getsockname()[0] not in _WILDCARDS:
        return None
    came = _PACKET_INFO[bound.family]
    bound.setsockopt(came.level, came.option, 1)
    return came


def arrival(control: Control, otherwise: float) -> float:
    """Return when a datagram came."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _STAMP.unpack_from(data)
            return float(seconds + nanoseconds / 1e9)
    return otherwise


def reply_control(came: PacketInfo, control: Control) -> Control:
    """Return what sends an answer from the address that a datagram came to."""
    for level, kind, data in control:
        if (level, kind) == (came.level, came.kind):
            if came.link_local and data[0] == MULTICAST:
                return []
            if came.link_local and data.startswith(LINK_LOCAL):
                return [(level, kind, data)]
            return [(level, kind, data[: came.interface] + bytes(4) + data[came.interface + 4 :])]
    return []
