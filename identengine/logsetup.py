"""Where the log goes and how a line of it looks (interfaces.md 7, ``[log]``).

Lines are written by a thread: where nobody reads the log (a pipe that is full, a terminal that was stopped) the
thread waits and not the decisions. What it cannot write meanwhile is dropped and counted. A process that forks has
no thread (:func:`set_up_direct`): it writes a line where there is room for it at once, else the line is dropped.
"""

from __future__ import annotations

import datetime
import logging
import os
import queue
import select
import sys
import threading
import time

import msgspec

from identengine.config import LogConfig

LINES = 10_000
"""Lines that wait to be written at most."""
_PARTING = 1.0
"""Seconds that :func:`finish` waits."""

_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct, omit_defaults=True):
    """One line of the log for programs."""

    time: str
    level: str
    logger: str
    message: str
    traceback: str | None = None


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{_time(record)} {record.levelname.lower():<7} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else None
        # Names of files may hold bytes that are no text.
        message = record.getMessage().encode(errors="backslashreplace").decode()
        line = _Line(_time(record), record.levelname.lower(), record.name, message, traceback)
        return _encode(line).decode()


class _Writer(logging.Handler):
    """Hands lines to the thread that writes them to standard error."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue(LINES)
        self._dropped = 0
        self._counting = threading.Lock()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            with self._counting:
                self._dropped += 1
        except Exception:  # a record that cannot be written must not end what wrote it
            self.handleError(record)

    def finish(self) -> None:
        """Wait until everything is written, but not for ever."""
        end = time.monotonic() + _PARTING
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.001)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            with self._counting:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                line += f"\n{_dropped(dropped)}"
            try:
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
            except (OSError, ValueError):
                pass  # it is closed: there is nowhere to say so
            self._lines.task_done()


class _Direct(logging.Handler):
    """Writes lines itself, each whole and at once or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if self._dropped:
                line = f"{_dropped(self._dropped)}\n{line}"
            # A pipe in which there is room at all has room for PIPE_BUF bytes.
            written = line.encode(errors="backslashreplace")[: select.PIPE_BUF - 1] + b"\n"
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
        except Exception:  # as in _Writer
            self.handleError(record)


_writer: _Writer | None = None


def set_up(config: LogConfig) -> None:
    """Let the program's log go to standard error as the config says; may be called again."""
    global _writer  # noqa: PLW0603 - as there is one standard error
    _writer = _writer or _Writer()
    _use(_writer, config)


def set_up_direct(config: LogConfig) -> None:
    """Do the same without a thread, for a process that forks and writes little; a child may call `set_up`."""
    _use(_Direct(), config)


def _use(handler: logging.Handler, config: LogConfig) -> None:
    handler.setFormatter(_JsonFormatter() if config.format == "json" else _TextFormatter())
    for name in ("identengine", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(config.level.upper())
        logger.propagate = False


def finish() -> None:
    """Wait a moment for what is still to be written; to be called at the end."""
    if _writer is not None:
        _writer.finish()


def _dropped(count: int) -> str:
    return f"{count} lines of the log were dropped here, since nobody read them"


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
