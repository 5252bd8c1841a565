"""Facts about a connection that its transport and the kernel know."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import sys
import termios

_TCP_INFO_SIZE = 56
"""Size of the part of ``struct tcp_info`` that is read, in bytes."""
_LAST_DATA = slice(52, 56)
"""Place in ``struct tcp_info`` of the time since the newest data arrived, in milliseconds."""


def host_of(transport: asyncio.Transport) -> str:
    """Return the address of the peer, or ``""`` if it has left already."""
    name = transport.get_extra_info("peername")
    return name[0] if name else ""


def waiting_bytes(transport: asyncio.Transport) -> int:
    """Return the number of bytes that wait to be read, in the kernel or in the TLS transport."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    except OSError:  # the connection is closed
        return 0
    undelivered: int = transport.get_extra_info("undelivered", 0)
    return count[0] + undelivered


def age_of_newest(transport: asyncio.Transport) -> float:
    """Return the time since the newest bytes of a connection arrived, in seconds, or 0 if it is unknown."""
    try:
        told = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:  # not TCP, or closed
        return 0.0
    return int.from_bytes(told[_LAST_DATA], sys.byteorder) / 1000
