"""The link between the supervisor and each process that it forks: its messages and its two ends.

Both ends are stream sockets that never block. A child sends single bytes: its state, at each change and as a sign
of life, and :data:`REREAD`. The supervisor sends frames: 4 bytes of length, big-endian, one byte for the kind of
frame, and the content. A config may be longer than the buffer of the socket, so the supervisor keeps the rest and
sends it when the child has read.

Rule: the end of the stream means that the supervisor died.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from identengine.config import codec
from identengine.config.schema import Config
from identengine.net.sockets import Sockets

IDLE, LOADED, BOOKLESS, TAKING_OVER, LISTENING, READY = b"i", b"b", b"n", b"t", b"l", b"r"
"""The states of a child. A standby is IDLE until it has tried to load the book, then LOADED or BOOKLESS. A decider
that restores the calls is TAKING_OVER, which may take long. It is LISTENING when it reads its sockets, and READY
when it has tried to load the book. The HTTP process is READY when it serves."""
REREAD = b"c"
"""The byte that a child sends before its state when a config that it received is in force."""
TAKE_OVER, HAND_OVER, CONFIG, SOCKETS = b"!", b"/", b"=", b"s"
"""The kinds of frames. TAKE_OVER makes a standby the decider. HAND_OVER makes a decider leave its sockets and
calls to the decider of another server. CONFIG has a config as content (:mod:`identengine.config.codec`). SOCKETS
comes with the descriptors of new Unix sockets, ``control`` and ``ask``, which replace those of the child."""

BEAT_SECONDS = 0.5
"""Time between two signs of life of a child, in seconds."""
DRAIN_SECONDS = 4.5
"""Longest drain of a decider, in seconds. With the rest of its end it fits in the 5 s of interfaces.md 7."""
ORPHAN_SECONDS = 6.0
"""Longest wait of a new server for addresses and calls that children of a killed supervisor still hold, in
seconds."""
_ENDING = (signal.SIGTERM, signal.SIGINT)
_LENGTH = 4
_READ = 65536
_DESCRIPTORS = 2
"""Descriptors that come with a frame of the kind SOCKETS."""


class Duty(NamedTuple):
    """The context that a child gets from the supervisor."""

    sockets: Sockets
    """All sockets of the server. A child closes those that it does not read."""
    link: socket.socket
    """The child's end of the link."""
    mask: frozenset[int]
    """The signals that stay blocked. All signals that the child handles are blocked until its handlers are set."""
    standby: bool = False
    """True if the child is a standby, which waits for TAKE_OVER."""
    replaces: bool = False
    """True if an earlier decider has answered switches.

    Then a decider waits for its book before it reads its sockets.
    """
    announces: bool = False
    """True if a decider prints the lines that are printed once a run: listeners, the book, ``READY``."""


Entry: TypeAlias = Callable[[Config, Duty], int]
"""The main function of a child. It serves until a signal ends it, and returns the exit status."""


class Entries(NamedTuple):
    """The main functions of the children. The supervisor forks without exec and imports none of their code."""

    decide: Entry
    serve_http: Entry


class SupervisorEnd:
    """The supervisor's end of one link. No method blocks."""

    def __init__(self, end: socket.socket, state: bytes) -> None:
        self.state = state
        """The state that the child sent last; at first, the state that it is about to enter."""
        self._end = end
        self._unsent = bytearray()
        self._config: bytes | None = None
        """The newest config until its first byte is sent, or None. A newer config replaces it."""
        self._sockets: tuple[socket.socket, ...] = ()
        """The newest sockets until they are sent. Newer ones replace them."""
        self._unanswered = 0
        """Number of configs that were sent, at least in part, and are not in force at the child."""

    @property
    def behind(self) -> bool:
        """True if the newest config is not in force at the child."""
        return self._config is not None or self._unanswered > 0

    def hear(self) -> bool:
        """Read the bytes that the child has sent. Return True if there were any."""
        received = False
        with contextlib.suppress(OSError):  # nothing to read, or the child is dead
            while data := self._end.recv(_READ):
                received = True
                self.state = data[-1:]
                self._unanswered -= data.count(REREAD)
        return received

    def tell(self, word: bytes) -> None:
        """Send a frame without content. Raise OSError if the child cannot be reached."""
        self._begin_config()
        self._unsent += _frame(word)
        self.flush()

    def hand(self, config: bytes) -> None:
        """Send a config, encoded by :func:`identengine.config.codec.encode`.

        Raise OSError as :meth:`tell` does.
        """
        self._config = config
        self.flush()

    def hand_sockets(self, control: socket.socket, ask: socket.socket) -> None:
        """Send copies of new Unix sockets. Raise OSError as :meth:`tell` does."""
        self._sockets = (control, ask)
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket accepts. Raise OSError as :meth:`tell` does."""
        while self._unsent or self._config is not None or self._sockets:
            try:
                if self._sockets and not self._unsent:
                    self._send_sockets()
                    continue
                if not self._unsent:
                    self._begin_config()
                del self._unsent[: self._end.send(self._unsent)]
            except BlockingIOError:
                return

    def _send_sockets(self) -> None:
        """Send the frame of the sockets. The descriptors travel with its first byte."""
        open_ones = [one.fileno() for one in self._sockets if one.fileno() >= 0]
        if len(open_ones) == len(self._sockets):  # else the server is stopping, and has closed them
            frame = _frame(SOCKETS)
            self._unsent += frame[socket.send_fds(self._end, [frame], open_ones) :]
        self._sockets = ()

    def close(self) -> None:
        """Close this process's copy of the socket."""
        self._end.close()

    def _begin_config(self) -> None:
        if self._config is not None:
            self._unsent += _frame(CONFIG, self._config)
            self._config = None
            self._unanswered += 1


