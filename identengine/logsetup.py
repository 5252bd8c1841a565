"""Where the log goes and how a line of it looks (interfaces.md 7, ``[log]``).

Lines are written by a thread: where nobody reads the log (a pipe that is full, a terminal that was stopped) the
thread waits and not the decisions. What it cannot write meanwhile is dropped and counted.
"""

from __future__ import annotations

import datetime
import logging
import queue
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
                line += f"\n{dropped} lines of the log were dropped here, since nobody read them"
            try:
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
            except (OSError, ValueError):
                pass  # it is closed: there is nowhere to say so
            self._lines.task_done()


_writer: _Writer | None = None


def set_up(config: LogConfig) -> None:
    """Let the program's log go to standard error as the config says; may be called again."""
    global _writer  # noqa: PLW0603 - as there is one standard error
    handler = _writer = _writer or _Writer()
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


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
