"""Tokens in the first bytes of a connection."""

from __future__ import annotations

import pytest
from unit.wire.resp.session import TOKEN, Asked, array

from identengine.wire.resp.access import shows_token

INLINE = f"AUTH {TOKEN}\r\n".encode()


@pytest.mark.parametrize(
    ("begun", "found"),
    [
        (array("AUTH", TOKEN), True),
        (array("auth", "sbc2", TOKEN), True),
        (array("PING") + array("HELLO", "2", "AUTH", "default", TOKEN), True),
        (INLINE, True),
        (b"PING\r\nauth default " + INLINE[5:], True),
        (array("AUTH", "hush") + array("AUTH", TOKEN), True),
        (array("AUTH", "hush"), False),
        (b"AUTH hush\r\n", False),
        (array("AUTH", TOKEN)[:-6], False),
        (array("PING"), None),
        (b"AUTH", None),
        (b"*2\r\n$4\r\nAUTH\r\n$", None),
        (b"*2\r\n$4\r\nAUTH\r\n$x\r\nabc", None),
        (b"AUTH '", None),
        (b"auth" * 1000, False),
        (b"", None),
    ],
)
def test_first_bytes(begun: bytes, found: bool | None) -> None:
    session = Asked().connect(tokens=True).session
    assert shows_token(begun, session) is found


def test_the_search_is_bounded() -> None:
    session = Asked().connect(tokens=True).session
    assert shows_token(array("AUTH", "x") * 4 + array("AUTH", TOKEN), session) is False
