"""The decider's side of the reader process of the book: starting it and reading its output.

The process itself is :mod:`identengine.server.decider.bookstream`. Rule: every failure of the process, or of the
store's disk, becomes a StoreError here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from identengine.errors import StoreError
from identengine.model.options import IdentifyOptions

READER_SECONDS = 30.0
"""Longest silence of a reader, in seconds. Output is a matter of milliseconds, unless the disk or the reader
hangs."""
_READ = 65536

T = TypeVar("T")


def start_reader(store: Path, options: IdentifyOptions, served: int) -> subprocess.Popen[bytes]:
    """Start a process that writes the newest version of the book to its standard output.

    ``served`` is the version that the decider serves, or 0.
    """
    # Popen starts by vfork, which does not copy the page tables of a large book as a fork would.
    root = str(Path(__file__).resolve().parents[3])
    inherited = os.environ.get("PYTHONPATH")
    return subprocess.Popen(  # noqa: S603 - our own module, no shell
        [
            sys.executable,
            "-P",  # imports nothing from the working folder
            "-m",
            "identengine.server.decider.bookstream",
            str(store.absolute()),
            "head",
            str(served),
            *options.international_prefixes,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root},
    )


async def chunks(process: subprocess.Popen[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the output of a reader. Raise StoreError if the reader fails or is silent for too long."""
    assert process.stdout is not None  # noqa: S101 - both are pipes
    assert process.stderr is not None  # noqa: S101 - as above
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2 * _READ)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
    try:
        while chunk := await _within(reader.read(_READ)):
            yield chunk
        status = await _within(exit_status(process))
    finally:
        transport.close()
        with contextlib.suppress(OSError):
            os.set_blocking(process.stderr.fileno(), False)
        errors = (process.stderr.read() or b"").decode(errors="replace").strip().splitlines()
        process.stderr.close()
    if status:
        raise StoreError(f"the book cannot be read from the store: {_failure(status, errors)}")


def _failure(status: int, errors: list[str]) -> str:
    """Return the reason why a reader failed: the last line of its standard error, unless a signal killed it."""
    if status > 0:
        return errors[-1] if errors else f"its reader exited with status {status}"
    if -status in (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT):
        return (
            f"signal {-status} killed its reader, as a damaged or truncated file does. `identengine store check` "
            "names the sound versions, and `identengine rollback N` restores one. Without a sound version, put a "
            "copy of the store in its place."
        )
    return f"signal {-status} killed its reader. Check whether memory was short."


async def _within(awaited: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(READER_SECONDS):
            return await awaited
    except TimeoutError:
        raise StoreError(
            f"the book cannot be read from the store: its reader made no progress for {READER_SECONDS:.0f} s. "
            "Check whether the disk or another process hangs."
        ) from None


async def exit_status(process: subprocess.Popen[bytes]) -> int:
    """Wait until a process has exited, and return its exit status."""
    while True:
        status = process.poll()
        if status is not None:
            return status
        await asyncio.sleep(0.001)
