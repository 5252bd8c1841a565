"""Writes the record of decisions in a thread, so that a slow disk never delays a decision.

A write to a file can wait, even without ``fsync``. The kernel stops a process that has written too much, and a
journal of the file system makes it wait for a commit. A page of a mapped file waits for the same when it is first
written. So the decider only appends encoded entries to a list. Every :data:`FLUSH_SECONDS` it passes the list to
the thread, through a queue. The thread writes it in one step, and does not hold the interpreter's lock meanwhile.
A process of its own would take memory and supervision. A pipe to it would cost a system call for each batch.

The queue is bounded by :data:`QUEUE_BYTES`. Entries that do not fit or that the disk rejects are counted.
A killed process loses the entries of its last :data:`FLUSH_SECONDS`. Rule: :meth:`RecordWriter.close` alone waits.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from identengine.record.ring import Ring, RingSettings

FLUSH_SECONDS = 0.02
"""Time for which the decider collects entries, in seconds."""
FLUSH_BYTES = 64 * 1024
"""Size of collected entries at which the decider passes them on at once, in bytes."""
QUEUE_BYTES = 8 * 1024 * 1024
"""Largest size of the entries that wait for the thread, in bytes."""
SWEEP_SECONDS = 60.0
"""Time between two searches for files that are too old, in seconds."""
RETRY_SECONDS = 1.0
"""Time between two attempts to write after a failure, in seconds. Entries in between are counted as lost."""


class _Chunk(NamedTuple):
    """Entries that are written together."""

    parts: list[bytes]
    entries: int
    size: int


class RecordWriter:
    """The writer of one process. One thread calls all methods, :meth:`_run` alone is another.

    ``later`` schedules a call of a function after a number of seconds.
    """

    def __init__(
        self,
        settings: RingSettings,
        later: Callable[[float, Callable[[], None]], object],
        *,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._later, self._elapsed = later, elapsed
        self._ring = Ring(settings, clock, elapsed)
        self._queue: queue.SimpleQueue[_Chunk | RingSettings | None] = queue.SimpleQueue()
        self._parts: list[bytes] = []
        self._count = self._size = 0
        self._scheduled = False
        self._passed_bytes = self._finished_bytes = 0
        """Sizes of all entries that were passed to the thread, and that the thread has finished."""
        self._unqueued = self._unwritten = 0
        self.written = 0
        """Number of entries that were written."""
        self._unwritable: str | None = None
        self._unswept: str | None = None
        self._retry_at = self._sweep_at = 0.0
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str | None:
        """The reason why entries cannot be written now, or why old files cannot be removed, or None."""
        return self._unwritable or self._unswept

    @property
    def lost(self) -> int:
        """Number of entries that could not be written."""
        return self._unqueued + self._unwritten

    def add(self, parts: list[bytes], count: int) -> None:
        """Add ``count`` entries: the parts of whole frames."""
        self._parts += parts
        self._count += count
        self._size += sum(map(len, parts))
        if self._size >= FLUSH_BYTES:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._later(FLUSH_SECONDS, self._on_time)

    def _on_time(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Pass the collected entries to the thread, or count them if the queue is full."""
        if not self._count:
            return
        chunk = _Chunk(self._parts, self._count, self._size)
        self._parts, self._count, self._size = [], 0, 0
        if self._passed_bytes - self._finished_bytes + chunk.size > QUEUE_BYTES or not self._thread.is_alive():
            self._unqueued += chunk.entries
            return
        self._passed_bytes += chunk.size
        self._queue.put(chunk)

    def use(self, settings: RingSettings) -> None:
        """Use other settings for the entries that are added from now on."""
        self.flush()
        self._queue.put(settings)

    def close(self, seconds: float) -> None:
        """Write what was added, and wait for the thread for at most some seconds."""
        self.flush()
        self._queue.put(None)
        self._thread.join(seconds)

    # ---- the thread

    def _run(self) -> None:
        self._begin(self._ring.settings)
        while True:
            try:
                found = self._queue.get(timeout=RETRY_SECONDS if self.trouble else SWEEP_SECONDS)
            except queue.Empty:
                if self._unwritable:
                    self._probe()
                self._sweep()
                continue
            if found is None:
                self._ring.close()
                return
            if isinstance(found, RingSettings):
                self._begin(found)
                continue
            if self._elapsed() < self._retry_at or not self._write(found):
                self._unwritten += found.entries
            self._finished_bytes += found.size
            self._sweep()

    def _begin(self, settings: RingSettings) -> None:
        """Use a folder for the first time."""
        self._ring.close()
        self._ring.settings = settings
        self._unwritable = self._unswept = None
        self._retry_at = self._sweep_at = 0.0
        if settings.active:
            self._probe()
        self._sweep()

    def _probe(self) -> None:
        self._unwritable = self._problem(self._ring.probe)
        self._retry_at = self._elapsed() + RETRY_SECONDS if self._unwritable else 0.0

    def _write(self, chunk: _Chunk) -> bool:
        """Write a chunk. Return True if it was written."""
        self._unwritable = self._problem(lambda: self._ring.append(b"".join(chunk.parts)))
        if self._unwritable is None:
            self.written += chunk.entries
            return True
        self._retry_at = self._elapsed() + RETRY_SECONDS
        return False

    def _sweep(self) -> None:
        """Remove files that are too old, if it is time."""
        if self._elapsed() >= self._sweep_at:
            self._unswept = self._problem(self._ring.sweep)
            self._sweep_at = self._elapsed() + (RETRY_SECONDS if self._unswept else SWEEP_SECONDS)

    def _problem(self, work: Callable[[], None]) -> str | None:
        """Do work on the files. Return the reason if it failed, or None."""
        try:
            work()
        except OSError as error:
            return f"{error.filename or self._ring.settings.folder}: {error.strerror}"
        except Exception as error:  # the thread must write the next entries
            return f"{self._ring.settings.folder}: {error!r}"
        return None
