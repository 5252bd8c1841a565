"""What one value of the config may be: a reader for each kind, and a table that names every mistake with its key.

A reader takes what TOML gave and returns what the program uses, or raises ValueError with what would be right.
Nothing here knows a key of the config; :mod:`identengine.config` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import msgspec

from identengine.addresses import Network, format_address, parse_address, parse_network
from identengine.numbering import normal_number

T = TypeVar("T")
Reader = Callable[[object], T]


class Secret:
    """A text that no log, list or traceback may show: only :meth:`reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"


class Endpoint(msgspec.Struct, frozen=True):
    """An address and port to listen on; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Table:
    """One table of the config: gives each key to its reader once and collects what is wrong.

    ``label`` is how messages name the table (``[listen]``); ``problems`` is shared by all tables of a config.
    """

    def __init__(self, label: str, values: Mapping[str, object], problems: list[str]) -> None:
        self.label = label
        self.values = values
        self.problems = problems
        self._known: list[str] = []

    def take(self, key: str, reader: Reader[T], default: T) -> T:
        """Return the value of ``key`` as its reader gives it; ``default`` where it is not set or wrong."""
        self._known.append(key)
        if key not in self.values:
            return default
        value = self.values[key]
        try:
            return reader(value)
        except ValueError as error:
            self.complain(key, str(error))
            return default

    def has(self, key: str) -> bool:
        """Whether the operator set this key."""
        return key in self.values

    def table(self, key: str, label: str | None = None) -> Table:
        """Return the table below ``key``; an empty one where it is not set or no table."""
        self._known.append(key)
        label = label or f"[{key}]"
        value = self.values.get(key, {})
        if not isinstance(value, Mapping):
            self.problems.append(f"{label}: a table is wanted, {_shown(value)} is none")
            value = {}
        return Table(label, value, self.problems)

    def tables(self, key: str) -> list[Table] | None:
        """Return the tables ``[[key]]``, None where there is not even the key; labels count from 1."""
        self._known.append(key)
        if key not in self.values:
            return None
        value = self.values[key]
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            self.problems.append(
                f"[[{key}]]: tables under the heading [[{key}]] are wanted, with two brackets each"
            )
            return []
        return [Table(_item_label(key, number, item), item, self.problems) for number, item in enumerate(value, 1)]

    def complain(self, key: str, text: str) -> None:
        """Note a mistake of one key."""
        self.problems.append(f"{self.label} {key}: {text}")

    def close(self) -> None:
        """Complain of each key that nobody took, with the name that it is nearest to."""
        for key in self.values:
            if key not in self._known:
                near = get_close_matches(key, self._known, n=1, cutoff=0.5)
                self.complain(key, f"no such key; {near[0]} is the nearest name" if near else "no such key")


def text(value: object) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a text in quotes is wanted, not {_shown(value)}")
    return value.strip()


def boolean(value: object) -> bool:
    """Read ``true`` or ``false``."""
    if not isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - readers complain by ValueError alone
            f"true or false is wanted, without quotes, not {_shown(value)}"
        )
    return value


def integer(low: int, high: int) -> Reader[int]:
    """Return a reader of integers from ``low`` to ``high``, both included."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"an integer from {low} to {high} is wanted, not {_shown(value)}")
        return value

    return read


def choice(*allowed: T) -> Reader[T]:
    """Return a reader of one of the values ``allowed``."""

    def read(value: object) -> T:
        for one in allowed:
            if value == one and type(value) is type(one):
                return one
        names = ", ".join(_shown(one) for one in allowed)
        near = get_close_matches(str(value), [str(one) for one in allowed], n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"one of {names} is wanted, not {_shown(value)}{hint}")

    return read


def items(reader: Reader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of a list without repeats, each of whose items ``reader`` reads."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(f"a list in [ ] is wanted, not {_shown(value)}")  # noqa: TRY004 - as above
        found: list[T] = []
        wrong: list[str] = []
        for item in value:
            try:
                one = reader(item)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if one in found:
                wrong.append(f"{_shown(item)} stands there twice")
            found.append(one)
        if wrong:
            raise ValueError("; ".join(wrong))
        return tuple(found)

    return read


def path_below(folder: Path) -> Reader[Path]:
    """Return a reader of paths; relative ones are relative to ``folder``, the config's own."""
    return lambda value: folder / Path(text(value)).expanduser()


def secret(value: object) -> Secret:
    """Read a secret: a text, or ``{ env = "NAME" }``, the value of an environment variable."""
    if isinstance(value, Mapping):
        name = value.get("env")
        if set(value) != {"env"} or not isinstance(name, str) or not name:
            raise ValueError('a text or { env = "NAME" } is wanted')
        found = os.environ.get(name, "")
        if not found:
            raise ValueError(f"the environment variable {name} is not set")
        return Secret(found)
    if not isinstance(value, str) or not value:
        raise ValueError('a text or { env = "NAME" } is wanted')
    return Secret(value)


def network(value: object) -> Network:
    """Read an address or a network (engine.md 2.2); host bits under a mask are cleared."""
    try:
        return parse_network(text(value))[0]
    except ValueError as error:
        raise ValueError(f"{_shown(value)}: {error}") from None


def endpoint(value: object) -> Endpoint:
    """Read ``address:port`` or ``[address]:port``."""
    written = text(value)
    host, colon, port = written.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host) != bracketed:
        raise ValueError(f'{written!r}: an address with its port is wanted ("127.0.0.1:4870", "[::1]:4870")')
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{written!r}: the port is a number from 1 to 65535, or 0 for a free one")
    try:
        packed = parse_address(host.strip("[]"))
    except ValueError as error:
        raise ValueError(f"{written!r}: {error}") from None
    return Endpoint(format_address(packed), int(port))


def number_prefix(value: object) -> str:
    """Read a prefix of telephone numbers, in normal form (engine.md 2.1)."""
    written = text(value)
    try:
        prefix = normal_number(written)
    except ValueError as error:
        raise ValueError(f"{written!r}: {error}") from None
    if not prefix:
        raise ValueError(f"{written!r}: nothing is left of it in normal form (a leading + is always dropped)")
    return prefix


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    return repr(value)


def _item_label(key: str, number: int, item: Mapping[str, object]) -> str:
    name = item.get("name")
    return f"[[{key}]] {name!r}" if isinstance(name, str) and name else f"[[{key}]] number {number}"
