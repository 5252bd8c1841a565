"""Ports that the server of a test can bind later."""

from __future__ import annotations

import random
import socket

from support import HOST

_RANGE = range(15_000, 32_000)
"""Range below the ephemeral ports of Linux, so that no other test gets one of these by chance."""


def free_port(address: str = HOST) -> int:
    """Return a port of an address that neither UDP nor TCP uses."""
    while True:
        port = random.SystemRandom().choice(_RANGE)  # tests run in parallel, and may seed the common generator
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind((address, port))
                tcp.bind((address, port))
            except OSError:
                continue
            return port
