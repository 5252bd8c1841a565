"""Starts a server: with a lock and addresses of its own, or with those of a server that hands over.

Rule: an error that an operator can correct prints a line on standard error, and the exit status is 1.
"""

from __future__ import annotations

import platform
import signal
import socket
import sys
import time

from identengine.calls.folder import require_safe
from identengine.calls.journalfile import InUseError
from identengine.config.schema import Config
from identengine.errors import StoreError
from identengine.log import handlers
from identengine.log.events import (
    CONFIG_WARNING,
    FEW_FILES,
    NOBODY_TO_TAKE_OVER,
    PLAIN_PYTHON,
    RECEIVE_BUFFER,
    RECEIVE_BUFFER_SMALL,
    SUPERVISOR_FAULT,
    TAKING_OVER_FROM,
)
from identengine.net import sockets as listening
from identengine.net.sockets import CannotListenError, NamedSocket, Sockets
from identengine.server import interpreter
from identengine.server.link import ORPHAN_SECONDS, Entries
from identengine.server.supervisor import filelimit, handover
from identengine.server.supervisor.handover import HandoverError, OtherServer
from identengine.server.supervisor.incoming import IncomingTakeover
from identengine.server.supervisor.lock import ServerLock
from identengine.server.supervisor.outgoing import OutgoingTakeover
from identengine.server.supervisor.run import SIGNALS, Supervisor

_DYING_SECONDS = 2.0
"""Longest wait for the lock of a server that does not answer a take-over, since it may be dying, in seconds."""
FAILED = 70
"""Exit status after a bug in the supervisor: EX_SOFTWARE of sysexits.h."""


def supervise(config: Config, entries: Entries, *, take_over: bool = False) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status.

    - 0 after an orderly end, or if another server has taken over;
    - 1 if the server cannot start, with the reason on standard error. Reasons: an address cannot be bound, another
      server has the set of calls, other users can change its folder, or the first decider fails. With
      ``take_over`` also: the other server refuses;
    - 128 + n if signal n killed the last decider;
    - 70 after a bug in the supervisor.
    """
    handlers.set_up_direct(config.log)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if the parent ignores it, children cannot be reaped
    mask = frozenset[int](signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS))
    filelimit.allow(config)
    try:
        require_safe(config.calls.path)
        asked = handover.ask(config.calls.path) if take_over else None
        if take_over and asked is None:
            NOBODY_TO_TAKE_OVER.tell(path=str(config.calls.path))
        server = (
            _start(config, mask, entries, patience=_DYING_SECONDS * take_over)
            if asked is None
            else _take_over(config, mask, entries, *asked)
        )
    except (CannotListenError, HandoverError, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if server is None:
        return 0
    try:
        return server.run()
    except Exception as fault:  # the children notice the end and drain
        SUPERVISOR_FAULT.tell(fault)
        return FAILED


def _start(config: Config, mask: frozenset[int], entries: Entries, patience: float) -> Supervisor | None:
    """Take the lock, waiting up to ``patience`` seconds, and bind. Return None after a signal to stop."""
    end = time.monotonic() + patience
    while True:
        try:
            lock = ServerLock.take(config.calls.path)
            break
        except InUseError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.02)
    try:
        sockets = _bind(config, patience=ORPHAN_SECONDS if lock.orphans else 0.0)
        outgoing = OutgoingTakeover(config.calls.path)
    except (CannotListenError, StoreError):
        lock.release()  # no child was forked
        raise
    if sockets is None:
        lock.release()
        return None
    _log_start(config, sockets)
    return Supervisor(config, sockets, mask, entries, lock=lock, outgoing=outgoing)


def _take_over(
    config: Config, mask: frozenset[int], entries: Entries, old: OtherServer, there: list[NamedSocket]
) -> Supervisor:
    """Start with copies of the sockets of another server, which continues to serve."""
    incoming = IncomingTakeover(old, config.calls.path)
    try:
        sockets = listening.bind(config.listen, config.calls.path, there)
    except CannotListenError as error:
        incoming.give_up(str(error))
        raise
    TAKING_OVER_FROM.tell(pid=old.pid)
    _log_start(config, sockets)
    return Supervisor(config, sockets, mask, entries, incoming=incoming)


def _log_start(config: Config, sockets: Sockets) -> None:
    """Log the warnings and facts that an operator needs at a start."""
    for warning in config.warnings:
        CONFIG_WARNING.tell(what=warning)
    if (shortage := filelimit.shortage(config)) is not None:
        FEW_FILES.tell(what=shortage)
    if interpreter.is_plain_build():
        PLAIN_PYTHON.tell(version=platform.python_version(), percent=interpreter.COST_PERCENT)
    for udp in sockets.datagrams:
        _log_receive_buffer(udp)


def _bind(config: Config, patience: float) -> Sockets | None:
    """Bind the sockets, retrying for ``patience`` seconds. Return None after a signal to stop."""
    end = time.monotonic() + patience
    while True:
        try:
            return listening.bind(config.listen, config.calls.path)
        except CannotListenError:
            if time.monotonic() >= end:
                raise
        if signal.sigtimedwait((signal.SIGTERM, signal.SIGINT), 0.05) is not None:
            return None


def _log_receive_buffer(udp: socket.socket) -> None:
    """Log the size of a socket's receive buffer, with a warning if it is smaller than requested."""
    size, requested = listening.receive_buffer(udp), 2 * listening.RECEIVE_BUFFER
    endpoint = str(listening.endpoint_of(udp))
    RECEIVE_BUFFER.tell(endpoint=endpoint, kib=size // 1024, datagrams=size // listening.DATAGRAM_BYTES)
    if size < requested:
        RECEIVE_BUFFER_SMALL.tell(
            endpoint=endpoint, wanted_kib=requested // 1024, rmem_max=listening.RECEIVE_BUFFER
        )
