"""A UDP socket with one system call to receive up to 64 datagrams, and one to send their answers.

``recvmmsg`` and ``sendmmsg`` are called through ctypes, with buffers that are allocated once and reused. cffi
would save 0.3 µs for each call, which is negligible for a datagram. Each datagram costs one slice, and each
answer is joined to the others. All other work is done once for each batch, by strided views of the headers. Source
addresses stay as the kernel wrote them: the header of an answer points to the name of the sender.

If the system does not have these calls, or forbids them, :func:`batched` chooses a socket with one call for each
datagram. It does so once, when the socket is opened.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import socket
import struct
import sys
import time
from array import array
from collections.abc import Hashable, Sequence
from functools import partial
from itertools import accumulate

from identengine.net.udp.cmsg import LINK_LOCAL, MULTICAST, STAMP_SPACE, PacketInfo, enable_control
from identengine.net.udp.headers import (
    CONTROL_SIZE_WORD,
    CONTROL_WORD,
    HEADER,
    HEADER_SIZE,
    LENGTH_WORD,
    NAME_WORD,
    VECTOR_SIZE,
    address,
)
from identengine.net.udp.recvmsg import RecvmsgSocket
from identengine.net.udp.segments import Runs
from identengine.net.udp.socket import BATCH, LARGEST, PASSING, TRIES, Batched, ReplyRoute


def batched(bound: socket.socket, size: int) -> Batched:
    """Return a batched socket over ``bound``, a bound and non-blocking UDP socket, and set the options of that.

    Datagrams are cut after ``size`` bytes. The caller still owns ``bound``, and closes it. After that, no datagram
    is received or sent.
    """
    return MmsgSocket(bound, size) if _may_call(bound) else RecvmsgSocket(bound, size)


class _Calls:
    """The two calls of the C library. They never block, so they need not release the GIL."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(None, use_errno=True)
        which = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self.receive = library.recvmmsg
        self.receive.argtypes = (*which, ctypes.c_void_p)
        self.send = library.sendmmsg
        self.send.argtypes = which


def _may_call(bound: socket.socket) -> bool:
    """Return True if the system has the calls with the known layout, and permits them.

    No datagram is received or sent.
    """
    if sys.platform != "linux" or HEADER.size != HEADER_SIZE:
        return False
    try:
        calls = _Calls()
    except AttributeError:  # the library has no such calls
        return False
    received: int = calls.receive(bound.fileno(), None, 0, socket.MSG_DONTWAIT, None)
    sent: int = calls.send(bound.fileno(), None, 0, socket.MSG_DONTWAIT)
    return received == sent == 0


_NAME_SPACE = 32
"""Size of the buffer of a name, in bytes."""
_NAME_SIZES = {socket.AF_INET: 16, socket.AF_INET6: 28}
"""Sizes of ``struct sockaddr_in`` and ``sockaddr_in6``. All names of a socket have the family of the socket."""
_V6_KEYS = [struct.Struct("8x20s4x" * count) for count in range(BATCH + 1)]
"""By a number of names: the address and scope in each."""
_NAMES = [struct.Struct("28s4x" * count) for count in range(BATCH + 1)]
"""By a number of names: each of them."""
_BUFFERS = [struct.Struct(f"@{2 * count}N") for count in range(BATCH + 1)]
"""By a number of buffers: the address and length of each."""
_SPARE = BATCH
"""The place after those of a batch, for the receiver of a late answer."""
_FEW = 4
"""Number of answers below which each is sent alone."""
_ANSWER = 1500
"""Initial room for an answer, in bytes."""


