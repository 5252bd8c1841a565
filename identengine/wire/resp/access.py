"""Authentication in RESP2: ``AUTH``, or ``HELLO`` with ``AUTH`` (interfaces.md 4). No I/O.

The password is the token of a switch. Errors are worded as those of Redis, since clients recognise them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from identengine.wire.resp.framer import words_of
from identengine.wire.resp.writers import OK
from identengine.wire.session import Session

NO_AUTH = b"-NOAUTH Authentication required.\r\n"
WRONG_PASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
NO_TOKENS = (
    b"-ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?\r\n"
)
"""The error if no switch at the address of the connection has a token."""
_DEFAULT = b"default"
_AUTH, _ARGUMENTS = b"auth", 2
_MOST_COMMANDS = 4
"""Number of ``AUTH`` in the first bytes of a connection whose arguments are compared."""


def authenticate(user: bytes, password: bytes, session: Session, on_wrong_token: Callable[[str], None]) -> bytes:
    """Make the session the switch that has the token ``password``. Return the answer.

    ``user`` is ``default`` or the name of the switch. ``on_wrong_token`` gets the address of a wrong token.
    """
    token = password.decode(errors="surrogateescape")
    found = session.switch_of(token)
    if found is not None and user in (_DEFAULT, found.name.encode()) and session.authenticate(token):
        return OK
    on_wrong_token(session.host)
    return WRONG_PASS if session.checks_tokens or user != _DEFAULT else NO_TOKENS


def shows_token(begun: bytes, session: Session) -> bool | None:
    """Return True if the first bytes of a connection hold a right token, False if only wrong ones, or None.

    The bytes are only searched for ``AUTH``, so the token may also be in a wrong place.
    """
    found: bool | None = None
    at, lowered = 0, begun.lower()
    for _ in range(_MOST_COMMANDS):
        at = lowered.find(_AUTH, at) + len(_AUTH)
        if at < len(_AUTH):
            break
        for argument in _arguments(begun, at):
            if session.switch_of(argument.decode(errors="surrogateescape")) is not None:
                return True
            found = False
    return found


def _arguments(begun: bytes, at: int) -> Iterator[bytes]:
    """Yield the arguments behind ``AUTH``: bulk strings, or words of an inline command."""
    if begun[at : at + 3] != b"\r\n$":
        end = begun.find(b"\n", at)
        yield from (words_of(begun[at : end if end >= 0 else len(begun)]) or [])[:_ARGUMENTS]
        return
    at += 2
    for _ in range(_ARGUMENTS):
        line = begun.find(b"\r\n", at, at + 8)
        size = begun[at + 1 : line]
        if line < 0 or begun[at : at + 1] != b"$" or not size.isdigit():
            return
        end = line + 2 + int(size)
        yield begun[line + 2 : end]
        at = end + 2
