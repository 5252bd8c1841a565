"""The output of the log: to standard error, as text or as JSON (interfaces.md 7, ``[log]``).

The log has the events of :mod:`identengine.log.events`, and the records of libraries such as asyncio. A line of
text is for people. A line of JSON is for programs: ``time`` (UTC), ``level``, ``logger``, ``event`` (the name),
the fields of the event, ``message`` (the text), ``do`` (the remedy of an error or alarm) and ``traceback``.

A thread writes the lines, through the standard library's ``QueueHandler``. If standard error is not read (a full
pipe, a stopped terminal), the thread waits and the decisions do not. Lines that no longer fit into the queue are
dropped and counted. A process that forks has no thread (:func:`set_up_direct`). It drops a line that cannot be
written at once.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import queue
import select
import sys
import time
from collections.abc import Mapping
from logging.handlers import QueueHandler, QueueListener
from typing import Any

import msgspec

from identengine.config.schema import LogConfig
from identengine.log.event import Event, Shown
from identengine.log.events import LINES_DROPPED

LINES = 10_000
"""Size of the queue, in lines."""
_FIELD_LENGTHS = 1000, 200, 50
"""Lengths to which the fields of a too long line are cut, in characters. The first that suffices is used."""
_PARTING = 1.0
"""Longest wait of :func:`finish`, in seconds."""

RESERVED = frozenset({"time", "level", "logger", "event", "do", "message", "traceback"})
"""Names that no field of an event may have."""

_encode = msgspec.json.Encoder().encode


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{_time(record)} {record.levelname.lower():<7} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        line: dict[str, object] = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        if isinstance(event, Event):
            line |= {"level": event.level, "event": event.name}
            if isinstance(record.args, Mapping):
                line |= {name: _text(value) for name, value in record.args.items()}
            if event.do:
                line["do"] = event.do
        line["message"] = _text(record.getMessage())
        if record.exc_info:
            line["traceback"] = _text(self.formatException(record.exc_info))
        return _encode(line).decode()


class _Queueing(QueueHandler):
    """A handler that puts lines into a queue of :data:`LINES`. If the queue is full, it drops and counts them."""

    queue: queue.Queue[str]

    def __init__(self) -> None:
        super().__init__(queue.Queue(LINES))
        self.dropped = 0
        """Lines dropped since the process started."""

    def prepare(self, record: logging.LogRecord) -> str:
        return self.format(record)

    def enqueue(self, record: Any) -> None:  # a line, as `prepare` returned it
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer(QueueListener):
    """A thread that writes the queued lines to standard error, and reports how many were dropped between them."""

    def __init__(self, lines: _Queueing) -> None:
        super().__init__(lines.queue)
        self._lines = lines
        self._reported = 0

    def handle(self, record: Any) -> None:  # a line, as above
        line = record
        dropped = self._lines.dropped - self._reported
        if dropped:
            self._reported += dropped
            line += f"\n{self._lines.format(_record_of(dropped))}"
        with contextlib.suppress(OSError, ValueError):  # standard error is closed, so no report is possible
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


class _Direct(logging.Handler):
    """A handler that writes each line in one step and never waits. A line that does not fit is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            before = f"{self.format(_record_of(self._dropped))}\n".encode() if self._dropped else b""
            # A pipe that is ready for writing has room for at least PIPE_BUF bytes.
            written = before + self._line(record, select.PIPE_BUF - len(before) - 1) + b"\n"
            number = sys.stderr.fileno()
            room = select.poll()
            room.register(number, select.POLLOUT)
            if room.poll(0):
                os.write(number, written)
                self._dropped = 0
            else:
                self._dropped += 1
        except (OSError, ValueError):  # standard error is closed, so no report is possible
            self._dropped += 1
        except Exception:  # a record that cannot be formatted must not stop its writer
            self.handleError(record)

    def _line(self, record: logging.LogRecord, size: int) -> bytes:
        """Return a line of at most ``size`` bytes. Cut long fields first, so that JSON stays valid."""
        line = self.format(record).encode(errors="backslashreplace")
        fields = record.args
        for length in _FIELD_LENGTHS:
            if len(line) <= size or not isinstance(fields, Mapping):
                break
            record.args = {name: _cut(value, length) for name, value in fields.items()}
            line = self.format(record).encode(errors="backslashreplace")
        return line[:size]


_queueing: _Queueing | None = None


def set_up(config: LogConfig) -> None:
    """Send the log to standard error in the format and from the level of the config.

    A later call applies another config.
    """
    global _queueing  # noqa: PLW0603 - the process has one standard error
    if _queueing is None:
        _queueing = _Queueing()
        _Writer(_queueing).start()
    _use(_queueing, config)


def set_up_direct(config: LogConfig) -> None:
    """Send the log to standard error without a thread, for a process that forks.

    A child may call :func:`set_up`.
    """
    _use(_Direct(), config)


def _use(handler: logging.Handler, config: LogConfig) -> None:
    handler.setFormatter(_JsonFormatter() if config.format == "json" else _TextFormatter())
    # Any client can cause warnings of uvicorn at any rate, so only its errors are logged.
    for name, level in (("identengine", config.level), ("asyncio", config.level), ("uvicorn.error", "error")):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False


def finish() -> None:
    """Wait until all lines are written, at most for a second. Call it before the process exits.

    ``QueueListener.stop`` is no alternative: it would wait as long as standard error is not read.
    """
    if _queueing is not None:
        end = time.monotonic() + _PARTING
        while _queueing.queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.001)


def dropped() -> int:
    """Return the number of lines that this process has dropped."""
    return _queueing.dropped if _queueing is not None else 0


def _record_of(count: int) -> logging.LogRecord:
    """Return the record that reports dropped lines."""
    record = logging.LogRecord(
        "identengine", logging.WARNING, __file__, 0, LINES_DROPPED.text, ({"count": count},), None
    )
    record.event = LINES_DROPPED
    return record


def _cut(value: object, length: int) -> object:
    return Shown(f"{value[:length]}…") if isinstance(value, str) and len(value) > length else value


def _text(value: object) -> object:
    """Return a value that JSON can hold. The bytes in a file name need not be text."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
