"""Where the log goes and how a line of it looks (interfaces.md 7, ``[log]``).

What is said is an event (:mod:`identengine.log.events`); what others say by the standard library's ``logging``, as
asyncio does, is written too. A line of text is for people. A line of JSON is for programs: ``time`` (UTC),
``level``, ``logger``, ``event`` (its name), the event's fields, ``message`` (the text), ``do`` (what to do, of
errors and alarms) and ``traceback``.

Lines are written by a thread, through the standard library's ``QueueHandler``: where nobody reads the log (a pipe
that is full, a terminal that was stopped) the thread waits and not the decisions. What it cannot write meanwhile
is dropped and counted. A process that forks has no thread (:func:`set_up_direct`): it writes a line where there is
room for it at once, else the line is dropped.
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
from identengine.log.events import LINES_DROPPED, Event, Shown

LINES = 10_000
"""Lines that wait to be written at most."""
_FIELD_LENGTHS = 1000, 200, 50
"""Characters that are left of a text in a line that is too long; the first one that is enough."""
_PARTING = 1.0
"""Seconds that :func:`finish` waits."""

RESERVED = frozenset({"time", "level", "logger", "event", "do", "message", "traceback"})
"""What no field of an event may be called."""

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
    """Puts lines into a queue of :data:`LINES`; a line for which there is no room is dropped and counted."""

    queue: queue.Queue[str]

    def __init__(self) -> None:
        super().__init__(queue.Queue(LINES))
        self.dropped = 0
        """Lines that were dropped since the process began."""

    def prepare(self, record: logging.LogRecord) -> str:
        return self.format(record)

    def enqueue(self, record: Any) -> None:  # what `prepare` returned: a line
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer(QueueListener):
    """Writes lines of the queue to standard error, in a thread, and says how many were dropped in between."""

    def __init__(self, lines: _Queueing) -> None:
        super().__init__(lines.queue)
        self._lines = lines
        self._told = 0

    def handle(self, record: Any) -> None:  # a line, as above
        line = record
        dropped = self._lines.dropped - self._told
        if dropped:
            self._told += dropped
            line += f"\n{self._lines.format(_record_of(dropped))}"
        with contextlib.suppress(OSError, ValueError):  # it is closed: there is nowhere to say so
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


class _Direct(logging.Handler):
    """Writes lines itself, each whole and at once or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            before = f"{self.format(_record_of(self._dropped))}\n".encode() if self._dropped else b""
            # A pipe in which there is room at all has room for PIPE_BUF bytes.
            written = before + self._line(record, select.PIPE_BUF - len(before) - 1) + b"\n"
            number = sys.stderr.fileno()
            room = select.poll()
            room.register(number, select.POLLOUT)
            if room.poll(0):
                os.write(number, written)
                self._dropped = 0
            else:
                self._dropped += 1
        except (OSError, ValueError):  # it is closed: there is nowhere to say so
            self._dropped += 1
        except Exception:  # a record that cannot be written must not end what wrote it
            self.handleError(record)

    def _line(self, record: logging.LogRecord, size: int) -> bytes:
        """Return a line of at most ``size`` bytes. Long fields are cut first, so that JSON stays JSON."""
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
    """Let the program's log go to standard error as the config says; may be called again."""
    global _queueing  # noqa: PLW0603 - as there is one standard error
    if _queueing is None:
        _queueing = _Queueing()
        _Writer(_queueing).start()
    _use(_queueing, config)


def set_up_direct(config: LogConfig) -> None:
    """Do the same without a thread, for a process that forks and writes little; a child may call `set_up`."""
    _use(_Direct(), config)


def _use(handler: logging.Handler, config: LogConfig) -> None:
    handler.setFormatter(_JsonFormatter() if config.format == "json" else _TextFormatter())
    # What uvicorn warns of is what any client may do, as often as it likes.
    for name, level in (("identengine", config.level), ("asyncio", config.level), ("uvicorn.error", "error")):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False


def finish() -> None:
    """Wait until everything is written, but not for ever; to be called at the end.

    The listener's own ``stop`` waits for a thread that may wait for a reader of the log in turn.
    """
    if _queueing is not None:
        end = time.monotonic() + _PARTING
        while _queueing.queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.001)


def dropped() -> int:
    """Return how many lines of this process nobody read in time."""
    return _queueing.dropped if _queueing is not None else 0


def _record_of(count: int) -> logging.LogRecord:
    """Return the line that stands for those that were dropped."""
    record = logging.LogRecord(
        "identengine", logging.WARNING, __file__, 0, LINES_DROPPED.text, ({"count": count},), None
    )
    record.event = LINES_DROPPED
    return record


def _cut(value: object, length: int) -> object:
    return Shown(f"{value[:length]}…") if isinstance(value, str) and len(value) > length else value


def _text(value: object) -> object:
    """Return a value as JSON can hold it: names of files may hold bytes that are no text."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
