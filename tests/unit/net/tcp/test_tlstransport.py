"""The turns of handshake steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from identengine.net.tcp.tlstransport import HandshakePacer


def ran(prepare: Callable[[HandshakePacer, list[str]], None], count: int) -> list[str]:
    """Return the first ``count`` steps that a pacer makes."""

    async def run() -> list[str]:
        made: list[str] = []
        pacer = HandshakePacer()
        prepare(pacer, made)
        async with asyncio.timeout(20):
            while len(made) < count:  # noqa: ASYNC110 - a step of another task appends
                await asyncio.sleep(0.001)
        pacer.close()
        return made[:count]

    return asyncio.run(run())


def test_sources_take_turns() -> None:
    def prepare(pacer: HandshakePacer, made: list[str]) -> None:
        for number in range(1000):
            pacer.queue(b"bad", number, lambda number=number: made.append(f"bad {number}"))  # type: ignore[misc]
        pacer.queue(b"good", "first", lambda: made.append("good"))
        pacer.queue(b"other", "first", lambda: made.append("other"))

    assert ran(prepare, 5) == ["bad 0", "good", "other", "bad 1", "bad 2"]


def test_steps_of_ended_connections_take_no_turn() -> None:
    def prepare(pacer: HandshakePacer, made: list[str]) -> None:
        for number in range(1000):
            pacer.queue(b"bad", number, lambda: made.append("bad"))
        pacer.queue(b"bad", "good", lambda: made.append("good"))
        for number in range(1000):
            pacer.drop(b"bad", number)
        pacer.drop(b"bad", "unknown")
        pacer.drop(b"unknown", "unknown")

    assert ran(prepare, 1) == ["good"]


def test_a_step_that_fails_does_not_end_the_others() -> None:
    failures: list[object] = []

    def fail() -> None:
        raise ValueError("a fault")

    def prepare(pacer: HandshakePacer, made: list[str]) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
        pacer.queue(b"one", 1, fail)
        pacer.queue(b"one", 2, lambda: made.append("good"))

    assert ran(prepare, 1) == ["good"]
    assert [str(each) for each in failures] == ["a fault"]


@pytest.mark.parametrize("queued", [0, 1])
def test_a_closed_pacer_makes_no_step(queued: int) -> None:
    async def run() -> list[int]:
        made: list[int] = []
        pacer = HandshakePacer()
        for number in range(queued):
            pacer.queue(b"one", number, lambda: made.append(1))
        pacer.close()
        await asyncio.sleep(0.01)
        return made

    assert asyncio.run(run()) == []
