"""Runs of answers: all answers of one size to one receiver are one datagram for the system, which cuts it apart.

To send is the dearest step of an answer, and a run costs little more than a single answer (UDP_SEGMENT in udp(7),
since Linux 4.18). A switch that asks much over one socket gets many answers of one size: each ``stop`` has one.
Rule: the receiver sees no difference, except that answers to different datagrams may change their order. A program
that captures packets on this machine sees a run as one long datagram.

The system refuses a run if a network card makes no checksums, or if an answer exceeds a packet on its path. Then
the answers leave one by one, and so do all later ones of the socket.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from array import array
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate
from operator import mul

from identengine.net.udp.headers import (
    CONTROL_SIZE_WORD,
    HEADER,
    HEADER_SIZE,
    NAME_WORD,
    VECTOR_SIZE,
    SendMmsg,
    address,
)
from identengine.net.udp.socket import BATCH

_UDP_SEGMENT = 103  # Linux
_SEGMENT = struct.Struct("@NiiH")
"""The control message that has the size of the answers."""
_SEGMENT_SPACE = socket.CMSG_SPACE(2)
_REFUSALS = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP})
"""Errors of a run that single answers do not have."""
_RUN_BYTES = 60_000
"""Largest run, in bytes. A datagram has at most 65,507."""
_VECTORS = [struct.Struct(f"@{2 * count}N") for count in range(BATCH + 1)]
"""By a number of buffers: the address and length of each."""


class Runs:
    """Sends answers in runs."""

    def __init__(self, bound: socket.socket, send: SendMmsg, name_size: int, control_space: int) -> None:
        """``control_space`` is the size of the other control messages of each answer, in bytes."""
        self._socket, self._call = bound, send
        self._other = control_space
        self._space = space = control_space + _SEGMENT_SPACE
        segment = _SEGMENT.pack(socket.CMSG_LEN(2), socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
        self._control = bytearray((bytes(control_space) + segment).ljust(space, b"\0") * BATCH)
        self._sizes = memoryview(self._control).cast("H")[(control_space + socket.CMSG_LEN(0)) // 2 :: space // 2]
        self._vectors = bytearray(VECTOR_SIZE * BATCH)
        control, vectors = address(self._control), address(self._vectors)
        self._headers = bytearray(
            b"".join(
                HEADER.pack(0, name_size, vectors + VECTOR_SIZE * place, 1, control + space * place, space, 0, 0)
                for place in range(BATCH)
            )
        )
        self._headers_at = address(self._headers)
        words = memoryview(self._headers).cast("Q")
        self._names = words[NAME_WORD :: HEADER_SIZE // 8]
        self._control_sizes = words[CONTROL_SIZE_WORD :: HEADER_SIZE // 8]
        self._refused = not _may_segment(bound)

    @property
    def refused(self) -> bool:
        """True if the system sends no runs from this socket."""
        return self._refused

    def send(
        self,
        answers: Sequence[bytes],
        keys: Sequence[Hashable],
        names_at: Sequence[int],
        control: Callable[[int], bytes],
    ) -> Sequence[int]:
        """Send at most 64 answers in runs. Return the indices of the answers that have to be sent one by one.

        ``keys`` tell the receivers apart. ``names_at`` are the addresses of their names. ``control`` returns the
        other control messages of an answer.
        """
        sizes = [*map(len, answers)]
        runs = runs_of(sizes, keys)
        count = len(runs)
        if 4 * count > 3 * len(answers):  # runs cost some time too
            return range(len(answers))
        joined = bytearray(b"".join([answers[place] for run in runs for place in run]))
        firsts = [run[0] for run in runs]
        segments = [sizes[first] for first in firsts]
        lengths = [*map(mul, segments, map(len, runs))]
        vectors = [0] * (2 * count)  # address, length, address, length...
        vectors[::2] = [*accumulate(lengths, initial=address(joined))][:count]
        vectors[1::2] = lengths
        _VECTORS[count].pack_into(self._vectors, 0, *vectors)
        self._names[:count] = array("Q", [names_at[first] for first in firsts])
        self._sizes[:count] = array("H", segments)
        self._control_sizes[:count] = array("Q", [self._space if len(run) > 1 else self._other for run in runs])
        if self._other:
            for index, first in enumerate(firsts):
                begin = index * self._space
                self._control[begin : begin + self._other] = control(first)
        sent = self._send(count)
        if sent < count and len(runs[sent]) > 1:
            self._refused |= ctypes.get_errno() in _REFUSALS
        return [place for run in runs[sent:] for place in run]

    def _send(self, count: int) -> int:
        """Send the first runs. Return how many were sent before the system refused one."""
        sent = 0
        while sent < count:
            at = self._headers_at + HEADER_SIZE * sent
            more = self._call(self._socket.fileno(), at, count - sent, socket.MSG_DONTWAIT)
            if more <= 0:
                break
            sent += more
        return sent


def runs_of(sizes: Sequence[int], keys: Sequence[Hashable]) -> list[list[int]]:
    """Return the indices of answers in runs: those of one size to one receiver, in the order of the first ones."""
    runs: dict[tuple[Hashable, int], list[int]] = {}
    for place, key in enumerate(zip(keys, sizes, strict=True)):
        if key in runs:
            runs[key].append(place)
        else:
            runs[key] = [place]
    if sum(sizes) <= _RUN_BYTES and all(sizes):
        return [*runs.values()]
    return [
        run[start : start + most]
        for (_, size), run in runs.items()
        for most in (max(1, _RUN_BYTES // size) if size else 1,)
        for start in range(0, len(run), most)
    ]


def _may_segment(bound: socket.socket) -> bool:
    """Return True if the system knows the option."""
    try:
        bound.getsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT)
    except OSError as error:
        if error.errno not in (errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return False
    return True
