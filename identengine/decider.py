"""The process that decides: listeners, the book, signals, draining.

One process, one thread, one loop (design.md, "One decider"). SIGTERM and SIGINT drain: everything that was
received is answered, within :data:`DRAIN_SECONDS`. SIGHUP reads the config again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import uvloop

from identengine import config as configuration
from identengine import logsetup
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls, Settings
from identengine.config import Config
from identengine.configvalues import Endpoint
from identengine.control import Desk
from identengine.counters import WRITE_SECONDS, CounterFile
from identengine.engine import Engine
from identengine.errors import ConfigError, StoreError
from identengine.frequent import Frequent
from identengine.model import Decision, Request
from identengine.net.control import ControlListener, bind_control
from identengine.net.peers import Peers
from identengine.net.tcp import Room, TcpListener
from identengine.net.udp import UdpListener
from identengine.rejectlog import RejectLog
from identengine.takeup import TakeUp
from identengine.tally import KEEP, Tally
from identengine.wire.control import Ending, Status
from identengine.wire.jsonrpc import PROGRAM, Peer, Responder

DRAIN_SECONDS = 4.5
"""Within the 5 s that interfaces.md 7 gives, the rest of the ending included."""
WORK_SECONDS = 0.2
"""Between two looks at what lapsed."""
HURRY_SECONDS = 1.0
"""How long after the first signal a second one means not to wait for the drain."""
_FIXED = ("store", "calls", "listen", "tls")
"""Sections that are read at start alone."""

_log = logging.getLogger("identengine")


def serve(config: Config, announce: Callable[[str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status: 0 after a drain, 1 where an address cannot be bound.

    ``announce`` is given a line for each listener (``listening udp 127.0.0.1:4870``), one on the book, and
    ``READY``; they go to standard output if it is None.
    """
    logsetup.set_up(config.log)
    for warning in config.warnings:
        _log.warning("%s", warning)
    try:
        with (
            Journal(config.calls.path, config.calls.max_legs, partial(_log.error, "ALARM: %s")) as journal,
            CounterFile(config.calls.path, partial(_log.warning, "%s")) as counters,
        ):
            return uvloop.run(_Decider(config, journal, counters, announce or _print).serve())
    except (_CannotListenError, StoreError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        logsetup.finish()


class _CannotListenError(Exception):
    """An address cannot be bound."""


class _Decider:
    """One run of the server."""

    def __init__(
        self, config: Config, journal: Journal, counters: CounterFile, announce: Callable[[str], None]
    ) -> None:
        self._config = config
        self._identify = config.identify
        """The options in force: those that the book in use was made with."""
        self._announce = announce
        self._began = time.monotonic()
        calls = config.calls
        self._journal = journal
        self._calls = Calls(
            Settings(
                max_legs=calls.max_legs,
                lapsed_max=calls.lapsed_max,
                reserved=calls.reserved,
                active=calls.active,
                grace=calls.grace,
                global_capacity=calls.global_capacity,
            ),
            journal,
        )
        self._calls.restore(*journal.read(clock()), clock())
        self._counters = counters
        self._tally = Tally(counters.cells, Frequent(KEEP, counters.addresses()))
        self._addresses_written = 0.0
        self._engine = Engine(
            config.reasons,
            None,
            self._calls,
            lease=calls.reserved,
            require_call_id=calls.require_call_id,
            tally=self._tally,
        )
        self._responder = Responder(self._engine, lambda: time.monotonic() - self._began, self._on_reject, clock)
        self._take_up = TakeUp(self._engine, config.store, config.identify)
        self._room = Room(config.limits)
        self._udp: list[UdpListener] = []
        self._tcp: list[TcpListener] = []
        self._desk = Desk(self._engine, self._calls, self._scopes, self._status, self._on_ended)

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        self._rejects, self._refused = (RejectLog(lambda write: loop.call_later(1.0, write)) for _ in range(2))
        stop, hurry = asyncio.Event(), asyncio.Event()

        told = 0.0

        def end() -> None:
            """Drain; told again after a while, do not wait for it."""
            nonlocal told
            if not stop.is_set():
                told = loop.time()
                stop.set()
            elif loop.time() - told > HURRY_SECONDS:  # two at once are meant as one: of a shell, of a supervisor
                _log.warning("told to end again: what was not answered by now is dropped")
                hurry.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        await self._listen()
        self._begin_counting()
        following = asyncio.create_task(self._take_up.follow())
        faults = asyncio.create_task(self._log_faults())
        working = asyncio.create_task(self._work())
        stopped = asyncio.create_task(stop.wait())
        tried = asyncio.create_task(self._take_up.tried.wait())
        await asyncio.wait({stopped, tried}, return_when=asyncio.FIRST_COMPLETED)
        if tried.done():
            self._announce(self._book())
            self._announce("READY")
        await stopped
        draining, hurried = asyncio.create_task(self._drain()), asyncio.create_task(hurry.wait())
        await asyncio.wait({draining, hurried}, return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurried, following, faults, tried, working):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._rejects.write()
        self._refused.write()
        self._control.close()
        self._note(clock(), last=True)
        unsent = sum(udp.unsent for udp in self._udp)
        _log.info("stopped%s", f"; the system did not take {unsent} answers over UDP" if unsent else "")
        return 0

    async def _listen(self) -> None:
        """Bind all listeners, or none: then start them."""
        config, peers = self._config, Peers(self._config.switches, self._config.identify)
        try:
            for endpoint in config.listen.udp:
                with _bound("udp", endpoint):
                    limit = config.limits.message_bytes
                    self._udp.append(UdpListener(endpoint, peers, self._responder, limit, self._on_refused))
            for endpoint in config.listen.tcp:
                with _bound("tcp", endpoint):
                    self._tcp.append(TcpListener(endpoint, peers, self._responder, self._room, self._on_refused))
            self._control = ControlListener(
                bind_control(config.calls.path), lambda ask: self._desk.answer(ask, clock())
            )
        except (_CannotListenError, StoreError):
            for bound in self._udp:
                bound.close()
            for listening in self._tcp:
                listening.close()
            raise
        for udp in self._udp:
            udp.start()
            self._announce(f"listening udp {udp.endpoint}")
            _log.info("udp %s has a receive buffer of %d KiB", udp.endpoint, udp.receive_buffer // 1024)
        for tcp in self._tcp:
            await tcp.start()
            self._announce(f"listening tcp {tcp.endpoint}")
        await self._control.start()

    async def _drain(self) -> None:
        """Take nothing new, answer everything that was received."""
        _log.info("draining")
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        await asyncio.gather(
            *[udp.drain(deadline) for udp in self._udp], *[tcp.drain(deadline) for tcp in self._tcp]
        )

    async def _work(self) -> None:
        """Let leases lapse and long jobs go on, in short steps between batches."""
        while True:
            more = self._calls.work(clock())
            if not more:
                self._journal.beat(clock())
                self._note(clock())
            await asyncio.sleep(0 if more else WORK_SECONDS)

    def _begin_counting(self) -> None:
        """Count this process."""
        self._tally.add("deciders_started")
        self._tally.gauge("started", int(time.time()))
        self._tally.gauge("pid", os.getpid())
        self._tally.gauge("max_legs", self._config.calls.max_legs)
        self._note(clock())

    def _note(self, now: float, *, last: bool = False) -> None:
        """Write down what is counted elsewhere, and how things are."""
        tally, calls, book = self._tally, self._calls, self._engine.book
        tally.total("lapsed_reserved", calls.lapsed_reserved)
        tally.total("lapsed_active", calls.lapsed_active)
        tally.total("retransmissions", calls.retransmitted)
        tally.total("answers_unsent", sum(udp.unsent for udp in self._udp))
        tally.gauge("held", calls.held)
        tally.gauge("remembered", calls.lapsed)
        tally.gauge("book_version", book.version if book else 0)
        tally.gauge("noted", int(time.time()))
        if last or now - self._addresses_written >= WRITE_SECONDS:
            self._addresses_written = now
            self._counters.write_addresses(tally.addresses.counts())
            tally.gauge("mirror_used_bytes", self._journal.used())
            tally.gauge("mirror_bytes", self._journal.path.stat().st_size)

    def _scopes(self) -> set[str]:
        return {switch.scope for switch in self._config.switches}

    def _status(self) -> Status:
        """Answer how the server is."""
        book, calls, most = self._engine.book, self._calls, self._config.calls.max_legs
        alarms = []
        if calls.overfull:
            alarms.append(
                f"the mirror {self._journal.path} is full: calls are rejected as overload; raise max_legs"
            )
        elif calls.held >= most:
            alarms.append(f"all {most} places are taken: calls are rejected as overload; raise max_legs")
        if book is None:
            alarms.append("there is no book yet: calls are rejected as not_ready; see the log")
        elif (trouble := self._take_up.alarm) is not None:
            alarms.append(f"book version {book.version} stays in use: {trouble}")
        return Status(
            program=PROGRAM,
            pid=os.getpid(),
            uptime=round(time.monotonic() - self._began, 1),
            version=book.version if book else None,
            accounts=len(book.bearers) if book else 0,
            held=calls.held,
            lapsed=calls.lapsed,
            max_legs=most,
            global_capacity=self._config.calls.global_capacity,
            alarms=tuple(alarms),
        )

    def _on_ended(self, legs: list[Ending], freed: int) -> None:
        """Write down what an operator ended."""
        self._tally.add("freed_by_operator", freed)
        more = f" and {len(legs) - 3} more" if len(legs) > 3 else ""
        _log.info(
            "an operator ended %s%s: %d freed", ", ".join(repr(leg.call_id) for leg in legs[:3]), more, freed
        )

    def _on_refused(self, source: str, why: str) -> None:
        self._tally.add("strangers_refused")
        self._refused.note(source, why)

    def _reload(self) -> None:
        """Read the config again, take what can change while running, and say what cannot."""
        old = self._config
        if old.source is None:
            _log.warning("SIGHUP: there is no config file to read again")
            return
        try:
            new = configuration.load(old.source)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("config: %s", problem)
            _log.error("SIGHUP: the config is wrong and nothing was changed")
            return
        fixed = [name for name in _FIXED if getattr(new, name) != getattr(old, name)]
        changed = [
            label
            for label, field in (
                ("[identify]", "identify"),
                ("[reasons]", "codes"),
                ("[[switch]]", "switches"),
                ("[limits]", "limits"),
                ("[log]", "log"),
            )
            if getattr(new, field) != getattr(old, field)
        ]
        self._config = msgspec.structs.replace(new, **{name: getattr(old, name) for name in _FIXED})
        logsetup.set_up(new.log)
        for warning in new.warnings:
            _log.warning("%s", warning)
        self._engine.reasons = new.reasons
        self._room.limits = new.limits
        for udp in self._udp:
            udp.limit(new.limits.message_bytes)
        self._replace_peers()
        if new.identify != old.identify:
            # The index and the options have to fit each other: both change when the new book is there.
            self._take_up.use_options(new.identify, self._use_options)
        _log.info("SIGHUP: changed: %s", ", ".join(changed) or "nothing")
        if fixed:
            names = ", ".join(f"[{name}]" for name in fixed)
            _log.warning("SIGHUP: %s cannot change while running; restart the server for that", names)

    def _use_options(self) -> None:
        """Identify by the options of the config, which the new book was made with."""
        self._identify = self._config.identify
        self._replace_peers()

    def _replace_peers(self) -> None:
        peers = Peers(self._config.switches, self._identify)
        for udp in self._udp:
            udp.peers = peers
        for tcp in self._tcp:
            tcp.replace_peers(peers)

    def _book(self) -> str:
        book = self._engine.book
        if book is None:
            return "no book yet: calls are rejected as not_ready"
        return f"book version {book.version}: {len(book.bearers)} accounts, {len(book.dids)} active DIDs"

    async def _log_faults(self) -> None:
        """Write down, once a second, what the engine answered with ``internal_error``."""
        while True:
            faults = list(self._engine.faults)
            self._engine.faults.clear()
            for fault in faults[-1:]:
                _log.error("answered internal_error (last of %d)", len(faults), exc_info=fault)
            await asyncio.sleep(1.0)

    def _on_reject(self, peer: Peer, request: Request, decision: Decision) -> None:
        source = request.src_ip or request.name or request.src_number or ""
        self._rejects.note(source, decision.reason or "", peer.name)


def clock() -> float:
    """Return the time of the set of calls: seconds since the machine was started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def _bound(kind: str, endpoint: Endpoint) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _CannotListenError(
            f"cannot listen on {kind} {endpoint}: {error.strerror}; is another server running, "
            "or is the address another machine's?"
        ) from error


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads: no reason to end
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
