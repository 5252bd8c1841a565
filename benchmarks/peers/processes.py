"""Programs that a benchmark starts on the server's core, waits for, and ends by pid."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import machine

_PATIENCE = 120.0
"""Time limit for the start of a program, in seconds."""
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


def find(program: str) -> str | None:
    """Return the path of an installed program, also from folders that only root has in its PATH."""
    return shutil.which(program, path=_PATH)


def free_port(kind: socket.SocketKind) -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, kind) as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    serves: Callable[[], bool],
    *,
    user: str | None = None,
    ends_by: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
    """Run a program during the block, from the moment it serves. Yield its pid.

    ``serves`` asks it once and may raise OSError. The output of the program goes to ``log``.
    """
    with log.open("ab") as said, machine.on_core(machine.cores()[1]):
        process = subprocess.Popen(  # noqa: S603 - programs of the machine, with our own words
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            user=user,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + _PATIENCE
        while not _yes(serves):
            if process.poll() is not None or time.monotonic() > end:
                said_last = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} did not start to serve:\n{said_last}")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(ends_by)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own, so the signal reaches no other process
            process.wait()


def _yes(serves: Callable[[], bool]) -> bool:
    try:
        return serves()
    except OSError:
        return False


def version(*command: str) -> str:
    """Return the first text in the output of a program that looks like a version."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603 - as above
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if found else "?"
