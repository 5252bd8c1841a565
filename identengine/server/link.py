"""The link between the supervisor and each process that it forks: the words of both sides, and the two ends.

Both ends are stream sockets that never block. A child sends single bytes: its state, at each change and as its
sign of life, and :data:`REREAD`. The supervisor sends frames: 4 bytes of length, big-endian, one byte that says
what the frame is, and its content. A config may be longer than the socket's buffer, so the supervisor keeps the
rest and sends it when the child has read. The end of the stream tells a child that the supervisor died.
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
"""The states of a child. A standby is idle until it has tried to load the book; then it has one, or none that is
all right. A decider that takes over restores the calls, which may take long; a ready one has tried to load the
book. The HTTP process is ready when it serves."""
REREAD = b"c"
"""What a child sends before its state: the config that it was sent is in force there."""
TAKE_OVER, HAND_OVER, CONFIG = b"!", b"/", b"="
"""The frames: for a standby, for a decider that leaves everything to the decider of another supervisor, and for
every child. The last one holds a config, as :mod:`identengine.config.codec` encodes it."""

BEAT_SECONDS = 0.5
"""Between two signs of life of a child."""
DRAIN_SECONDS = 4.5
"""How long a decider drains: within the 5 s of interfaces.md 7, the rest of its end included."""
ORPHAN_SECONDS = 6.0
"""How long a new server waits for addresses and calls that children of a killed supervisor have until they end."""
_ENDING = (signal.SIGTERM, signal.SIGINT)
_LENGTH = 4
_READ = 65536


class Duty(NamedTuple):
    """What a child gets from the supervisor that forks it."""

    sockets: Sockets
    """All of them; a child closes those that it does not read."""
    link: socket.socket
    """The child's end of the link."""
    mask: frozenset[int]
    """The signals to block once the child handles them; until then all are blocked that it has to handle."""
    standby: bool = False
    """Whether a decider waits until it is told to take over."""
    replaces: bool = False
    """Whether switches were answered before: a decider waits for its book before it reads its sockets."""
    announces: bool = False
    """Whether a decider prints what is printed once a run: listeners, the book, ``READY``."""


Entry: TypeAlias = Callable[[Config, Duty], int]
"""The life of a child: serves until it is told to end, and returns its exit status."""


class Entries(NamedTuple):
    """The code of the children. The supervisor forks without exec, and imports none of it."""

    decide: Entry
    serve_http: Entry


class SupervisorEnd:
    """The supervisor's end of one link. Nothing here waits."""

    def __init__(self, end: socket.socket, state: bytes) -> None:
        self.state = state
        """The last state that the child sent; at first, what it is about to do."""
        self._end = end
        self._unsent = bytearray()
        self._config: bytes | None = None
        """The newest config, while nothing of it is sent: a newer one replaces it."""
        self._unanswered = 0
        """Configs that were sent, or are being sent, and are not in force at the child."""

    @property
    def behind(self) -> bool:
        """Whether the newest config is not in force at the child."""
        return self._config is not None or self._unanswered > 0

    def hear(self) -> bool:
        """Read what the child sent; return whether there was anything."""
        heard = False
        with contextlib.suppress(OSError):  # nothing there, or it is dead
            while said := self._end.recv(_READ):
                heard = True
                self.state = said[-1:]
                self._unanswered -= said.count(REREAD)
        return heard

    def tell(self, word: bytes) -> None:
        """Send a frame without content. Raise OSError if the child cannot be reached."""
        self._begin_config()
        self._unsent += _frame(word)
        self.flush()

    def hand(self, config: bytes) -> None:
        """Send a config as :func:`identengine.config.codec.encode` returns it. Raise OSError as above."""
        self._config = config
        self.flush()

    def flush(self) -> None:
        """Send what the child has room for. Raise OSError as above."""
        while self._unsent or self._config is not None:
            if not self._unsent:
                self._begin_config()
            try:
                del self._unsent[: self._end.send(self._unsent)]
            except BlockingIOError:
                return

    def close(self) -> None:
        """Close this process's copy."""
        self._end.close()

    def _begin_config(self) -> None:
        if self._config is not None:
            self._unsent += _frame(CONFIG, self._config)
            self._config = None
            self._unanswered += 1


class ChildEnd:
    """A child's end: what the supervisor and signals say, and what the child tells in turn."""

    def __init__(self, duty: Duty, state: bytes) -> None:
        self.state = state
        """What :meth:`tell` told last."""
        self._end = duty.link
        self._mask = duty.mask
        self._received = bytearray()
        self._frames: deque[tuple[bytes, bytes]] = deque()
        self._failed = 0
        """Configs that were not put in force, by a fault; a later one that is takes their place."""
        self._obeyed = 0
        """Configs that are in force, or were replaced, of which the supervisor was not told."""

    @contextlib.contextmanager
    def attend(
        self,
        *,
        end: Callable[[], None],
        orphaned: Callable[[], None],
        reconfigure: Callable[[Config], None],
        words: Mapping[bytes, Callable[[], None]] | None = None,
    ) -> Iterator[None]:
        """Handle signals and frames in the running loop: also those that came since the fork.

        ``end``: SIGTERM or SIGINT came; ``orphaned``: the supervisor died; ``reconfigure``: a config came, which
        is in force once this returns; ``words``: what to do at other frames. SIGHUP is the supervisor's business
        and ignored. Afterwards SIGTERM and SIGINT are blocked: without the loop they would change the exit status.
        """
        loop = asyncio.get_running_loop()
        self._orphaned, self._reconfigure, self._words = orphaned, reconfigure, words or {}
        for number in _ENDING:
            loop.add_signal_handler(number, end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        loop.add_reader(self._end, self._hear)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def tell(self, state: bytes) -> None:
        """Send a state, now and with each sign of life from now on."""
        self.state = state
        with contextlib.suppress(OSError):  # it is full or gone; the next one tells it again
            self._end.send(REREAD * self._obeyed + state)
            self._obeyed = 0

    async def beat(self) -> None:
        """Send the state as a sign of life, as long as the loop turns."""
        while True:
            self.tell(self.state)
            await asyncio.sleep(BEAT_SECONDS)

    def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            data = self._end.recv(_READ)
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
            # Each by itself, so that a fault in one does not lose the next; and asyncio would log an argument.
            loop.call_soon(self._obey)

    def _obey(self) -> None:
        word, content = self._frames.popleft()
        if word == CONFIG:
            self._failed += 1
            self._reconfigure(codec.decode(content))
            self._obeyed, self._failed = self._obeyed + self._failed, 0
            self.tell(self.state)
        elif word in self._words:
            self._words[word]()


def name_process(name: str) -> None:
    """Set the name of this process that ps and top show: ASCII, at most 15 characters."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")


def _frame(word: bytes, content: bytes = b"") -> bytes:
    return (1 + len(content)).to_bytes(_LENGTH, "big") + word + content


def _cut(received: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take whole frames from the head of what was received; yield the word and content of each."""
    while len(received) > _LENGTH:
        end = _LENGTH + int.from_bytes(received[:_LENGTH], "big")
        if len(received) < end:
            return
        yield bytes(received[_LENGTH : _LENGTH + 1]), bytes(received[_LENGTH + 1 : end])
        del received[:end]
