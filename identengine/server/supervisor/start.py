"""How a server begins: with a lock and addresses of its own, or with those of one that hands over."""

from __future__ import annotations

import platform
import signal
import socket
import sys
import time

from identengine.calls.journalfile import InUseError
from identengine.config.schema import Config
from identengine.errors import StoreError
from identengine.log import handlers as logsetup
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
"""How long the lock is waited for of a server that was to hand over and is not there: it may be dying just now."""
FAILED = 70
"""Exit status where the supervisor itself failed: EX_SOFTWARE of sysexits.h."""


def supervise(config: Config, entries: Entries, *, take_over: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status: the decider's, 128 + n where signal n ended it.

    1, with the reason on standard error, where an address cannot be bound, another server has this set of calls,
    the first decider cannot start, or, with ``take_over``, the server that runs does not hand over; 70 where the
    supervisor itself failed. 0 too where another server took over.
    """
    logsetup.set_up_direct(config.log)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may have ignored it: then nobody is reaped
    mask = frozenset[int](signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS))
    filelimit.allow(config)
    try:
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
    except Exception as fault:  # children see our end and drain; a service manager starts us again
        SUPERVISOR_FAULT.tell(fault)
        return FAILED


def _start(config: Config, mask: frozenset[int], entries: Entries, patience: float) -> Supervisor | None:
    """Take lock and addresses; None where we are told to end meanwhile. ``patience``: seconds for the lock."""
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
        lock.release()  # nobody was forked
        raise
    if sockets is None:
        lock.release()
        return None
    _tell_start(config, sockets)
    return Supervisor(config, sockets, mask, entries, lock=lock, outgoing=outgoing)


def _take_over(
    config: Config, mask: frozenset[int], entries: Entries, old: OtherServer, there: list[NamedSocket]
) -> Supervisor:
    """Take the sockets that another server has; it serves on."""
    incoming = IncomingTakeover(old, config.calls.path)
    try:
        sockets = listening.bind(config.listen, config.calls.path, there)
    except CannotListenError as error:
        incoming.give_up(str(error))
        raise
    TAKING_OVER_FROM.tell(pid=old.pid)
    _tell_start(config, sockets)
    return Supervisor(config, sockets, mask, entries, incoming=incoming)


def _tell_start(config: Config, sockets: Sockets) -> None:
    """Say what an operator has to know from the start."""
    for warning in config.warnings:
        CONFIG_WARNING.tell(what=warning)
    if (shortage := filelimit.shortage(config)) is not None:
        FEW_FILES.tell(what=shortage)
    if interpreter.is_plain_build():
        PLAIN_PYTHON.tell(version=platform.python_version(), percent=interpreter.COST_PERCENT)
    for udp in sockets.udp:
        _tell_room(udp)


def _bind(config: Config, patience: float) -> Sockets | None:
    """Bind the sockets, and try again for ``patience`` seconds; None where we are told to end meanwhile."""
    end = time.monotonic() + patience
    while True:
        try:
            return listening.bind(config.listen, config.calls.path)
        except CannotListenError:
            if time.monotonic() >= end:
                raise
        if signal.sigtimedwait((signal.SIGTERM, signal.SIGINT), 0.05) is not None:
            return None


def _tell_room(udp: socket.socket) -> None:
    """Say how much can wait at a socket while nobody reads it, and what to do where that is little."""
    size, wanted = listening.receive_buffer(udp), 2 * listening.RECEIVE_BUFFER
    endpoint = str(listening.endpoint_of(udp))
    RECEIVE_BUFFER.tell(endpoint=endpoint, kib=size // 1024, datagrams=size // listening.DATAGRAM_BYTES)
    if size < wanted:
        RECEIVE_BUFFER_SMALL.tell(endpoint=endpoint, wanted_kib=wanted // 1024, rmem_max=listening.RECEIVE_BUFFER)
