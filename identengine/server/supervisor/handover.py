"""How one server hands sockets and calls over to the next: what two supervisors say to each other.

The one that serves listens on ``serve.sock`` beside its lock. The new one asks, gets copies of the listening
sockets and loads its book beside the old one; nothing has changed by then, and whatever ends it leaves the old one
as it was. Once it says that it can, it gets the lock itself, and the old decider lets go of the calls. The old
supervisor keeps all that it needs to go on until the new one says that it decides; an end, or a silence, before
that makes it start a decider again.

========================  =======================================================
the new one says          the old one answers
========================  =======================================================
:class:`TakeoverRequest`  :class:`Offer`, several where there are many sockets
:class:`Alive`, meanwhile
:class:`Commit`           :class:`Yours`, with the lock; its decider lets go
:class:`Alive`, meanwhile
:class:`TakeoverDone`     the end of the connection; it ends when its decider has
========================  =======================================================

:class:`No` of either ends it. A packet is a message; messages of another version of this are answered by No.

The tag of a message is part of :data:`PROTOCOL`: the program that runs may be older than the one that takes over.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path
from typing import TypeAlias

import msgspec

from identengine.errors import IdentengineError, StoreError
from identengine.net.sockets import NamedSocket
from identengine.net.unix import at_folder
from identengine.server.supervisor.sigio import wake_by

FILE = "serve.sock"
PROTOCOL = 1
_FDS = 64
"""Descriptors in one packet; the system takes 253."""
_BYTES = 65536
_BACKLOG = 4
_CREDENTIALS = struct.Struct("=iII")
ANSWER_SECONDS = 3.0
"""How long the old one may take for an offer."""


class HandoverError(IdentengineError):
    """The server that runs does not hand over."""


class TakeoverRequest(msgspec.Struct, tag="Ask"):
    """Whether it may take over."""

    protocol: int


class Offer(msgspec.Struct, tag="Offer"):
    """Some of the sockets, kind and address of each, in the order of the descriptors that come with them."""

    names: list[tuple[str, str]]
    more: bool


class Commit(msgspec.Struct, tag="Commit"):
    """The book is loaded: hand over."""


class Yours(msgspec.Struct, tag="Yours"):
    """The lock comes with this."""


class Alive(msgspec.Struct, tag="Alive"):
    """A sign of life."""


class TakeoverDone(msgspec.Struct, tag="Done"):
    """My decider decides."""


class No(msgspec.Struct, tag="No"):
    """It ends here."""

    why: str


Message: TypeAlias = TakeoverRequest | Offer | Commit | Yours | Alive | TakeoverDone | No
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class OtherServer:
    """The other supervisor: a connection that never blocks. SIGIO tells that something came."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self.pid, uid, _ = _CREDENTIALS.unpack(
            link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        self.trusted = uid in (0, os.geteuid())
        """Whether it may: it is of our user, or of root."""
        self.since = time.monotonic()
        self.silent = 0.0
        """Seconds without a sign of life in which we looked."""
        self._said = 0.0
        link.setblocking(False)
        wake_by(link)

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return self._link.fileno()

    def say(self, message: Message, *descriptors: int) -> bool:
        """Send a message; returns whether there is somebody to get it."""
        try:
            if descriptors:
                socket.send_fds(self._link, [_encode(message)], descriptors, socket.MSG_NOSIGNAL)
            else:
                self._link.send(_encode(message), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return True  # it has much to read already
        except OSError:
            return False
        return True

    def alive(self) -> None:
        """Give a sign of life, a few times a second."""
        if time.monotonic() - self._said > 0.2:
            self._said = time.monotonic()
            self.say(Alive())

    def hear(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its descriptors; None where there is none yet. EOFError at the end."""
        try:
            try:
                raw, descriptors = self._receive()
            except ConnectionResetError:  # it left without reading all: its last words may stand there still
                raw, descriptors = self._receive()
        except BlockingIOError:
            return None
        except OSError as error:
            raise EOFError from error
        if not raw:
            raise EOFError
        self.silent = 0.0
        try:
            return _decode(raw), descriptors
        except msgspec.MsgspecError:
            for descriptor in descriptors:
                os.close(descriptor)
            return No("it speaks another version of the hand-over"), []

    def _receive(self) -> tuple[bytes, list[int]]:
        return socket.recv_fds(self._link, _BYTES, _FDS, socket.MSG_CMSG_CLOEXEC)[:2]

    def close(self) -> None:
        """Say no more."""
        self._link.close()


class HandoverSocket:
    """Where a server that serves is asked to hand over."""

    def __init__(self, folder: Path) -> None:
        """Listen on ``folder/serve.sock``, open to this user only; the lock has to be held. Raises StoreError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = folder / FILE
        try:
            path.unlink(missing_ok=True)
            os.fchmod(self._socket.fileno(), 0o600)  # what the file gets that bind() makes
            with at_folder(folder, FILE) as name:
                self._socket.bind(name)
            path.chmod(0o600)
            self._socket.setblocking(False)
            wake_by(self._socket)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise StoreError(f"cannot listen on {path}: {error.strerror}") from error

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def knock(self) -> OtherServer | None:
        """Return who has come, if anybody has who may."""
        try:
            link, _ = self._socket.accept()
        except OSError:
            return None
        try:
            peer = OtherServer(link)
        except OSError:
            link.close()
            return None
        if not peer.trusted:
            peer.say(No("only the server's user and root may take over"))
            peer.close()
            return None
        return peer

    def close(self) -> None:
        """Let nobody in any more."""
        self._socket.close()


def offer(peer: OtherServer, sockets: list[NamedSocket]) -> bool:
    """Send copies of all sockets; returns whether there is somebody to get them."""
    for begin in range(0, len(sockets), _FDS):
        some = sockets[begin : begin + _FDS]
        message = Offer([(one.kind, one.asked) for one in some], more=begin + _FDS < len(sockets))
        if not peer.say(message, *(one.bound.fileno() for one in some)):
            return False
    return True


def ask(folder: Path) -> tuple[OtherServer, list[NamedSocket]] | None:
    """Ask the server of a set of calls for its sockets; None where none listens, or it ends while it is asked.

    Raises HandoverError, with its process, where it refuses or does not answer.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.settimeout(ANSWER_SECONDS)
        with at_folder(folder, FILE) as name:
            link.connect(name)
        peer = OtherServer(link)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        link.close()
        return None
    except OSError as error:
        link.close()
        raise HandoverError(f"the server at {folder / FILE} cannot be asked: {error.strerror or error}") from error
    if not peer.trusted:
        peer.close()
        raise HandoverError(f"{folder / FILE} is another user's: who holds that folder?")
    sockets: list[NamedSocket] = []
    try:
        peer.say(TakeoverRequest(PROTOCOL))
        _receive(peer, sockets)
    except BaseException as error:
        peer.close()
        for one in sockets:
            one.bound.close()
        if isinstance(error, EOFError):
            return None
        raise
    return peer, sockets


def _receive(peer: OtherServer, sockets: list[NamedSocket]) -> None:
    """Take the offers; EOFError where the other one ends."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        heard = peer.hear()
        if heard is None:
            if time.monotonic() > end:
                raise HandoverError(
                    f"the server of process {peer.pid} does not answer: it hangs or is stopped. It goes on as it "
                    "is; to replace it, end it (`kill`, then `kill -9`) and start `serve`"
                )
            time.sleep(0.005)
            continue
        message, descriptors = heard
        if isinstance(message, No):
            raise HandoverError(f"the server of process {peer.pid} does not hand over: {message.why}")
        if not isinstance(message, Offer) or len(message.names) != len(descriptors):
            for descriptor in descriptors:
                os.close(descriptor)
            raise HandoverError(f"the server of process {peer.pid} speaks another version of the hand-over")
        for (kind, asked), descriptor in zip(message.names, descriptors, strict=True):
            bound = socket.socket(fileno=descriptor)
            bound.setblocking(False)
            sockets.append(NamedSocket(kind, asked, bound))
        if not message.more:
            return
