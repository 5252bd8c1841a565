"""Readers for the kinds of values in the config, and the table that names every mistake with its key.

A reader takes a value of TOML and returns the value that the program uses. It raises ValueError with the whole
message. Keys are defined in :mod:`identengine.config.sections`, not here.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from identengine.config.secret import Secret, bare
from identengine.errors import expected, nearest, one_of, quoted
from identengine.model.addresses import Network, format_address, parse_address, parse_network
from identengine.model.numbers import normal_number

_LISTED = 20
"""Largest number of wrong items of one list that a message names."""

_BEARER = re.compile(r"[ -~]+")
_LOWER_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

T = TypeVar("T")
Reader = Callable[[object], T]


class Endpoint(msgspec.Struct, frozen=True):
    """An address and port to listen on. With port 0 the system chooses a free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Table:
    """One table of the config. It reads each key once and collects the mistakes.

    ``label`` names the table in messages (``[listen]``). All tables of a config share ``problems``. Secrets in
    environment variables are read at once only if ``serving`` is set.
    """

    def __init__(
        self, label: str, values: Mapping[str, object], problems: list[str], *, serving: bool = True
    ) -> None:
        self.label = label
        self.values = values
        self.problems = problems
        self.serving = serving
        self._known: list[str] = []

    def take(self, key: str, reader: Reader[T], default: T) -> T:
        """Return the value of ``key`` from its reader, or ``default`` if the key is not set or wrong."""
        self._known.append(key)
        if key not in self.values:
            return default
        value = self.values[key]
        try:
            found = reader(value)
            if self.serving and isinstance(found, Secret):
                found.resolve()
        except ValueError as error:
            self.complain(key, str(error))
            return default
        return found

    def has(self, key: str) -> bool:
        """Return True if the config sets this key."""
        return key in self.values

    def table(self, key: str, label: str | None = None) -> Table:
        """Return the table ``key``, or an empty one if it is not set or not a table."""
        self._known.append(key)
        label = label or f"[{key}]"
        value = self.values.get(key, {})
        if not isinstance(value, Mapping):
            self.problems.append(f"{label}: {mistake('a table', value)}")
            value = {}
        return Table(label, value, self.problems, serving=self.serving)

    def tables(self, key: str) -> list[Table] | None:
        """Return the tables ``[[key]]``, or None if the key is not set. Tables without a name are numbered."""
        self._known.append(key)
        if key not in self.values:
            return None
        value = self.values[key]
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            self.problems.append(f"[[{key}]]: expected tables with a heading of double brackets, [[{key}]]")
            return []
        return [
            Table(_item_label(key, number, item), item, self.problems, serving=self.serving)
            for number, item in enumerate(value, 1)
        ]

    def complain(self, key: str, text: str) -> None:
        """Add a mistake of one key."""
        self.problems.append(f"{self.label} {bare(key)}: {text}")

    def not_served(self, keys: Iterable[str], warnings: list[str]) -> None:
        """Warn of each key that is set but not served by this version. False and an empty list need no warning."""
        warnings.extend(
            f"{self.label} {key}: not served by this version yet, so it has no effect"
            for key in keys
            if self.has(key) and self.values[key] is not False and self.values[key] != []
        )

    def moved(self, keys: Iterable[str], place: str) -> None:
        """Add a mistake for each key that an earlier version read here, and that is now in the table ``place``."""
        for key in keys:
            if self.has(key):
                self._known.append(key)
                self.complain(key, f"this key has moved. Set it in {place}.")

    def close(self) -> None:
        """Add a mistake for each key that was not read, with the nearest key or else all keys."""
        for key in self.values:
            if key not in self._known:
                near = nearest(key, self._known, likeness=0.5)
                hint = f"did you mean {near}?" if near else f"the keys are {', '.join(self._known)}"
                self.complain(key, f"no such key; {hint}")


def mistake(what: str, value: object) -> str:
    """Return the message for a wrong value. A list or table is not quoted: it is long, and can hold a secret."""
    if isinstance(value, list):
        return f"expected {what}, got {'a list' if value else 'an empty list'}"
    return f"expected {what}, got a table" if isinstance(value, Mapping) else expected(what, value)


def text(value: object) -> str:
    """Read a string that is not blank and has no NUL, which system calls do not accept."""
    if not isinstance(value, str):
        raise ValueError(mistake("a string in quotes", value))  # noqa: TRY004 - readers raise ValueError alone
    if not value.strip():
        raise ValueError(mistake("a string that is not blank", value))
    if "\0" in value:
        raise ValueError(mistake("a string without NUL characters", value))
    return value.strip()


LONGEST_WORD = 100
"""Longest name or scope of a switch, in characters. LMDB accepts keys of at most 511 bytes."""


def word(value: object) -> str:
    """Read a string for a line of the log and a key of LMDB: printable, and at most LONGEST_WORD long."""
    written = text(value)
    if len(written) > LONGEST_WORD:
        raise ValueError(expected(f"at most {LONGEST_WORD} characters", len(written)))
    if not written.isprintable():
        raise ValueError(mistake("printable characters", value))
    return written


def normal_certificate_name(name: str) -> str:
    """Return a name in a certificate in the form in which names are compared.

    ASCII letters become lower case, and the dot at the end of a complete DNS name is dropped. Other characters
    stay, since some capital letters outside ASCII have an ASCII letter as their lower case.
    """
    return name.translate(_LOWER_CASE).removesuffix(".")


