"""The messages of a hand-over: the running server may be an older version of the program."""

from __future__ import annotations

import msgspec
import pytest

from identengine.server.supervisor.handover import (
    Alive,
    Commit,
    No,
    Offer,
    TakeoverDone,
    TakeoverRequest,
    Yours,
)
from identengine.server.supervisor.lock import PROTOCOL


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (TakeoverRequest(1, (1, 3)), {"type": "Ask", "protocol": 1, "reads": [1, 3]}),
        (
            Offer([("udp", "127.0.0.1:4870")], more=False, mirror=3),
            {"type": "Offer", "names": [["udp", "127.0.0.1:4870"]], "more": False, "mirror": 3},
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


def test_messages_of_programs_that_did_not_name_formats() -> None:
    """Programs without these fields wrote format 3 of the mirror, and read the formats 2 and 3."""
    ask = msgspec.msgpack.decode(msgspec.msgpack.encode({"type": "Ask", "protocol": 1}), type=TakeoverRequest)
    assert ask.reads == (2, 3)
    sent = msgspec.msgpack.encode({"type": "Offer", "names": [], "more": False})
    assert msgspec.msgpack.decode(sent, type=Offer).mirror == 3
