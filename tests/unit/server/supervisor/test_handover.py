"""The messages of a hand-over: the running server may be an older version of the program."""

from __future__ import annotations

import msgspec
import pytest

from identengine.server.supervisor.handover import (
    PROTOCOL,
    Alive,
    Commit,
    No,
    Offer,
    TakeoverDone,
    TakeoverRequest,
    Yours,
)


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (TakeoverRequest(1), {"type": "Ask", "protocol": 1}),
        (
            Offer([("udp", "127.0.0.1:4870")], more=False),
            {"type": "Offer", "names": [["udp", "127.0.0.1:4870"]], "more": False},
        ),
        (Commit(), {"type": "Commit"}),
        (Yours(), {"type": "Yours"}),
        (Alive(), {"type": "Alive"}),
        (TakeoverDone(), {"type": "Done"}),
        (No("why"), {"type": "No", "why": "why"}),
    ],
)
def test_a_class_may_be_renamed_but_not_its_message(message: msgspec.Struct, sent: dict[str, object]) -> None:
    assert PROTOCOL == 1, "only a new protocol may change the messages"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message)) == sent
