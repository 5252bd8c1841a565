"""Ancillary data (control messages) of a datagram: its time of arrival and its destination address.

The destination matters for a socket that is bound to every address (a wildcard). The answer must leave from that
address, since a peer accepts answers only from the address that it asked.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple, TypeAlias

Control: TypeAlias = list[tuple[int, int, bytes]]
"""Control messages in the form of Python's sockets: level, kind and data."""

_SO_TIMESTAMPNS = 35  # Linux; the variant with 64-bit times on 64-bit machines
_STAMP = struct.Struct("@qq")
"""Seconds and nanoseconds of the wall clock."""
STAMP_SPACE = socket.CMSG_SPACE(_STAMP.size)
"""Bytes of a time stamp with its header."""
_IP_PKTINFO = 8  # Linux
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared only, not bound


class PacketInfo(NamedTuple):
    """The layout of the destination of a datagram: ``struct in_pktinfo`` or ``in6_pktinfo``."""

    level: int
    option: int
    kind: int
    size: int
    interface: int
    """Offset of the interface. An answer must not be bound to it, since its route may use another one."""
    link_local: bool
    """True if the family has addresses that need their interface."""


_PACKET_INFO = {
    socket.AF_INET: PacketInfo(socket.IPPROTO_IP, _IP_PKTINFO, _IP_PKTINFO, 12, 0, link_local=False),
    socket.AF_INET6: PacketInfo(
        socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, socket.IPV6_PKTINFO, 20, 16, link_local=True
    ),
}
LINK_LOCAL = b"\xfe\x80"
"""First bytes of a link-local address. ``in6_pktinfo`` begins with the address."""
MULTICAST = 0xFF
"""First byte of an IPv6 multicast address, which cannot be a source. IPv4 reports a unicast address."""


def enable_control(bound: socket.socket) -> PacketInfo | None:
    """Set the options of the socket. Return the layout of destinations, or None if the socket has one address."""
    bound.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    if bound.getsockname()[0] not in _WILDCARDS:
        return None
    came = _PACKET_INFO[bound.family]
    bound.setsockopt(came.level, came.option, 1)
    return came


def arrival(control: Control, otherwise: float) -> float:
    """Return the time of arrival of a datagram, or ``otherwise`` if it has no time stamp."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _STAMP.unpack_from(data)
            return float(seconds + nanoseconds / 1e9)
    return otherwise


def reply_control(came: PacketInfo, control: Control) -> Control:
    """Return the control messages that send an answer from the destination of a datagram."""
    for level, kind, data in control:
        if (level, kind) == (came.level, came.kind):
            if came.link_local and data[0] == MULTICAST:
                return []
            if came.link_local and data.startswith(LINK_LOCAL):
                return [(level, kind, data)]
            return [(level, kind, data[: came.interface] + bytes(4) + data[came.interface + 4 :])]
    return []
