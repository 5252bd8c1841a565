"""The process that decides: the set of calls, the listeners, the book, signals and draining.

It has one thread and one event loop (docs/decisions/one-decider.md). The supervisor forks it with bound sockets
and sends it each new config. On SIGTERM or SIGINT it drains: it answers everything that it has received, within
:data:`DRAIN_SECONDS`. A standby is the same process before it decides. It follows the book, but it opens neither
the set of calls nor a socket until the supervisor tells it to take over.

:class:`_Decider` is in the order of that life: standing by, taking over, deciding, then draining or handing over.
Rule: a request is never delayed by other work; long work is done in steps of about a millisecond.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable

import msgspec
import uvloop

from identengine.calls.clock import Clock
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls
from identengine.config.schema import Config
from identengine.engine.core import Engine
from identengine.engine.settings import EngineSettings
from identengine.errors import StoreError, counted
from identengine.log import handlers
from identengine.log.events import (
    ANNOUNCED,
    COUNTERS_ANEW,
    DRAINING,
    FAULTS,
    HANDED_OVER,
    HURRIED,
    STANDBY_ENDS,
    STOPPED,
    STOPPED_UNSENT,
    SUPERVISOR_GONE,
)
from identengine.net.operator import OperatorListener
from identengine.server.decider.bookfollower import BookFollower
from identengine.server.decider.listeners import Listeners
from identengine.server.decider.operator import OperatorService
from identengine.server.decider.recorder import Recorder
from identengine.server.decider.reporter import Reporter
from identengine.server.decider.responders import Responders
from identengine.server.decider.restore import open_journal, restored
from identengine.server.decider.switchless import report_switchless
from identengine.server.decider.waits import after, first_of
from identengine.server.link import (
    BOOKLESS,
    DRAIN_SECONDS,
    HAND_OVER,
    IDLE,
    LISTENING,
    LOADED,
    READY,
    TAKE_OVER,
    TAKING_OVER,
    ChildEnd,
    Duty,
    name_process,
)
from identengine.stats.file import CounterFile

WORK_SECONDS = 0.2
"""Interval between checks for expired leases, in seconds."""
HURRY_SECONDS = 1.0
"""Time after the first signal in which further ones are ignored, in seconds. A later one stops the drain."""
REPLACEMENT_WAIT = 1.0
"""Longest time that a replacement waits for its book before it reads its sockets, in seconds. Meanwhile requests
wait in the kernel. Afterwards the answer ``not_ready`` makes switches try another server."""
SETTLE_SECONDS = 1.0
"""Longest time that a hand-over waits for peers that do not read, in seconds. No process decides meanwhile."""


def decide(config: Config, duty: Duty) -> int:
    """Decide until SIGTERM or SIGINT, and return the exit status.

    It is 0 after a drain, and 1 if the set of calls cannot be opened. The reason is on standard error then.
    """
    handlers.set_up(config.log)
    name_process("ident-standby" if duty.standby else "ident-decider")
    try:
        with contextlib.ExitStack() as opened:
            return uvloop.run(_Decider(config, duty, opened).serve())
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        handlers.finish()


class _Decider:
    """One run of the process."""

    _journal: Journal
    _clock: Clock
    _calls: Calls
    _recorder: Recorder
    _reporter: Reporter
    _control: OperatorListener

    def __init__(self, config: Config, duty: Duty, opened: contextlib.ExitStack) -> None:
        """Prepare the run. ``opened`` gets the files that stay open until its end."""
        self._config = config
        self._opened = opened
        self._duty = duty
        self._link = ChildEnd(duty, IDLE)
        self._announce: Callable[[str], None] = _print if duty.announces else _announced
        calls = config.calls
        self._engine = Engine(
            EngineSettings(reasons=config.reasons, lease=calls.reserved, require_call_id=calls.require_call_id)
        )
        self._responders = Responders(
            self._engine,
            lambda: self._clock(),  # noqa: PLW0108 - it is set later
            lambda: self._reporter.tally,
        )
        self._follower = BookFollower(self._engine, config.store, config.identify)
        self._listeners = Listeners(config, self._responders)
        self._stop, self._hurry, self._promoted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._hands_over = False
        self._first_signal_at = 0.0
        self._operators: OperatorService | None = None
        """Set when this process has the set of calls and answers commands of operators."""
        self._scopes = {switch.scope for switch in config.switches}
        """Scopes of the call ids that the set of calls may hold. Earlier configs may have had other switches."""
        self._search: asyncio.Task[None] | None = None
        """The current search for legs without a switch."""
        self._moving: asyncio.Task[None] | None = None
        """The current move to new Unix sockets."""

    async def serve(self) -> int:
        background = [asyncio.create_task(self._link.beat()), asyncio.create_task(self._follower.follow())]
        with self._link.attend(
            end=self._end,
            orphaned=self._on_orphaned,
            reconfigure=self._reconfigure,
            words={TAKE_OVER: self._on_take_over, HAND_OVER: self._on_hand_over},
            replace=self._on_sockets,
        ):
            try:
                if self._duty.standby:
                    background.append(asyncio.create_task(self._report_book()))
                    await first_of(self._stop.wait(), self._promoted.wait())
                if self._promoted.is_set() or not self._duty.standby:
                    await self._decide(background)
            finally:
                for task in background:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
        return 0

    async def _report_book(self) -> None:
        """Send the supervisor of a standby the state of the book: usable, or not."""
        while not self._promoted.is_set():
            if self._follower.tried.is_set():
                usable = self._engine.book is not None and self._follower.alarm is None
                if self._link.state != (state := LOADED if usable else BOOKLESS):
                    self._link.tell(state)
            await asyncio.sleep(WORK_SECONDS / 4)

    async def _decide(self, background: list[asyncio.Task[None]]) -> None:
        """Take over, decide until a signal or a hand-over, then drain or hand over."""
        await self._take_over()
        work = asyncio.create_task(self._work())
        background += [asyncio.create_task(self._log_faults()), work]
        await first_of(self._stop.wait(), self._follower.tried.wait())
        if self._follower.tried.is_set():
            self._announce(self._book_line())
            self._announce("READY")
            self._link.tell(READY)
        await self._stop.wait()
        await first_of(self._hurry.wait(), self._hand_over(work) if self._hands_over else self._drain())
        self._responders.write()
        self._close(work)
        self._recorder.close()
        if unsent := self._listeners.unsent:
            STOPPED_UNSENT.tell(unsent=unsent)
        else:
            STOPPED.tell()

    # ---- taking over

    async def _take_over(self) -> None:
        """Restore the calls, wait a short time for the book, and start to read the sockets."""
        name_process("ident-decider")
        self._link.tell(TAKING_OVER)
        await asyncio.sleep(0)  # the reader of the book starts and runs in parallel
        self._journal = self._opened.enter_context(await open_journal(self._config.calls, self._stop))
        self._restore()
        if self._duty.replaces or self._duty.standby:
            with contextlib.suppress(TimeoutError):
                known = first_of(self._follower.tried.wait(), self._stop.wait())
                await asyncio.wait_for(known, REPLACEMENT_WAIT)
        served = self._duty.sockets
        await self._listeners.start(served, self._reporter.tally, self._announce)
        await self._serve_operators(served.control)
        self._search_switchless()
        self._report()
        self._link.tell(LISTENING)
        if self._duty.sockets is not served:  # new sockets arrived meanwhile
            await self._move()

    def _restore(self) -> None:
        """Restore the calls (engine.md 5.8) and the counters as the last decider left them."""
        self._calls, scopes = restored(self._journal, self._config.calls, replaces=self._duty.replaces)
        self._scopes |= scopes
        self._clock = self._journal.clock
        counters = self._opened.enter_context(CounterFile(self._config.calls.path, _counters_anew))
        self._recorder = Recorder(self._engine, self._calls, self._config.record, after)
        self._reporter = Reporter(
            self._calls, self._journal, counters, self._engine, self._follower, self._recorder
        )
        self._engine.hold(self._calls, self._reporter.tally)

    async def _serve_operators(self, bound: socket.socket) -> None:
        """Start to answer the commands of operators on this socket."""
        reporter = self._reporter
        operators = self._operators = OperatorService(
            self._engine, self._calls, lambda: self._scopes, reporter.status, reporter.ended, reporter.tally
        )
        self._control = OperatorListener(bound, lambda ask: operators.answer(ask, self._clock()))
        await self._control.start()

    def _on_sockets(self, control: socket.socket, ask: socket.socket) -> None:
        """Use new Unix sockets, since the paths of the earlier ones were lost."""
        before, sockets = self._duty.sockets, self._duty.sockets._replace(control=control, ask=ask)
        self._duty = self._duty._replace(sockets=sockets)
        if self._link.state in (LISTENING, READY):
            self._moving = asyncio.create_task(self._move())
        elif self._link.state != TAKING_OVER:  # then :meth:`_take_over` moves
            before.control.close()
            before.ask.close()

    async def _move(self) -> None:
        """Serve operators and our own processes on the current Unix sockets."""
        self._control.close()
        await self._serve_operators(self._duty.sockets.control)
        await self._listeners.serve_ask(self._duty.sockets.ask)

    def _search_switchless(self) -> None:
        """Start a search for legs whose switch is no longer in the config. An older search is cancelled."""
        if self._search is not None:
            self._search.cancel()
        self._search = asyncio.create_task(report_switchless(self._calls, self._config.switches))

    def _book_line(self) -> str:
        book = self._engine.book
        if book is None:
            return "no book yet: calls are rejected as not_ready"
        size = f"{counted(len(book.accounts), 'account')}, {counted(len(book.dids), 'active DID')}"
        return f"book version {book.version}: {size}"

    # ---- deciding

    async def _work(self) -> None:
        """Expire leases and continue long jobs, in short steps between batches."""
        while True:
            more = False
            try:
                more = self._calls.work(self._clock())
                self._journal.beat()  # also during long jobs
                self._report()
            except Exception as fault:  # later leases must still expire
                self._engine.faults.append(fault)
            await asyncio.sleep(0 if more else WORK_SECONDS)

    async def _log_faults(self) -> None:
        """Log, once a second, the exceptions behind ``internal_error`` and those of background work."""
        faults, logged = self._engine.faults, 0
        while True:
            if faults:
                FAULTS.tell(faults[-1], count=faults.total - logged)
                logged = faults.total
                faults.clear()
            await asyncio.sleep(1.0)

    def _report(self, *, last: bool = False) -> None:
        listeners = self._listeners
        self._reporter.note(self._clock(), listeners.unsent, listeners.connections, last=last)

    # ---- messages of the supervisor, and signals

    def _reconfigure(self, config: Config) -> None:
        """Apply the sections of a new config that may change. The supervisor handles all other changes."""
        old, self._config = self._config, config
        handlers.set_up(config.log)
        self._engine.settings = msgspec.structs.replace(self._engine.settings, reasons=config.reasons)
        self._listeners.reconfigure(config)
        if self._operators is not None:
            self._recorder.use(config.record)
        self._scopes |= {switch.scope for switch in config.switches}
        if self._operators is not None and config.switches != old.switches:
            self._search_switchless()
        if config.identify != old.identify:
            # The index and the options must fit each other: both change when the new book is loaded.
            self._follower.use_options(config.identify, lambda: self._listeners.use_options(self._config.identify))

    def _on_take_over(self) -> None:
        self._link.tell(TAKING_OVER)
        self._promoted.set()

    def _on_hand_over(self) -> None:
        self._hands_over = True
        self._end()

    def _on_orphaned(self) -> None:
        """Drain because the supervisor died, so that another server can start."""
        if self._duty.standby and not self._promoted.is_set():
            STANDBY_ENDS.tell()
        else:
            SUPERVISOR_GONE.tell()
        self._end()

    def _end(self) -> None:
        """Start to drain. At a second signal after :data:`HURRY_SECONDS`, exit without the rest of the drain."""
        now = asyncio.get_running_loop().time()
        if not self._stop.is_set():
            self._first_signal_at = now
            self._stop.set()
        elif now - self._first_signal_at > HURRY_SECONDS:  # a shell and the supervisor may both send the first one
            HURRIED.tell()
            self._hurry.set()

    # ---- the end

    async def _drain(self) -> None:
        """Accept no new messages, and answer all that were received."""
        DRAINING.tell()
        await self._listeners.drain(asyncio.get_running_loop().time() + DRAIN_SECONDS)

    async def _hand_over(self, work: asyncio.Task[None]) -> None:
        """Leave sockets and calls to another decider, which waits for them and answers the unread messages."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._listeners.leave(began + SETTLE_SECONDS)
        self._close(work)
        HANDED_OVER.tell(seconds=loop.time() - began)
        await self._listeners.part(began + DRAIN_SECONDS)

    def _close(self, work: asyncio.Task[None]) -> None:
        """Stop deciding. Write the final figures, then close the set of calls and the counters."""
        if work.cancelled() or work.cancelling():
            return
        work.cancel()
        if self._search is not None:
            self._search.cancel()
        self._control.close()
        self._recorder.flush()
        self._report(last=True)
        self._opened.close()


def _announced(line: str) -> None:
    ANNOUNCED.tell(what=line)


def _counters_anew(why: str) -> None:
    COUNTERS_ANEW.tell(why=why)


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # standard output has no reader: no reason to exit
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
