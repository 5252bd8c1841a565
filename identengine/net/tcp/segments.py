"""Answers that no segment of TCP divides (interfaces.md 3, "Framing").

Kamailio's jsonrpcc reads each answer with one call, and reconnects if a part of it has not arrived. So each answer
is sent as a record of its own. The kernel appends nothing to it, and divides it only if it is larger than a
segment.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

_RECORD = socket.MSG_EOR | socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


def write_undivided(transport: asyncio.Transport, answers: Sequence[bytes]) -> None:
    """Write answers, each as a segment of its own while the peer reads them. Over TLS, they are one piece."""
    sent = 0
    if not (transport.get_write_buffer_size() or transport.is_closing() or transport.get_extra_info("ssl_object")):
        sent = _send(transport.get_extra_info("socket"), answers)
    rest = b"".join(answers)[sent:]
    if rest:
        transport.write(rest)


def _send(of_loop: socket.socket, answers: Sequence[bytes]) -> int:
    """Return the number of bytes that the kernel has accepted. The transport reports any error."""
    raw = socket.socket(of_loop.family, socket.SOCK_STREAM, of_loop.proto, of_loop.fileno())
    total = 0
    try:
        for answer in answers:
            sent = raw.send(answer, _RECORD)
            total += sent
            if sent < len(answer):
                break
    except OSError:  # the send buffer is full, or the connection is broken
        pass
    finally:
        raw.detach()
    return total
