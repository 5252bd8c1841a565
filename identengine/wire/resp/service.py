"""The commands of RESP2 that concern a connection or the server, not a call (interfaces.md 4). No I/O.

Clients of Redis send these commands on their own. Names are compared without case. The answers and errors are
those of Redis, if Redis has them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import NamedTuple, TypeAlias

from identengine.engine.core import Engine
from identengine.errors import nearest, quoted
from identengine.wire.codes import BAD_PARAMS, INVALID_REQUEST, NO_SUCH_METHOD
from identengine.wire.program import VERSION
from identengine.wire.resp.access import NO_AUTH, authenticate
from identengine.wire.resp.writers import NIL, OK, bulk, error, value_of
from identengine.wire.session import Session

LONGEST_NAME = 32
"""Longest name that is compared with the commands, in characters: a comparison costs time."""
LONGEST_CLIENT_NAME = 256
"""Longest name of a connection, in bytes."""
_RESP2 = 2
_numbers = count(1)


class Client:
    """The state of one connection."""

    __slots__ = ("name", "number", "quits")

    def __init__(self) -> None:
        self.number = next(_numbers)
        """The number of the connection, which no other has in this process."""
        self.name = b""
        self.quits = False
        """True if the connection must be closed after the next answer."""


class Wrong(NamedTuple):
    """The answer to wrong use."""

    code: int
    """The code by which the message is counted (interfaces.md 3, "Errors")."""
    answer: bytes
    field: str | None = None
    """The field that is wrong."""


Answer: TypeAlias = bytes | Wrong
Run: TypeAlias = Callable[[Sequence[bytes], Client, Session], Answer]


class Command(NamedTuple):
    """A command of this module."""

    run: Run
    least: int
    """Smallest number of arguments."""
    most: int
    """Largest number of arguments."""


def wrong_arity(name: str) -> Wrong:
    """Return the error of a command with too few or too many arguments."""
    return Wrong(INVALID_REQUEST, error(f"wrong number of arguments for '{name.lower()}' command"))


class Service:
    """The commands of this module, by name.

    ``uptime`` returns the seconds since the process began to serve. ``on_wrong_token`` is called with the address
    of each wrong token. ``others`` are the names of the commands that ask the engine, with their arity as
    ``COMMAND`` describes it.
    """

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        on_wrong_token: Callable[[str], None],
        others: Mapping[str, int],
    ) -> None:
        self._engine, self._uptime, self._on_wrong_token = engine, uptime, on_wrong_token
        any_number = 1 << 30
        self.commands: dict[str, Command] = {
            "AUTH": Command(self._auth, 1, 2),
            "HELLO": Command(self._hello, 0, any_number),
            "QUIT": Command(self._quit, 0, any_number),
            "PING": Command(self._ping, 0, 1),
            "ECHO": Command(self._echo, 1, 1),
            "SELECT": Command(self._select, 1, 1),
            "CLIENT": Command(self._client, 1, any_number),
            "COMMAND": Command(self._command, 0, any_number),
            "INFO": Command(self._info, 0, any_number),
        }
        self._open = frozenset(("AUTH", "HELLO", "QUIT"))
        """The commands that need no authentication."""
        self._arity = {name.lower(): arity for name, arity in others.items()}
        """By name in small letters: the number of words of a command, or the smallest number as a negative one."""
        for name, command in self.commands.items():
            exact = command.least == command.most
            self._arity[name.lower()] = command.least + 1 if exact else -(command.least + 1)

    def answer(
        self, name: str, arguments: Sequence[bytes], client: Client, session: Session, *, suggests: bool
    ) -> Answer:
        """Return the answer to a command, whose name is in capitals. ``suggests`` lets errors name the nearest."""
        command = self.commands.get(name)
        if session.peer is None and name not in self._open:
            return Wrong(BAD_PARAMS, NO_AUTH, "token")
        if command is None:
            return self._unknown(name, suggests=suggests)
        if not command.least <= len(arguments) <= command.most:
            return wrong_arity(name)
        return command.run(arguments, client, session)

    def _unknown(self, name: str, *, suggests: bool) -> Wrong:
        # Arguments are not quoted as Redis does, since they can hold a password.
        choices = [known.upper() for known in self._arity]
        meant = nearest(name, choices) if suggests and len(name) <= LONGEST_NAME else None
        hint = f"; did you mean {meant}?" if meant else ""
        return Wrong(NO_SUCH_METHOD, error(f"unknown command {quoted(name)}{hint}"))

    # ---- the commands

    def _auth(self, arguments: Sequence[bytes], _: Client, session: Session) -> Answer:
        *user, password = arguments
        return self._authenticated(user[0] if user else b"default", password, session)

    def _authenticated(self, user: bytes, password: bytes, session: Session) -> Answer:
        answer = authenticate(user, password, session, self._on_wrong_token)
        return OK if answer is OK else Wrong(BAD_PARAMS, answer, "token")

    def _hello(self, arguments: Sequence[bytes], client: Client, session: Session) -> Answer:
        if arguments and (not arguments[0].isdigit() or int(arguments[0][:8]) != _RESP2):
            if not arguments[0].isdigit():
                return Wrong(BAD_PARAMS, error("Protocol version is not an integer or out of range"))
            return Wrong(BAD_PARAMS, error("unsupported protocol version", "NOPROTO"))
        rest, name = list(arguments[1:]), client.name
        while rest:
            option = rest.pop(0).upper()
            if option == b"AUTH" and len(rest) > 1:
                answer = self._authenticated(rest.pop(0), rest.pop(0), session)
                if answer is not OK:
                    return answer
            elif option == b"SETNAME" and rest:
                name = rest.pop(0)
            else:
                return Wrong(BAD_PARAMS, error("Syntax error in HELLO option"))
        if session.peer is None:
            return Wrong(BAD_PARAMS, error("HELLO needs HELLO 2 AUTH default TOKEN", "NOAUTH"), "token")
        if name is not client.name and (wrong := self._named(name, client)) is not OK:
            return wrong
        return value_of([
            *("server", "identengine", "version", VERSION, "proto", _RESP2, "id", client.number),
            *("mode", "standalone", "role", "master", "modules", []),
        ])  # fmt: skip

    def _quit(self, _: Sequence[bytes], client: Client, __: Session) -> Answer:
        client.quits = True
        return OK

    def _ping(self, arguments: Sequence[bytes], _: Client, __: Session) -> Answer:
        return bulk(arguments[0]) if arguments else b"+PONG\r\n"

    def _echo(self, arguments: Sequence[bytes], _: Client, __: Session) -> Answer:
        return bulk(arguments[0])

    def _select(self, arguments: Sequence[bytes], _: Client, __: Session) -> Answer:
        if not arguments[0].isdigit():
            return Wrong(BAD_PARAMS, error("invalid DB index"))
        return OK if not arguments[0].strip(b"0") else Wrong(BAD_PARAMS, error("DB index is out of range"))

    def _client(self, arguments: Sequence[bytes], client: Client, _: Session) -> Answer:
        name, *rest = arguments
        subcommand = name.upper()
        arity = {b"ID": 0, b"GETNAME": 0, b"SETNAME": 1, b"SETINFO": 2}.get(subcommand)
        if arity is None:
            shown = quoted(name.decode(errors="replace"))
            return Wrong(
                NO_SUCH_METHOD, error(f"unknown subcommand {shown}. Try ID, GETNAME, SETNAME or SETINFO.")
            )
        if len(rest) != arity:
            return wrong_arity(f"client|{subcommand.decode()}")
        if subcommand == b"ID":
            return value_of(client.number)
        if subcommand == b"GETNAME":
            return bulk(client.name) if client.name else NIL
        return self._named(rest[0], client) if subcommand == b"SETNAME" else OK

    def _named(self, name: bytes, client: Client) -> Answer:
        if len(name) > LONGEST_CLIENT_NAME or not all(0x21 <= byte <= 0x7E for byte in name):
            return Wrong(BAD_PARAMS, error("Client names cannot contain spaces, newlines or special characters."))
        client.name = name
        return OK

    def _command(self, arguments: Sequence[bytes], _: Client, __: Session) -> Answer:
        if not arguments:
            return self._described([*self._arity])
        name, *rest = arguments
        subcommand = name.upper()
        if subcommand == b"COUNT":
            return value_of(len(self._arity))
        if subcommand == b"LIST":
            return value_of([*self._arity])
        if subcommand == b"DOCS":
            return value_of([])
        if subcommand == b"INFO":
            named = [one.decode(errors="replace").lower() for one in rest[: len(self._arity)]]
            return self._described(named or [*self._arity])
        shown = quoted(name.decode(errors="replace"))
        return Wrong(NO_SUCH_METHOD, error(f"unknown subcommand {shown}. Try COUNT, LIST, DOCS or INFO."))

    def _described(self, names: Sequence[str]) -> bytes:
        """Return commands as ``COMMAND`` describes them: name, arity, flags, and the places of keys."""
        known = self._arity
        return value_of([[name, known[name], ["fast"], 0, 0, 0] if name in known else None for name in names])

    def _info(self, _: Sequence[bytes], __: Client, ___: Session) -> Answer:
        book = self._engine.book
        facts = {
            "identengine_version": VERSION,
            "process_id": os.getpid(),
            "uptime_in_seconds": int(self._uptime()),
            "book_version": "" if book is None else book.version,
        }
        lines = ["# Server", *(f"{name}:{value}" for name, value in facts.items()), ""]
        return bulk("\r\n".join(lines).encode())
