"""What one value of the config may be: a reader for each kind, and a table that names every mistake with its key.

A reader takes what TOML gave and returns what the program uses, or raises ValueError with what would be right.
Nothing here knows a key of the config; :mod:`identengine.config.sections` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import msgspec

from identengine.errors import expected
from identengine.model.addresses import Network, format_address, parse_address, parse_network
from identengine.model.numbers import normal_number

_SHOWN = 100
"""Characters of a wrong value that a message shows."""

_LISTED = 20
"""Wrong items of one list that a message names."""

_BEARER = re.compile(r"[ -~]+")

T = TypeVar("T")
Reader = Callable[[object], T]


class Secret:
    """A text that no log, list or traceback may show: only :meth:`reveal` gives it.

    ``variable`` is the environment variable that it came from, None where it stands in the config itself.
    """

    __slots__ = ("_text", "variable")

    def __init__(self, text: str, variable: str | None = None) -> None:
        self._text = text
        self.variable = variable

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
        self.problems.append(f"{self.label} {bare(key)}: {text}")

    def not_served(self, keys: Iterable[str], warnings: list[str]) -> None:
        """Warn of each key that the operator set and that this version does not serve; what turns off is fine."""
        warnings.extend(
            f"{self.label} {key}: not yet served by this version"
            for key in keys
            if self.has(key) and self.values[key] is not False and self.values[key] != []
        )

    def close(self) -> None:
        """Complain of each key that nobody took, with the name that it is nearest to, or all that there are."""
        for key in self.values:
            if key not in self._known:
                near = get_close_matches(key, self._known, n=1, cutoff=0.5)
                right = f"{near[0]} is the nearest name" if near else f"there are {', '.join(self._known)}"
                self.complain(key, f"no such key; {right}")


def text(value: object) -> str:
    """Read a text that is not empty; no system call takes one with a NUL in it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a text in quotes is wanted, not {_shown(value)}")
    if "\0" in value:
        raise ValueError(f"a text without the character NUL is wanted, not {_shown(value)}")
    return value.strip()


LONGEST_WORD = 100
"""Characters; LMDB takes keys of 511 bytes."""


def word(value: object) -> str:
    """Read a text that can stand in a line of the log and in a key of LMDB: printable, not long."""
    written = text(value)
    if len(written) > LONGEST_WORD:
        raise ValueError(f"at most {LONGEST_WORD} characters are wanted, not {len(written)}")
    if not written.isprintable():
        raise ValueError(f"printable characters alone are wanted, not {_shown(value)}")
    return written


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
        # All of them, and no guess: some decide who gets in, and the likest word may be the opposite of what was
        # meant ("no" is likest to "normal").
        names = ", ".join(_shown(one) for one in allowed)
        raise ValueError(f"one of {names} is wanted, not {_shown(value)}")

    return read


def items(reader: Reader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of a list without repeats, each of whose items ``reader`` reads."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(f"a list in [ ] is wanted, not {_shown(value)}")  # noqa: TRY004 - as above
        found: dict[T, None] = {}
        wrong: list[str] = []
        for item in value:
            try:
                one = reader(item)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if one in found:
                wrong.append(f"{_shown(item)} stands there twice")
            found[one] = None
        if wrong:
            more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
            raise ValueError("; ".join(wrong[:_LISTED]) + more)
        return tuple(found)

    return read


def path_below(folder: Path) -> Reader[Path]:
    """Return a reader of paths; relative ones are relative to ``folder``, the config's own."""

    def read(value: object) -> Path:
        written = text(value)
        try:
            return folder / Path(written).expanduser()
        except RuntimeError:
            raise ValueError(f"{_shown(written)}: ~ stands for the home of a user, and none is known") from None

    return read


def secret(value: object) -> Secret:
    """Read a secret: a text, or ``{ env = "NAME" }``, the value of an environment variable."""
    if isinstance(value, Mapping):
        name = value.get("env")
        if set(value) != {"env"} or not isinstance(name, str) or not name:
            raise ValueError(expected('a text or { env = "NAME" }'))
        found = os.environ.get(name)
        if not found:
            what = "not set" if found is None else "empty"
            raise ValueError(f"the environment variable {bare(name)} is {what}; set it to the secret")
        return Secret(found, name)
    if not isinstance(value, str) or not value:
        raise ValueError(expected('a text or { env = "NAME" }'))
    return Secret(value)


def switch_token(value: object) -> Secret:
    """Read the token of a switch. Raise ValueError if it has blanks or line ends around it.

    A switch has no reason to send them: they are left over from a file or a copied line.
    """
    found = secret(value)
    if found.reveal() != found.reveal().strip():
        place = "here" if found.variable is None else f"from the environment variable {bare(found.variable)}"
        raise ValueError(f"{expected('a token without blanks or line ends around it')}; remove them {place}")
    return found


def bearer(value: object) -> Secret:
    """Read a token that a program can send in a header of HTTP."""
    found = switch_token(value)
    if not _BEARER.fullmatch(found.reveal()):
        raise ValueError(f"{expected('printable ASCII')}, since HTTP sends the token in a header")
    return found


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
        raise ValueError(f'{_shown(written)}: an address with its port is wanted ("127.0.0.1:4870", "[::1]:4870")')
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{_shown(written)}: the port is a number from 1 to 65535, or 0 for a free one")
    try:
        packed = parse_address(host.strip("[]"))
    except ValueError as error:
        raise ValueError(f"{_shown(written)}: {error}") from None
    return Endpoint(format_address(packed), int(port))


def number_prefix(value: object) -> str:
    """Read a prefix of telephone numbers, in normal form (engine.md 2.1)."""
    written = text(value)
    try:
        prefix = normal_number(written)
    except ValueError as error:
        raise ValueError(f"{_shown(written)}: {error}") from None
    if not prefix:
        raise ValueError(
            f"{_shown(written)}: nothing is left of it in normal form (a leading + is always dropped)"
        )
    return prefix


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, int) and value.bit_length() > 128:
        return "an integer of very many digits"  # Python refuses to print one
    written = repr(value) if isinstance(value, str) else str(value)
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}…"


def bare(key: str) -> str:
    """Return a key as messages name it: as it stands, unless that would break the line or fill the screen."""
    return key if key.isprintable() and len(key) <= _SHOWN else _shown(key)


def _item_label(key: str, number: int, item: Mapping[str, object]) -> str:
    name = item.get("name")
    return f"[[{key}]] {_shown(name)}" if isinstance(name, str) and name else f"[[{key}]] number {number}"
