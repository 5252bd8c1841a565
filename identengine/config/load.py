"""Reads the config from a TOML file as a checked :class:`Config` (interfaces.md 7)."""

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
"""Largest config file, in bytes. A larger file is certainly not a config."""
_DEEP = 50
"""Nesting of brackets that a message reports as too deep, in levels."""
_DIGITS = re.compile(r"[0-9](?:_?[0-9]){1000,}")
_TUPLE = re.compile(r"\((?:'[^']*',? ?)+\)")


def load(path: Path | None, *, serving: bool = True) -> Config:
    """Return the config in the file ``path``, or the default config for None.

    Without ``serving``, for a command, an environment variable is read only when its secret is needed.
    Raise ConfigError with every mistake. Each names its key.
    """
    if path is None:
        return from_values({}, None, serving=serving)
    try:
        with path.open("rb") as file:
            content = _read(file, path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return from_values(_parsed(content, path), path, serving=serving)


def sample() -> str:
    """Return the TOML of a config with every key and its default, with comments for operators."""
    return Path(__file__).with_name("sample.toml").read_text(encoding="utf-8")


def reload(path: Path) -> Config:
    """Return the config in a file, for a server that runs already. Raise ConfigError as :func:`load`.

    A pipe or device is an error, although a server can start with one. A pipe that was read before blocks its
    reader, or it is empty, and an empty config would be the default. An empty file is also an error: some editors
    empty a file before they write it, and the default config has none of the operator's switches.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError([f"{path}: expected a regular file for a reload, got a pipe or device"])
            content = _read(file, path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not content.strip():
        raise ConfigError(
            [f"{path}: expected a config, got an empty file. Save it again if an editor emptied it."]
        )
    return from_values(_parsed(content, path), path)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # otherwise opening a pipe without a writer blocks


def _read(file: IO[bytes], path: Path) -> bytes:
    """Return the content of a config file. Raise ConfigError if it is too large."""
    content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ConfigError([f"{path}: expected a config of at most {_LARGEST >> 20} MiB"])
    return content


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError([f"{path}: cannot be read: {error.strerror}"])


def _parsed(content: bytes, path: Path) -> dict[str, object]:
    """Return the values of a TOML file. Raise ConfigError, with the line, if it is not TOML in UTF-8."""
    try:
        written = content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}: expected UTF-8, got another encoding in line {line}"]) from error
    try:
        return tomllib.loads(written)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not valid TOML: {_TUPLE.sub(_table_name, str(error))}"]) from error
    except RecursionError:
        raise ConfigError([f"{path}: lists or tables are nested too deeply{_deepest(written)}"]) from None
    except ValueError as error:  # from int(), which limits the digits; tomllib passes it on
        long = _DIGITS.search(written)
        line = written.count("\n", 0, long.start()) + 1 if long else 0
        raise ConfigError(
            [f"{path}: {f'line {line}: the integer has too many digits' if line else error}"]
        ) from None


def _table_name(names: re.Match[str]) -> str:
    """Return the heading of a table that a message of tomllib names as a tuple."""
    return f"[{'.'.join(ast.literal_eval(names[0]))}]"


def _deepest(written: str) -> str:
    """Return the line in which brackets nest too deeply, as a clause. Brackets in strings count too."""
    depth = 0
    for number, line in enumerate(written.splitlines(), 1):
        for character in line:
            depth += (character in "[{") - (character in "]}")
            if depth > _DEEP:
                return f" (line {number})"
    return ""
