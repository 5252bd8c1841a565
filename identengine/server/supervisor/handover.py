"""The protocol of a hand-over: how a server gives its sockets and calls to the server that takes over.

The serving server (*old*) listens on ``serve.sock`` in the folder of the set of calls. The server that takes over
(*new*) connects to it. The steps:

1. New sends :class:`TakeoverRequest`. Old answers with copies of its listening sockets, in one or several
   :class:`Offer` messages, and continues to serve.
2. New loads its book and sends :class:`Alive` meanwhile. Until here, a failure of either side changes nothing.
3. New sends :class:`Commit` when its book is loaded. Old answers with :class:`Yours` and the lock, and its decider
   stops reading and closes the set of calls.
4. The decider of new opens the set of calls, restores the calls and starts to read the sockets. New sends
   :class:`Alive` meanwhile. If new dies or is silent now, old kills it and starts a decider again.
5. New sends :class:`TakeoverDone` when its decider decides. Old reports new to the service manager, closes the
   connection and exits when its former decider has exited.

Either side sends :class:`No` to cancel. Each packet is one message. A message of another version of the protocol
is answered by :class:`No`. The tags of the messages are part of
:data:`~identengine.server.supervisor.lock.PROTOCOL`, since old may be an older program.

Rule: both sides refuse in step 1, before any lock moves, if new cannot read the mirror that old writes. An
older program may omit a field. Then the field has the value of the programs that did not send it.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TypeAlias

import msgspec

from identengine.calls.journalfile import FORMAT, READABLE, identity, unreadable
from identengine.errors import IdentengineError, StoreError
from identengine.net.sockets import NamedSocket
from identengine.net.unix import UntrustedPeerError, at_folder, peer_of
from identengine.server.supervisor.lock import PROTOCOL
from identengine.server.supervisor.sigio import wake_by

FILE = "serve.sock"
_FDS = 64
"""Largest number of descriptors in one packet. The system allows 253."""
_BYTES = 65536
_BACKLOG = 4
_OTHER_PROTOCOL = "it uses another version of the hand-over protocol"
OTHER_FORMAT = "Use a program that fits, or stop the old server first; the calls that it holds are lost then."
"""The remedy if two servers do not fit each other."""
ANSWER_SECONDS = 3.0
"""Longest time in which old must send its offers, in seconds."""


class HandoverError(IdentengineError):
    """The running server does not hand over."""


class TakeoverRequest(msgspec.Struct, tag="Ask"):
    """New asks to take over."""

    protocol: int
    reads: tuple[int, ...] = (2, 3)
    """The formats of the mirror that new reads."""


class Offer(msgspec.Struct, tag="Offer"):
    """Some of the sockets: kind and address of each, in the order of the descriptors in the packet."""

    names: list[tuple[str, str]]
    more: bool
    """True if another offer follows."""
    mirror: int = 3
    """The format of the mirror that old writes."""


class Commit(msgspec.Struct, tag="Commit"):
    """New has loaded the book and can decide."""


class Yours(msgspec.Struct, tag="Yours"):
    """Old gives up the lock, whose descriptor is in the packet."""


class Alive(msgspec.Struct, tag="Alive"):
    """New is alive."""


class TakeoverDone(msgspec.Struct, tag="Done"):
    """The decider of new decides."""


class No(msgspec.Struct, tag="No"):
    """The sender cancels the hand-over."""

    why: str


Message: TypeAlias = TakeoverRequest | Offer | Commit | Yours | Alive | TakeoverDone | No
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class OtherServer:
    """A connection to the other supervisor. It never blocks; SIGIO reports new messages."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self.process = peer_of(link)
        self.pid = self.process.pid
        self.since = time.monotonic()
        self.silent = 0.0
        """Time without a message, in seconds. Times at which this process did not run are not counted."""
        self._sent_at = 0.0
        link.setblocking(False)
        wake_by(link)

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return self._link.fileno()

    def send(self, message: Message, *descriptors: int) -> bool:
        """Send a message. Return False if the peer has closed the connection."""
        try:
            if descriptors:
                socket.send_fds(self._link, [_encode(message)], descriptors, socket.MSG_NOSIGNAL)
            else:
                self._link.send(_encode(message), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return True  # the peer has many unread messages
        except OSError:
            return False
        return True

    def alive(self) -> None:
        """Send a sign of life, at most five times a second."""
        if time.monotonic() - self._sent_at > 0.2:
            self._sent_at = time.monotonic()
            self.send(Alive())

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return the next message with its descriptors, or None if none has arrived. Raise EOFError at the end."""
        try:
            try:
                raw, descriptors = self._receive()
            except ConnectionResetError:  # it closed with unread data; its last message may be left
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
            self.send(No(_OTHER_PROTOCOL))
            return No(_OTHER_PROTOCOL), []

    def _receive(self) -> tuple[bytes, list[int]]:
        return socket.recv_fds(self._link, _BYTES, _FDS, socket.MSG_CMSG_CLOEXEC)[:2]

    def close(self) -> None:
        """Close the connection."""
        self._link.close()


class HandoverSocket:
    """The socket on which a serving server accepts requests to hand over."""

    def __init__(self, folder: Path) -> None:
        """Listen on ``folder/serve.sock``, for this user only. Raise StoreError on failure.

        The lock of the folder must be held.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = folder / FILE
        try:
            path.unlink(missing_ok=True)
            os.fchmod(self._socket.fileno(), 0o600)  # the mode of the file that bind() makes
            with at_folder(folder, FILE) as name:
                self._socket.bind(name)
            path.chmod(0o600)
            self._socket.setblocking(False)
            wake_by(self._socket)
            self._socket.listen(_BACKLOG)
            self._path, self._identity = path, identity(path)
        except OSError as error:
            self._socket.close()
            raise StoreError(f"cannot listen on {path}: {error.strerror}") from error

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def lost(self) -> bool:
        """Return True if no process can connect by the path. Raise OSError if the folder cannot be examined."""
        return identity(self._path) != self._identity

    def accept(self) -> OtherServer | None:
        """Return the peer of the next connection, or None if none is waiting or the peer is not trusted."""
        try:
            link, _ = self._socket.accept()
        except OSError:
            return None
        try:
            peer = OtherServer(link)
        except OSError:
            link.close()
            return None
        if not peer.process.may_ask:
            peer.send(No("only the user of this server and root may take over"))
            peer.close()
            return None
        return peer

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def offer(peer: OtherServer, sockets: list[NamedSocket]) -> bool:
    """Send copies of all sockets. Return False if the peer has closed the connection."""
    for begin in range(0, len(sockets), _FDS):
        some = sockets[begin : begin + _FDS]
        message = Offer([(one.kind, one.asked) for one in some], begin + _FDS < len(sockets), FORMAT)
        if not peer.send(message, *(one.bound.fileno() for one in some)):
            return False
    return True


def ask(folder: Path) -> tuple[OtherServer, list[NamedSocket]] | None:
    """Ask the server of a set of calls for its sockets.

    Return the connection and the sockets, or None if no server runs.

    Raise HandoverError, which names the process of the server, if it refuses or does not answer.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.settimeout(ANSWER_SECONDS)
        with at_folder(folder, FILE) as name:
            link.connect(name)
        peer = OtherServer(link)
        peer.process.require_server(folder)
    except UntrustedPeerError as error:
        link.close()
        raise HandoverError(
            f"the server at {folder / FILE} cannot be trusted: {error.strerror}. Find out who changed the folder."
        ) from error
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        link.close()
        return None
    except OSError as error:
        link.close()
        raise HandoverError(
            f"cannot connect to the server at {folder / FILE}: {error.strerror or error}"
        ) from error
    sockets: list[NamedSocket] = []
    try:
        peer.send(TakeoverRequest(PROTOCOL, READABLE))
        _receive_offers(peer, sockets)
    except BaseException as error:
        peer.close()
        for one in sockets:
            one.bound.close()
        if isinstance(error, EOFError):
            return None
        raise
    return peer, sockets


def _receive_offers(peer: OtherServer, sockets: list[NamedSocket]) -> None:
    """Add the offered sockets to ``sockets``. Raise EOFError if the peer exits, HandoverError if it refuses."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        received = peer.receive()
        if received is None:
            if time.monotonic() > end:
                raise HandoverError(
                    f"the server of process {peer.pid} does not answer: it hangs or is stopped. It was left as it "
                    "is. To replace it, end it (`kill`, then `kill -9`) and start `serve`."
                )
            time.sleep(0.005)
            continue
        message, descriptors = received
        if isinstance(message, No):
            raise HandoverError(f"the server of process {peer.pid} refuses to hand over: {message.why}")
        if not isinstance(message, Offer) or len(message.names) != len(descriptors):
            for descriptor in descriptors:
                os.close(descriptor)
            peer.send(No(_OTHER_PROTOCOL))
            raise HandoverError(
                f"the server of process {peer.pid} was left as it is, since {_OTHER_PROTOCOL}. {OTHER_FORMAT}"
            )
        for (kind, asked), descriptor in zip(message.names, descriptors, strict=True):
            bound = socket.socket(fileno=descriptor)
            bound.setblocking(False)
            sockets.append(NamedSocket(kind, asked, bound))
        if message.mirror not in READABLE:
            why = f"its set of calls cannot be taken over, since {unreadable(message.mirror)}"
            peer.send(No(f"it cannot read the set of calls, since {unreadable(message.mirror)}"))
            raise HandoverError(f"the server of process {peer.pid} was left as it is: {why}. {OTHER_FORMAT}")
        if not message.more:
            return
