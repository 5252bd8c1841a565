"""The orders of the messages of a connection."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from identengine.loadgen.order import AsWritten, OneOfACall, Source
from identengine.loadgen.pattern import Pattern
from identengine.loadgen.protocols import JsonRpc


def source(passes: int | None) -> Source:
    interface = JsonRpc("json", None, stream=True)
    lines = [
        Pattern(
            lambda number, params: interface.render("stop", params, number), {"call_id": text}, random.Random(1)
        )
        for text in ("{n}", "{n}", "{n-3}")
    ]
    return Source(lines, 0, 1, passes)


@pytest.mark.parametrize("window", [1, 2, 7, 1000])
def test_one_message_of_a_call_is_in_flight(window: int) -> None:
    chance, order = random.Random(window), OneOfACall(source(50))
    flying: list[int] = []
    sent: list[tuple[int, int]] = []
    while not (order.finished and not flying):
        while len(flying) < window and (message := order.next()) is not None:
            assert message[1] not in flying
            sent.append(message)
            flying.append(message[1])
        if flying:
            order.done(flying.pop(chance.randrange(len(flying))))
    assert Counter(sent) == {(line, n): 1 for line in range(3) for n in range(50)}
    for n in range(50):
        assert [line for line, call in sent if call == n] == [0, 1, 2]
    assert order.next() is None


def test_an_endless_source_always_has_a_next_message() -> None:
    order = OneOfACall(source(None))
    calls = [message[1] for _ in range(100) if (message := order.next())]
    assert calls == list(range(100))
    assert not order.finished


def test_the_written_order() -> None:
    order = AsWritten(source(4))
    messages = []
    while (message := order.next()) is not None:
        messages.append(message)
        assert not order.finished
    assert messages == list(source(4))
    assert order.finished
