"""The lock of the one supervisor of a set of calls: ``serve.lock`` in its folder.

The lock is released when the process exits, for any reason, provided that no child keeps the descriptor. The file
has the pid of its holder and the formats that the holder uses. It is empty after an orderly end. Rule: a pid
without a lock means that a supervisor was killed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, NamedTuple, Self

from identengine.calls.folder import prepare
from identengine.calls.journalfile import FORMAT, InUseError, identity, private
from identengine.errors import StoreError

FILE = "serve.lock"


class ServerLock:
    """The lock, while it is held."""

    def __init__(self, file: IO[str], folder: Path) -> None:
        """Hold the lock of ``file``. Use :meth:`take` or :meth:`given` instead. Raise StoreError on failure."""
        self._file = file
        self._folder = folder
        try:
            self.orphans = bool(_holder(file))
            """True if the last supervisor was killed, so that its children may still run."""
            self.write_pid()
        except OSError as error:
            file.close()
            raise _cannot(folder, error) from error

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Take the lock of ``folder``, and create the folder if it is missing.

        Raise InUseError, which names the holder, if the lock is held. Raise StoreError if the folder cannot be
        used, or if other users can change it.
        """
        try:
            prepare(folder)
            file = open(folder / FILE, "a+", encoding="ascii", errors="replace", opener=private)  # noqa: SIM115 - it stays open
        except OSError as error:
            raise _cannot(folder, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            raise InUseError(
                f"the server of process {holder or '?'} uses the set of calls in {folder}. Stop it first, or give "
                "this server another [calls] path."
            ) from None
        return cls(file, folder)

    @classmethod
    def given(cls, folder: Path, descriptor: int) -> Self:
        """Return the lock of which the holder sent a copy. So the lock is held at every moment."""
        return cls(os.fdopen(descriptor, "a+", encoding="ascii", errors="replace"), folder)

    def lost(self) -> bool:
        """Return True if another server could take a lock of this folder. Raise OSError if that cannot be seen."""
        return identity(self._folder / FILE) != identity(self.fileno())

    def fileno(self) -> int:
        """Return the descriptor that holds the lock."""
        return self._file.fileno()

    def close(self) -> None:
        """Close this process's copy of the descriptor."""
        self._file.close()

    def release(self) -> None:
        """Mark the end as orderly: no child was forked, or all were reaped."""
        self._file.truncate(0)

    def write_pid(self) -> None:
        """Write the pid and the formats of this process into the file. Raise OSError if the disk is full."""
        os.ftruncate(self._file.fileno(), 0)
        os.write(self._file.fileno(), f"{os.getpid():<{_PID}}\n{OUR_FORMATS.line()}\n".encode())


class Formats(NamedTuple):
    """The versions of the formats by which two servers hand over calls."""

    protocol: int
    """Version of the protocol of a hand-over (:mod:`identengine.server.supervisor.handover`)."""
    mirror: int
    """Format of the mirror that the server writes (:mod:`identengine.calls.journalformats`)."""

    def line(self) -> str:
        """Return the formats as the file has them."""
        return f"hand-over {self.protocol} mirror {self.mirror}"


PROTOCOL = 1
"""Version of the protocol of a hand-over."""
OUR_FORMATS = Formats(PROTOCOL, FORMAT)


def formats_in(folder: Path) -> tuple[str, Formats] | None:
    """Return the pid and the formats of the server of a folder, or None without a server or if it wrote none.

    A server that was killed counts, too: its calls are still there.
    """
    try:
        pid, _, line = (folder / FILE).read_text(encoding="ascii", errors="replace").partition("\n")
    except OSError:
        return None
    match line.split():
        case ["hand-over", protocol, "mirror", mirror] if protocol.isdecimal() and mirror.isdecimal():
            return pid.strip(), Formats(int(protocol), int(mirror))
    return None


_PID = 20
"""Length of the pid in the file, with spaces. Earlier programs read this many characters."""


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read(_PID).strip()


def _cannot(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"the set of calls cannot be kept in {folder}: {error.strerror}")