def certificate_name(value: object) -> str:
    """Read the name in a client certificate that a switch must have."""
    name = normal_certificate_name(text(value))
    if not (name.isascii() and name.isprintable()):
        raise ValueError(
            mistake("printable ASCII; a DNS name with other letters has a form that begins with xn--", value)
        )
    if "*" in name:
        raise ValueError(mistake("the whole name without a wildcard, since it must be one switch", value))
    if not name:
        raise ValueError(mistake("a name", value))
    return name


def boolean(value: object) -> bool:
    """Read ``true`` or ``false``."""
    if not isinstance(value, bool):
        raise ValueError(mistake("true or false without quotes", value))  # noqa: TRY004 - as above
    return value


def integer(low: int, high: int) -> Reader[int]:
    """Return a reader of integers from ``low`` to ``high``, both included."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(mistake(f"an integer from {low} to {high}", value))
        return value

    return read


def number(low: float, high: float) -> Reader[float]:
    """Return a reader of numbers with or without decimals from ``low`` to ``high``, both included."""

    def read(value: object) -> float:
        # The comparison is false for nan.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(mistake(f"a number from {low} to {high}", value))
        return float(value)

    return read


def choice(*allowed: T) -> Reader[T]:
    """Return a reader of one of the values ``allowed``."""

    def read(value: object) -> T:
        for one in allowed:
            if value == one and type(value) is type(one):
                return one
        # The message lists all values without a guess. Some of them decide which calls pass, and the most similar
        # word can be the opposite of the intended one ("no" is most similar to "normal").
        raise ValueError(mistake(one_of(allowed), value))

    return read


def items(reader: Reader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of a list without repeats. ``reader`` reads each item."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(mistake("a list in [ ]", value))  # noqa: TRY004 - as above
        found: dict[T, None] = {}
        wrong: list[str] = []
        for item in value:
            try:
                one = reader(item)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if one in found:
                wrong.append(f"{quoted(item)} is in the list twice")
            found[one] = None
        if wrong:
            more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
            raise ValueError("; ".join(wrong[:_LISTED]) + more)
        return tuple(found)

    return read


def path_below(folder: Path) -> Reader[Path]:
    """Return a reader of paths. Relative paths start at ``folder``, the folder of the config."""

    def read(value: object) -> Path:
        written = text(value)
        try:
            return folder / Path(written).expanduser()
        except RuntimeError:
            raise ValueError(expected("~ before the name of a user with a home folder", written)) from None

    return read


def secret(value: object) -> Secret:
    """Read a secret: a string, or ``{ env = "NAME" }`` for the value of an environment variable.

    The variable itself is read when the secret is resolved.
    """
    if isinstance(value, Mapping):
        name = value.get("env")
        if set(value) != {"env"} or not isinstance(name, str) or not name:
            raise ValueError(expected('a string or { env = "NAME" }'))
        return Secret(None, name)
    if not isinstance(value, str) or not value:
        what = 'a string or { env = "NAME" }'
        raise ValueError(expected(what, "") if value == "" else expected(what))
    return Secret(value)


def switch_token(value: object) -> Secret:
    """Read the token of a switch. Raise ValueError if blanks or line ends surround it.

    Such characters come from a file or a copied line, and no switch sends them.
    """
    return secret(value).checked(partial(_without_blanks, "a token"))


def shared_secret(value: object) -> Secret:
    """Read the RADIUS secret of a switch. Raise ValueError if blanks or line ends surround it."""
    return secret(value).checked(partial(_without_blanks, "a secret"))


def bearer(value: object) -> Secret:
    """Read a token that a program can send in an HTTP header."""
    return switch_token(value).checked(_printable)


def _without_blanks(kind: str, found: Secret) -> None:
    if found.reveal() != found.reveal().strip():
        place = "here" if found.variable is None else f"from the environment variable {bare(found.variable)}"
        raise ValueError(f"{expected(f'{kind} without blanks or line ends around it')}. Remove them {place}.")


def _printable(found: Secret) -> None:
    if not _BEARER.fullmatch(found.reveal()):
        raise ValueError(expected("printable ASCII, because HTTP sends the token in a header"))


def network(value: object) -> Network:
    """Read an address or a network (engine.md 2.2). Host bits under the mask are cleared."""
    return parse_network(text(value))[0]


def endpoint(value: object) -> Endpoint:
    """Read ``address:port`` or ``[address]:port``."""
    written = text(value)
    host, colon, port = written.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host) != bracketed:
        raise ValueError(expected("an address with a port (127.0.0.1:4870, [::1]:4870)", written))
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(expected("a port from 1 to 65535, or 0 for any free port", written))
    return Endpoint(format_address(parse_address(host.strip("[]"))), int(port))


def number_prefix(value: object) -> str:
    """Read a prefix of telephone numbers, in normal form (engine.md 2.1)."""
    prefix = normal_number(text(value))
    if not prefix:
        raise ValueError(expected("a prefix of a number in normal form, which has no leading +", value))
    return prefix


def _item_label(key: str, number: int, item: Mapping[str, object]) -> str:
    name = item.get("name")
    return f"[[{key}]] {quoted(name)}" if isinstance(name, str) and name else f"[[{key}]] number {number}"
