"""The lock of the one supervisor of a set of calls: ``serve.lock`` in its folder.

The lock ends with the process however it ends, as long as no child keeps the descriptor. The file names its
holder, and is empty after an end in order: a name without a lock tells that a supervisor was killed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, Self

from identengine.calls.journalfile import FOLDER_MODE, InUseError, private
from identengine.errors import StoreError

FILE = "serve.lock"


class ServerLock:
    """The lock, held."""

    def __init__(self, file: IO[str], folder: Path) -> None:
        """Hold the lock that ``file`` has; :meth:`take` and :meth:`given` make it. Raises StoreError."""
        self._file = file
        try:
            self.orphans = bool(_holder(file))
            """Whether the last one did not end in order: there may be children of a supervisor that was killed."""
            self.name_us()
        except OSError as error:
            file.close()
            raise _cannot(folder, error) from error

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Take the lock of ``folder``, which is made where it is missing.

        Raises InUseError, which names the process that has it, StoreError where the folder cannot be had.
        """
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            file = open(folder / FILE, "a+", encoding="ascii", errors="replace", opener=private)  # noqa: SIM115 - it stays open
        except OSError as error:
            raise _cannot(folder, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            raise InUseError(
                f"another process decides on the set of calls in {folder}: the server of process {holder or '?'}; "
                "end it first, or give this server a path of its own ([calls] path)"
            ) from None
        return cls(file, folder)

    @classmethod
    def given(cls, folder: Path, descriptor: int) -> Self:
        """Return the lock that its holder gave us as a copy of its descriptor: there is no moment without it."""
        return cls(os.fdopen(descriptor, "a+", encoding="ascii", errors="replace"), folder)

    def fileno(self) -> int:
        """Return the descriptor that holds the lock."""
        return self._file.fileno()

    def close(self) -> None:
        """Let go of it, as far as this process is concerned."""
        self._file.close()

    def release(self) -> None:
        """Say that all ended in order: nobody was forked, or everybody was reaped."""
        self._file.truncate(0)

    def name_us(self) -> None:
        """Write down who holds it. Raises OSError where there is no room; no later write tries it again."""
        os.ftruncate(self._file.fileno(), 0)
        os.write(self._file.fileno(), f"{os.getpid()}\n".encode())


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read(20).strip()


def _cannot(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"the set of calls cannot be kept in {folder}: {error.strerror}")
