"""The reader process of the book, as the decider sees it: it starts one and takes what that writes.

The process itself is :mod:`identengine.server.decider.bookstream`. Whatever becomes of it, or of the store's disk,
ends in a StoreError here.
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
"""How long a reader may be silent. It is a matter of milliseconds, unless its disk or itself is stuck."""
_READ = 65536

T = TypeVar("T")


def start_reader(store: Path, options: IdentifyOptions) -> subprocess.Popen[bytes]:
    """Start a process that writes the newest version of the book to its standard output."""
    # Popen starts by vfork, which does not copy the page tables of a large book as a fork would.
    root = str(Path(__file__).resolve().parents[3])
    inherited = os.environ.get("PYTHONPATH")
    return subprocess.Popen(  # noqa: S603 - our own module, no shell
        [
            sys.executable,
            "-P",  # nothing that lies in the working folder is imported
            "-m",
            "identengine.server.decider.bookstream",
            str(store.absolute()),
            "head",
            *options.international_prefixes,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root},
    )


async def chunks(process: subprocess.Popen[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield what a reader writes; StoreError where it did not end well."""
    assert process.stdout is not None  # noqa: S101 - they are pipes
    assert process.stderr is not None  # noqa: S101 - as above
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2 * _READ)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
    try:
        while chunk := await _within(reader.read(_READ)):
            yield chunk
        status = await _within(ended(process))
    finally:
        transport.close()
        with contextlib.suppress(OSError):
            os.set_blocking(process.stderr.fileno(), False)
        said = (process.stderr.read() or b"").decode(errors="replace").strip()
        process.stderr.close()
    if status:
        lines = said.splitlines()
        what = lines[-1] if lines else f"its reader ended with status {status}"
        if status < 0:
            what = f"its reader was ended by signal {-status}"
            if -status in (signal.SIGBUS, signal.SIGSEGV):
                what += ", as one is by a file cut short; put a copy in its place"
            else:
                what += "; was there too little memory?"
        raise StoreError(f"the book cannot be read from the store: {what}")


async def _within(awaited: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(READER_SECONDS):
            return await awaited
    except TimeoutError:
        raise StoreError(
            f"the book cannot be read from the store: its reader got nowhere for {READER_SECONDS:.0f} s; is the "
            "disk or another process stuck?"
        ) from None


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process; return its exit status."""
    while True:
        status = process.poll()
        if status is not None:
            return status
        await asyncio.sleep(0.001)
