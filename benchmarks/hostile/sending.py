"""The ways to send an attack: datagrams, connections, held connections and streams.

Rule: each has a rate, a limit, and a moment at which it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from ctypes import c_longlong
from multiprocessing.sharedctypes import Synchronized

from benchmarks.hostile.server import HOST

_NICE = 10
_FILES = 4096
_MOST_OPEN = 100
"""Connections that a storm holds before it closes the oldest one."""
_LINGER = 0.2


class Sent:
    """The messages and bytes that attackers have sent, shared between processes."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._messages: Synchronized[int] = context.Value(c_longlong, 0)
        self._bytes: Synchronized[int] = context.Value(c_longlong, 0)

    def add(self, messages: int, size: int) -> None:
        """Count messages and their bytes."""
        with self._messages:
            self._messages.value += messages
        with self._bytes:
            self._bytes.value += size

    @property
    def messages(self) -> int:
        """The number of messages, or of connections."""
        return self._messages.value

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self._bytes.value


@contextlib.contextmanager
def attacker(work: Callable[[], None]) -> Iterator[None]:
    """Run an attacker in a process of its own during the block, and end this process by its pid."""
    process = multiprocessing.get_context("fork").Process(target=_work, args=(work,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join(5)


def _work(work: Callable[[], None]) -> None:
    os.nice(_NICE)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))
    work()


def _paced(rate: float, until: float) -> Iterator[None]:
    """Yield at most ``rate`` times a second until a moment of the monotonic clock. A late turn is not made up."""
    due = time.monotonic()
    while (now := time.monotonic()) < until:
        if now < due:
            time.sleep(min(due - now, until - now))
            continue
        due = max(due + 1 / rate, now - 0.01)
        yield


def datagrams(
    port: int, sources: Sequence[str], messages: Sequence[bytes], rate: float, until: float, sent: Sent
) -> None:
    """Send datagrams from all sources in turn."""
    with contextlib.ExitStack() as stack:
        sockets = deque[socket.socket]()
        for source in sources:
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp.bind((source, 0))
            udp.connect((HOST, port))
            sockets.append(udp)
        count = size = 0
        for _ in _paced(rate, until):
            message = messages[count % len(messages)]
            with contextlib.suppress(OSError):  # the buffer of the sender is full
                sockets[count % len(sockets)].send(message)
            count += 1
            size += len(message)
        sent.add(count, size)


def connections(port: int, sources: Sequence[str], first: bytes, rate: float, until: float, sent: Sent) -> None:
    """Connect, send ``first``, and close the connection some connections later."""
    opened: deque[socket.socket] = deque()
    count = 0
    for _ in _paced(rate, until):
        tcp = _connected(port, sources[count % len(sources)])
        if tcp is None:
            continue
        with contextlib.suppress(OSError):
            tcp.send(first)
        opened.append(tcp)
        count += 1
        if len(opened) > _MOST_OPEN:
            opened.popleft().close()
    for tcp in opened:
        tcp.close()
    sent.add(count, count * len(first))


def held(port: int, sources: Sequence[str], count: int, first: bytes, until: float, sent: Sent) -> None:
    """Hold ``count`` connections. Replace each one that the server closes."""
    opened: list[socket.socket] = []
    made = 0
    for _ in _paced(10_000, until):
        if len(opened) < count:
            tcp = _connected(port, sources[made % len(sources)])
            if tcp is not None:
                with contextlib.suppress(OSError):
                    tcp.send(first)
                opened.append(tcp)
                made += 1
            continue
        opened = [tcp for tcp in opened if not _is_closed(tcp)]
        time.sleep(0.1)
    for tcp in opened:
        tcp.close()
    sent.add(made, made * len(first))


def trickle(
    port: int, source: str, count: int, first: bytes, block: bytes, rate: float, until: float, sent: Sent
) -> None:
    """Send ``first`` once and then ``block`` on connections in turn. Read and drop the answers.

    Connections that the server closes are replaced.
    """
    opened: list[socket.socket] = []
    times = 0
    for _ in _paced(rate, until):
        while len(opened) < count:
            tcp = _connected(port, source)
            if tcp is None:
                break
            with contextlib.suppress(OSError):
                tcp.send(first)
            opened.append(tcp)
        if not opened:
            continue
        tcp = opened[times % len(opened)]
        try:
            tcp.send(block)
            while tcp.recv(1 << 20):
                pass
            raise ConnectionResetError
        except BlockingIOError:  # no answer waits, or the server does not read
            pass
        except OSError:
            opened.remove(tcp)
            tcp.close()
        times += 1
    for tcp in opened:
        tcp.close()
    sent.add(times, times * len(block))


def _connected(port: int, source: str) -> socket.socket | None:
    """Return a connection that does not block, or None if the server has no room for it."""
    tcp = socket.socket()
    tcp.settimeout(_LINGER)
    try:
        tcp.bind((source, 0))
        tcp.connect((HOST, port))
    except OSError:
        tcp.close()
        return None
    tcp.setblocking(False)
    return tcp


def _is_closed(tcp: socket.socket) -> bool:
    """Return True if the server has closed the connection. Then close it here too."""
    try:
        if tcp.recv(65536):
            return False
    except BlockingIOError:
        return False
    except OSError:
        pass
    tcp.close()
    return True