class MmsgSocket:
    """A batched socket that makes one call to receive a batch, and one to send the answers."""

    def __init__(self, bound: socket.socket, size: int) -> None:
        self._calls = _Calls()
        self._socket = bound
        self._count = 0
        # A slice of mapped memory is bytes, and pages need memory only after the first write. The default flags
        # would share the memory with child processes.
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._slots = [mmap.mmap(-1, LARGEST, flags=private) for _ in range(BATCH)]
        self._is_v6 = bound.family == socket.AF_INET6
        self._name_size = _NAME_SIZES[bound.family]
        self._names = bytearray(_NAME_SPACE * (BATCH + 1))
        self._v4_names = memoryview(self._names).cast("Q")[:: _NAME_SPACE // 8]
        """The family, port and address in each name."""
        self._ports = memoryview(self._names).cast("H")[1 :: _NAME_SPACE // 2]
        """The port in each name, after the family, in the order of bytes of the network."""
        self._v4_keys = memoryview(self._names).cast("I")[1 :: _NAME_SPACE // 4]
        self._set_control(enable_control(bound))
        self._set_headers()
        self.limit(size)
        self._make_room(BATCH * _ANSWER)
        self._runs = Runs(bound, self._calls.send, self._name_size, self._came_space)

    def _set_control(self, came: PacketInfo | None) -> None:
        """Allocate the control messages, and views of their fields."""
        self._came = came
        self._came_space = socket.CMSG_SPACE(came.size) if came else 0
        self._control_space = space = STAMP_SPACE + self._came_space
        self._control = bytearray(space * (BATCH + 1))
        words = memoryview(self._control).cast("q")
        at = socket.CMSG_LEN(0)
        self._seconds = words[at // 8 :: space // 8]
        self._nanoseconds = words[at // 8 + 1 :: space // 8]
        if came is not None:
            at += STAMP_SPACE
            self._interfaces = memoryview(self._control).cast("I")[(at + came.interface) // 4 :: space // 4]
            self._beginnings = memoryview(self._control).cast("H")[at // 2 :: space // 2]
            self._first_bytes = memoryview(self._control)[at::space]

    def _set_headers(self) -> None:
        """Allocate the headers for receiving and sending."""
        self._headers = bytearray(HEADER_SIZE * BATCH)
        self._headers_view = memoryview(self._headers)
        self._headers_at = address(self._headers)
        self._lengths = self._headers_view.cast("I")[LENGTH_WORD :: HEADER_SIZE // 4]
        self._control_sizes = self._headers_view.cast("Q")[CONTROL_SIZE_WORD :: HEADER_SIZE // 8]
        names, control, space = address(self._names), address(self._control), self._control_space
        self._names_at = array("Q", [names + _NAME_SPACE * place for place in range(BATCH + 1)])
        self._control_at = array("Q", [control + space * place for place in range(BATCH + 1)])
        self._came_at = array("Q", [at + STAMP_SPACE if self._came else 0 for at in self._control_at])
        self._buffers = bytearray(VECTOR_SIZE * BATCH)
        buffers = address(self._buffers)
        self._answers = bytearray(
            b"".join(
                HEADER.pack(name, self._name_size, buffers + VECTOR_SIZE * place, 1, came, self._came_space, 0, 0)
                for place, (name, came) in enumerate(zip(self._names_at[:BATCH], self._came_at, strict=False))
            )
        )
        self._answers_at = address(self._answers)
        words = memoryview(self._answers).cast("Q")
        self._answer_names = words[NAME_WORD :: HEADER_SIZE // 8]
        self._answer_came = words[CONTROL_WORD :: HEADER_SIZE // 8]

    def _make_room(self, size: int) -> None:
        """Allocate a buffer for joined answers of ``size`` bytes."""
        self._out = memoryview(bytearray(size))
        self._out_at = address(self._out)

    def limit(self, size: int) -> None:
        """Cut each further datagram after ``size`` bytes."""
        cut = min(size, LARGEST)
        self._taken = bytearray(b"".join(struct.pack("@PN", address(slot), cut) for slot in self._slots))
        taken, space = address(self._taken), self._control_space
        self._wanted = b"".join(  # one header for each place, in its state before a call
            HEADER.pack(name, _NAME_SPACE, taken + VECTOR_SIZE * place, 1, control, space, 0, 0)
            for place, (name, control) in enumerate(zip(self._names_at[:BATCH], self._control_at, strict=False))
        )
        self._headers_view[:] = self._wanted

    def receive(self) -> list[bytes]:
        """Return up to 64 waiting datagrams."""
        used = HEADER_SIZE * self._count  # the kernel has overwritten sizes of names and control in these
        self._headers_view[:used] = self._wanted[:used]
        fileno = self._socket.fileno()  # -1 after a close, when another file may have the old number
        count = self._calls.receive(fileno, self._headers_at, BATCH, socket.MSG_DONTWAIT, None)
        if count < 0:
            count = self._receive_again(fileno)
        self._count = count
        if self._came is not None:
            self._forget_interfaces(self._came)
        lengths = self._lengths[:count].tolist()
        return [slot[:length] for slot, length in zip(self._slots, lengths, strict=False)]

    def _receive_again(self, fileno: int) -> int:
        for _ in range(TRIES):
            if ctypes.get_errno() == errno.EAGAIN:
                break
            count: int = self._calls.receive(fileno, self._headers_at, BATCH, socket.MSG_DONTWAIT, None)
            if count >= 0:
                return count
        return 0

    def _forget_interfaces(self, came: PacketInfo) -> None:
        """Let the system choose the interface of each answer, except for addresses that need theirs."""
        count = self._count
        link_local = int.from_bytes(LINK_LOCAL, sys.byteorder)
        if came.link_local and link_local in (beginnings := self._beginnings[:count].tolist()):
            for place, beginning in enumerate(beginnings):
                if beginning != link_local:
                    self._interfaces[place] = 0
        else:
            self._interfaces[:count] = array("I", bytes(4 * count))
        sizes = self._control_sizes[:count].tolist()
        firsts = self._first_bytes[:count].tolist() if came.link_local else [0] * count
        if sizes.count(self._control_space) != count or MULTICAST in firsts:
            self._clear_unusable(came, sizes, firsts)

    def _clear_unusable(self, came: PacketInfo, sizes: list[int], firsts: list[int]) -> None:
        """Let the system choose the source of answers to datagrams without a destination, or to a multicast."""
        header = struct.pack("@Nii", socket.CMSG_LEN(came.size), came.level, came.kind)
        for place, (size, first) in enumerate(zip(sizes, firsts, strict=True)):
            if size != self._control_space or first == MULTICAST:
                at = place * self._control_space + STAMP_SPACE
                self._control[at : at + self._came_space] = header.ljust(self._came_space, b"\0")

    def keys(self) -> Sequence[Hashable]:
        """Return a key for the sender of each datagram."""
        if self._is_v6:
            return _V6_KEYS[self._count].unpack_from(self._names)
        return self._v4_keys[: self._count].tolist()

    def host(self, place: int) -> str:
        """Return the address of a sender as text."""
        name = self._names[place * _NAME_SPACE :][:_NAME_SPACE]
        if not self._is_v6:
            return socket.inet_ntop(socket.AF_INET, name[4:8])
        return socket.inet_ntop(socket.AF_INET6, name[8:24])

    def ports(self) -> list[int]:
        """Return the source port of each datagram."""
        return list(map(socket.ntohs, self._ports[: self._count].tolist()))

    def too_old(self, oldest: float) -> list[bool] | None:
        """Return True for each datagram that waited for more than ``oldest`` seconds, or None if none did."""
        since = time.time() - oldest
        if self._seconds[0] + self._nanoseconds[0] / 1e9 >= since or self._control_sizes[0] < STAMP_SPACE:
            return None
        seconds, nanoseconds = self._seconds[: self._count].tolist(), self._nanoseconds[: self._count].tolist()
        return [one + part / 1e9 < since for one, part in zip(seconds, nanoseconds, strict=True)]

    def send(self, answers: Sequence[bytes], places: Sequence[int] | None = None) -> int:
        """Send each answer to the sender at its place. Return the number of unsent answers.

        The answers to one datagram, which has several if it held an array, keep their order.
        """
        has_arrays = places is not None and len({*places}) < len(places)
        if len(answers) < _FEW or has_arrays or self._runs.refused:
            return self._send(answers) if places is None else self._send_to(answers, places)
        aims = range(len(answers)) if places is None else places
        unsent = 0
        for start in range(0, len(answers), BATCH):
            unsent += self._send_runs(answers[start : start + BATCH], aims[start : start + BATCH])
        return unsent

    def _send_runs(self, answers: Sequence[bytes], places: Sequence[int]) -> int:
        """Send answers in runs, and those that are left one by one."""
        keys, names_at = self._receivers(), self._names_at
        left = self._runs.send(
            answers,
            [keys[place] for place in places],
            [names_at[place] for place in places],
            lambda index: self._came_of(places[index]),
        )
        if not left:
            return 0
        return self._send_to([answers[index] for index in left], [places[index] for index in left])

    def _receivers(self) -> Sequence[Hashable]:
        """Return a key for the receiver of an answer to each datagram: its name, and the source of the answer."""
        count = self._count
        if self._came is None and not self._is_v6:
            return self._v4_names[:count].tolist()
        names = _NAMES[count].unpack_from(self._names)
        return names if self._came is None else [*zip(names, map(self._came_of, range(count)), strict=True)]

    def _came_of(self, place: int) -> bytes:
        """Return the control messages of an answer to a datagram."""
        begin = place * self._control_space + STAMP_SPACE
        return bytes(self._control[begin : begin + self._came_space])

    def _send_to(self, answers: Sequence[bytes], places: Sequence[int]) -> int:
        """Send each answer alone."""
        unsent = 0
        for start in range(0, len(answers), BATCH):
            self._aim(places[start : start + BATCH])
            unsent += self._send(answers[start : start + BATCH])
        self._answer_names[:] = self._names_at[:BATCH]
        self._answer_came[:] = self._came_at[:BATCH]
        return unsent

    def _aim(self, places: Sequence[int]) -> None:
        """Point the headers of the answers, in order, to the senders at these places."""
        count = len(places)
        self._answer_names[:count] = array("Q", [self._names_at[place] for place in places])
        self._answer_came[:count] = array("Q", [self._came_at[place] for place in places])

    def _send(self, answers: Sequence[bytes]) -> int:
        count = len(answers)
        joined = b"".join(answers)
        if len(joined) > len(self._out):
            self._make_room(len(joined))
        self._out[: len(joined)] = joined
        buffers = [0] * (2 * count)  # address, length, address, length...
        buffers[1::2] = lengths = list(map(len, answers))
        buffers[::2] = list(accumulate(lengths, initial=self._out_at))[:count]
        _BUFFERS[count].pack_into(self._buffers, 0, *buffers)
        sent = self._calls.send(self._socket.fileno(), self._answers_at, count, socket.MSG_DONTWAIT)
        return 0 if sent == count else self._send_rest(max(sent, 0), count)

    def _send_rest(self, sent: int, count: int) -> int:
        """Send the answers after the first ``sent``. The system stops at an answer that it does not accept."""
        tries, unsent = TRIES, 0
        while sent < count:
            at = self._answers_at + HEADER_SIZE * sent
            more = self._calls.send(self._socket.fileno(), at, count - sent, socket.MSG_DONTWAIT)
            if more > 0:
                sent += more
            elif tries and ctypes.get_errno() in PASSING:
                tries -= 1
            else:
                sent += 1
                unsent += 1
        return unsent

    def reply_route(self) -> ReplyRoute:
        """Return a route to the senders of this batch for later answers."""
        count = self._count
        names = bytes(self._names[: count * _NAME_SPACE])
        control = bytes(self._control[: count * self._control_space]) if self._came else b""
        return partial(self._send_late, names, control)

    def _send_late(self, names: bytes, control: bytes, place: int, answers: Sequence[bytes]) -> int:
        for kept, now, space in ((names, self._names, _NAME_SPACE), (control, self._control, self._control_space)):
            if kept:
                now[_SPARE * space :] = kept[place * space :][:space]
        return self._send_to(answers, [_SPARE] * len(answers))