class ChildEnd:
    """A child's end: it receives frames and signals, and sends states."""

    def __init__(self, duty: Duty, state: bytes) -> None:
        self.state = state
        """The state that :meth:`tell` sent last."""
        self._end = duty.link
        self._mask = duty.mask
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        """Descriptors that arrived for frames of the kind SOCKETS."""
        self._frames: deque[tuple[bytes, bytes]] = deque()
        self._failed = 0
        """Number of configs that a bug kept from being applied. A later config that is applied replaces them."""
        self._applied = 0
        """Number of configs that are in force, or were replaced, and were not reported to the supervisor."""

    @contextlib.contextmanager
    def attend(
        self,
        *,
        end: Callable[[], None],
        orphaned: Callable[[], None],
        reconfigure: Callable[[Config], None],
        words: Mapping[bytes, Callable[[], None]] | None = None,
        replace: Callable[[socket.socket, socket.socket], None] | None = None,
    ) -> Iterator[None]:
        """Handle signals and frames in the running loop, including those that arrived since the fork.

        ``end`` is called at SIGTERM or SIGINT, and ``orphaned`` when the supervisor has died. ``reconfigure`` gets
        each config, which is in force when it returns. ``words`` maps each other kind of frame to the function
        that handles it. ``replace`` gets new sockets ``control`` and ``ask``. SIGHUP is ignored, since the
        supervisor handles it. On exit, SIGTERM and SIGINT are blocked, since without the loop they would change
        the exit status.
        """
        loop = asyncio.get_running_loop()
        self._orphaned, self._reconfigure, self._words = orphaned, reconfigure, words or {}
        self._replace = replace
        for number in _ENDING:
            loop.add_signal_handler(number, end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        loop.add_reader(self._end, self._on_readable)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def tell(self, state: bytes) -> None:
        """Send a state now, and with each later sign of life."""
        self.state = state
        with contextlib.suppress(OSError):  # the socket is full or closed; the next sign of life repeats it
            self._end.send(REREAD * self._applied + state)
            self._applied = 0

    async def beat(self) -> None:
        """Send the state as a sign of life while the loop runs."""
        while True:
            self.tell(self.state)
            await asyncio.sleep(BEAT_SECONDS)

    def _on_readable(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            data, descriptors = socket.recv_fds(self._end, _READ, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)[:2]
            self._descriptors += descriptors
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(self._end)
            self._orphaned()
            return
        self._received += data
        for frame in _cut(self._received):
            self._frames.append(frame)
            # One call for each frame: an exception does not affect the next frame. No argument: asyncio would log
            # it.
            loop.call_soon(self._handle_frame)

    def _handle_frame(self) -> None:
        word, content = self._frames.popleft()
        if word == CONFIG:
            self._failed += 1
            self._reconfigure(codec.decode(content))
            self._applied, self._failed = self._applied + self._failed, 0
            self.tell(self.state)
        elif word == SOCKETS:
            control, ask = (socket.socket(fileno=self._descriptors.popleft()) for _ in range(_DESCRIPTORS))
            if self._replace is not None:
                self._replace(control, ask)
        elif word in self._words:
            self._words[word]()


def name_process(name: str) -> None:
    """Set the name of this process that ps and top show: ASCII, at most 15 characters."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")


def _frame(word: bytes, content: bytes = b"") -> bytes:
    return (1 + len(content)).to_bytes(_LENGTH, "big") + word + content


def _cut(received: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Remove complete frames from the head of ``received``. Yield kind and content of each."""
    while len(received) > _LENGTH:
        end = _LENGTH + int.from_bytes(received[:_LENGTH], "big")
        if len(received) < end:
            return
        yield bytes(received[_LENGTH : _LENGTH + 1]), bytes(received[_LENGTH + 1 : end])
        del received[:end]
