"""Where the log goes and how a line of it looks (interfaces.md 7, ``[log]``)."""

from __future__ import annotations

import datetime
import logging
import sys

import msgspec

from identengine.config import LogConfig

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
        line = _Line(_time(record), record.levelname.lower(), record.name, record.getMessage(), traceback)
        return _encode(line).decode()


def set_up(config: LogConfig) -> None:
    """Let the program's log go to standard error as the config says; may be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if config.format == "json" else _TextFormatter())
    for name in ("identengine", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(config.level.upper())
        logger.propagate = False


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
