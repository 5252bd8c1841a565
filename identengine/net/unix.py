"""Unix sockets in the folder of the set of calls, for our own processes and the commands of an operator.

Rule: both sides check the user of the peer. The modes of the socket and of its folder alone do not suffice, since
they may have been changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from identengine.calls.folder import hazard, user_name
from identengine.errors import StoreError

BACKLOG = 128
"""Maximum number of connections that wait to be accepted, for example while a decider is replaced."""
_CREDENTIALS = struct.Struct("=iII")


class UntrustedPeerError(OSError):
    """The process that listens on a Unix socket of a server runs as a user who may not serve there."""


class PeerProcess(NamedTuple):
    """The process at the other end of a Unix socket."""

    pid: int
    uid: int

    @property
    def may_ask(self) -> bool:
        """True if the process runs as root or as the user of this process."""
        return self.uid in (0, os.geteuid())

    def require_server(self, folder: Path) -> None:
        """Raise UntrustedPeerError unless this process may serve in ``folder``.

        Root and the user of this process may. The owner of the folder may, too, if no further user could have
        replaced the folder.
        """
        if self.may_ask:
            return
        owner = folder.stat().st_uid
        if self.uid != owner:
            raise UntrustedPeerError(
                errno.EPERM,
                f"the process that answers there runs as the user {user_name(self.uid)}, but the folder "
                f"belongs to the user {user_name(owner)}",
            )
        found = hazard(folder, [owner])
        if found is not None:
            raise UntrustedPeerError(errno.EPERM, f"another user may have replaced the folder: {found.why}")


class ConnectedSocket(Protocol):
    """A socket, or the socket of a transport."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return an option of the socket."""


def peer_of(connected: ConnectedSocket) -> PeerProcess:
    """Return the process at the other end: the one that connected, or the one that listens. Raise OSError."""
    pid, uid, _ = _CREDENTIALS.unpack(
        connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return PeerProcess(pid, uid)


def bind_unix(folder: Path, name: str) -> socket.socket:
    """Return the listening socket ``folder/name``, open to this user only. Raise StoreError if that fails.

    The caller must hold the lock of the set of calls. So an existing socket is a leftover, and is replaced.
    """
    path = folder / name
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        os.fchmod(unix.fileno(), 0o600)  # bind() creates the file with this mode
        with at_folder(folder, name) as short:
            unix.bind(short)
        path.chmod(0o600)
        unix.setblocking(False)
        unix.listen(BACKLOG)
    except OSError as error:
        unix.close()
        raise StoreError(f"cannot listen on {path}: {error.strerror}") from error
    return unix


@contextlib.contextmanager
def at_folder(folder: Path, name: str) -> Iterator[str]:
    """Yield a short name for a socket in a folder: the system allows 107 bytes, and a path can have more."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{name}"
    finally:
        os.close(opened)
