"""The memory of ``sendmmsg`` and ``recvmmsg``: headers of 64-bit Linux, the same for glibc and musl."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable
from typing import TypeAlias

HEADER = struct.Struct("@PIPNPNi0PI0P")
"""``struct mmsghdr``: a ``struct msghdr``, and the length of the datagram."""
HEADER_SIZE = 64
NAME_WORD, CONTROL_WORD, CONTROL_SIZE_WORD = 0, 4, 5
"""Indices of 8-byte words in a header: the name, the control messages and their size."""
LENGTH_WORD = 14
"""Index of the 4-byte word with the length."""
VECTOR_SIZE = 16
"""Size of ``struct iovec``: the address and length of a buffer."""

SendMmsg: TypeAlias = Callable[[int, int | None, int, int], int]
"""The call ``sendmmsg``: descriptor, address of the headers, their number, and flags."""


def address(buffer: bytearray | memoryview | mmap.mmap) -> int:
    """Return the address of a buffer. The caller must keep the buffer, and its size, while it uses the address."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
