"""Reads the config from its file: TOML in, a checked :class:`Config` out (interfaces.md 7)."""

from __future__ import annotations

import ast
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import IO

from identengine.config.schema import Config
from identengine.config.sections import from_values
from identengine.errors import ConfigError

_LARGEST = 16 << 20
"""Bytes of a config file; only what is none has more."""
_DEEP = 50
_DIGITS = re.compile(r"[0-9](?:_?[0-9]){1000,}")
_TUPLE = re.compile(r"\((?:'[^']*',? ?)+\)")


def load(path: Path | None) -> Config:
    """Return the config in the file ``path``; the default one where it is None.

    Raises ConfigError with every mistake, each named with its key.
    """
    if path is None:
        return from_values({}, None)
    try:
        with path.open("rb") as file:
            content = _read(file, path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return from_values(_parsed(content, path), path)


def reload(path: Path) -> Config:
    """Return the config in a file, for a server that runs with an earlier one. Raise ConfigError as :func:`load`.

    A pipe or device is an error, although a server can start with one: a pipe that was read is empty, which would
    be the default config, or blocks its reader for ever. An empty file is an error too: some editors empty a file
    before they write it, and the default config would drop all switches.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError([f"{path} is not a regular file, so that it cannot be read again"])
            content = _read(file, path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not content.strip():
        raise ConfigError([f"{path} is empty; is an editor about to write it?"])
    return from_values(_parsed(content, path), path)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer blocks else


def _read(file: IO[bytes], path: Path) -> bytes:
    """Return the content of a config file. Raise ConfigError if it is too large to be one."""
    content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ConfigError([f"{path} is larger than {_LARGEST >> 20} MiB; no config is"])
    return content


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError([f"{path} cannot be read: {error.strerror}"])


def _parsed(content: bytes, path: Path) -> dict[str, object]:
    """Return the values of a file of TOML; ConfigError, with the line, where it is none."""
    try:
        written = content.decode("utf-8-sig")  # some editors put the mark of UTF-8 before a text
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path} is not UTF-8: line {line} is in another encoding"]) from error
    try:
        return tomllib.loads(written)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path} is not TOML: {_TUPLE.sub(_table_name, str(error))}"]) from error
    except RecursionError:
        raise ConfigError([f"{path}: lists or tables within each other, too deep{_deepest(written)}"]) from None
    except ValueError as error:  # of int(), which takes so many digits and no more; tomllib lets it through
        long = _DIGITS.search(written)
        line = written.count("\n", 0, long.start()) + 1 if long else 0
        raise ConfigError(
            [f"{path}: {f'line {line}: an integer of too many digits' if line else error}"]
        ) from None


def _table_name(names: re.Match[str]) -> str:
    """Return the heading of a table that tomllib names as a tuple."""
    return f"[{'.'.join(ast.literal_eval(names[0]))}]"


def _deepest(written: str) -> str:
    """Return in which line brackets begin to be deep, as a clause; those in texts count too."""
    depth = 0
    for number, line in enumerate(written.splitlines(), 1):
        for character in line:
            depth += (character in "[{") - (character in "]}")
            if depth > _DEEP:
                return f" (line {number})"
    return ""
