"""Both forms of the client have the same methods, with one body for both."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from identengine.client import BlockingClient, Client
from identengine.client.blocking import _finished
from identengine.wire.jsonrpc.methods import METHODS

ASKED = sorted(METHODS.keys() - {"auth"})


@pytest.mark.parametrize("name", ASKED)
def test_a_blocking_method_is_the_coroutine_of_that_name(name: str) -> None:
    blocking, awaited = getattr(BlockingClient, name), getattr(Client, name)
    assert inspect.unwrap(blocking) is awaited
    assert not inspect.iscoroutinefunction(blocking)
    assert inspect.signature(blocking) == inspect.signature(awaited)
    assert inspect.getdoc(blocking)


def test_a_coroutine_that_suspends_is_a_fault_and_is_closed() -> None:
    ended = False

    async def suspends() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(0)
        finally:
            ended = True

    with pytest.raises(RuntimeError, match="suspended"):
        _finished(suspends())
    assert ended
