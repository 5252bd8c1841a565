"""The waits of a decider in its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


def in_a_second(write: Callable[[], None]) -> None:
    """Call ``write`` in a second."""
    asyncio.get_running_loop().call_later(1.0, write)


def after(seconds: float, call: Callable[[], None]) -> None:
    """Call ``call`` after some seconds."""
    asyncio.get_running_loop().call_later(seconds, call)


async def first_of(*awaited: Coroutine[Any, Any, object]) -> None:
    """Wait until one of the coroutines has ended, and cancel the others. Raise its exception, if it has one."""
    tasks = [asyncio.ensure_future(one) for one in awaited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
