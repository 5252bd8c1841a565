"""The process that decides: the set of calls, listeners, the book, signals, draining.

One process, one thread, one loop (docs/decisions/one-decider.md). The supervisor forks it with the sockets bound.
SIGTERM and SIGINT drain: everything that was received is answered, within :data:`DRAIN_SECONDS`. The supervisor
sends a new config. A standby is the same process before it decides: it follows the book, and has neither opened
the set of calls nor read a socket until the supervisor tells it to take over.

:class:`_Decider` reads as that life: standing by, taking over, deciding, then draining or handing over.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import uvloop

from identengine.calls.clock import Clock
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls
from identengine.config.schema import Config
from identengine.engine.core import Engine, EngineAnswer, EngineRequest
from identengine.engine.lifecycle import Asker
from identengine.engine.settings import EngineSettings
from identengine.errors import StoreError
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
from identengine.log.rejects import RejectLog
from identengine.model.records import Decision, Request
from identengine.net.operator import OperatorListener
from identengine.server.decider.bookfollower import BookFollower
from identengine.server.decider.listeners import Listeners
from identengine.server.decider.operator import OperatorService
from identengine.server.decider.reporter import Reporter
from identengine.server.decider.restore import open_journal, restored
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
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.responder import MalformedMessage

WORK_SECONDS = 0.2
"""Between two looks at what lapsed."""
HURRY_SECONDS = 1.0
"""How long after the first signal a second one means not to wait for the drain."""
REPLACEMENT_WAIT = 1.0
"""How long a replacement waits for its book before it reads its sockets: what waits in the kernel is answered by
the book then. Longer, and switches had better go elsewhere, as the answer ``not_ready`` tells them."""
SETTLE_SECONDS = 1.0
"""How long who hands over waits for peers that do not read: nobody decides meanwhile."""


def decide(config: Config, duty: Duty) -> int:
    """Decide until SIGTERM or SIGINT; returns the exit status.

    0 after a drain, 1 where the set of calls cannot be had; the reason is on standard error then.
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
    _reporter: Reporter
    _control: OperatorListener

    def __init__(self, config: Config, duty: Duty, opened: contextlib.ExitStack) -> None:
        """Make it; what it opens and needs up to its end it puts into ``opened``."""
        self._config = config
        self._opened = opened
        self._duty = duty
        self._link = ChildEnd(duty, IDLE)
        self._announce: Callable[[str], None] = _print if duty.announces else _announced
        self._began = time.monotonic()
        calls = config.calls
        self._engine = Engine(
            EngineSettings(reasons=config.reasons, lease=calls.reserved, require_call_id=calls.require_call_id)
        )
        self._responder = Responder(
            self._engine,
            lambda: time.monotonic() - self._began,
            self._on_reject,
            self._decide_batch,
            self._on_wrong_token,
            lambda: self._reporter.tally.add("datagrams_dropped_too_old"),
            self._on_malformed,
        )
        # Three logs, so that a flood of one kind leaves the lines of the others.
        self._rejects, self._refused, self._malformed = (RejectLog(_in_a_second) for _ in range(3))
        self._follower = BookFollower(self._engine, config.store, config.identify)
        self._listeners = Listeners(config, self._responder, self._refused)
        self._stop, self._hurry, self._promoted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._hands_over = False
        self._told_to_end = 0.0

    async def serve(self) -> int:
        background = [asyncio.create_task(self._link.beat()), asyncio.create_task(self._follower.follow())]
        with self._link.attend(
            end=self._end,
            orphaned=self._on_orphaned,
            reconfigure=self._reconfigure,
            words={TAKE_OVER: self._on_take_over, HAND_OVER: self._on_hand_over},
        ):
            try:
                if self._duty.standby:
                    background.append(asyncio.create_task(self._tell_of_book()))
                    await _first_of(self._stop.wait(), self._promoted.wait())
                if self._promoted.is_set() or not self._duty.standby:
                    await self._decide(background)
            finally:
                for task in background:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
        return 0

    async def _tell_of_book(self) -> None:
        """Tell the supervisor, while we stand by, whether there is a book that calls can be decided by."""
        while not self._promoted.is_set():
            if self._follower.tried.is_set():
                well = self._engine.book is not None and self._follower.alarm is None
                if self._link.state != (state := LOADED if well else BOOKLESS):
                    self._link.tell(state)
            await asyncio.sleep(WORK_SECONDS / 4)

    async def _decide(self, background: list[asyncio.Task[None]]) -> None:
        """Take over, decide until told to end, and drain."""
        await self._take_over()
        work = asyncio.create_task(self._work())
        background += [asyncio.create_task(self._log_faults()), work]
        await _first_of(self._stop.wait(), self._follower.tried.wait())
        if self._follower.tried.is_set():
            self._announce(self._book())
            self._announce("READY")
            self._link.tell(READY)
        await self._stop.wait()
        await _first_of(self._hurry.wait(), self._hand_over(work) if self._hands_over else self._drain())
        self._rejects.write()
        self._refused.write()
        self._malformed.write()
        self._let_go(work)
        if unsent := self._listeners.unsent:
            STOPPED_UNSENT.tell(unsent=unsent)
        else:
            STOPPED.tell()

    # ---- taking over

    async def _take_over(self) -> None:
        """Restore the calls, wait shortly for the book, and read the sockets."""
        name_process("ident-decider")
        self._link.tell(TAKING_OVER)
        await asyncio.sleep(0)  # the reader of the book starts, and reads beside what follows
        self._journal = self._opened.enter_context(await open_journal(self._config.calls, self._stop))
        self._restore()
        if self._duty.replaces or self._duty.standby:
            with contextlib.suppress(TimeoutError):
                known = _first_of(self._follower.tried.wait(), self._stop.wait())
                await asyncio.wait_for(known, REPLACEMENT_WAIT)
        await self._listeners.start(self._duty.sockets, self._reporter.tally, self._announce)
        await self._serve_operators()
        self._report()
        self._link.tell(LISTENING)

    def _restore(self) -> None:
        """Take up the calls as they were left (engine.md 5.8), and the counters."""
        self._calls = restored(self._journal, self._config.calls)
        self._clock = self._journal.clock
        counters = self._opened.enter_context(CounterFile(self._config.calls.path, _counters_anew))
        self._reporter = Reporter(self._calls, self._journal, counters, self._engine, self._follower)
        self._engine.hold(self._calls, self._reporter.tally)

    async def _serve_operators(self) -> None:
        """Answer the commands of operators from now on."""
        reporter = self._reporter
        operators = OperatorService(
            self._engine, self._calls, self._scopes, reporter.status, reporter.ended, reporter.tally
        )
        self._control = OperatorListener(
            self._duty.sockets.control, lambda ask: operators.answer(ask, self._clock())
        )
        await self._control.start()

    def _scopes(self) -> set[str]:
        return {switch.scope for switch in self._config.switches}

    def _book(self) -> str:
        book = self._engine.book
        if book is None:
            return "no book yet: calls are rejected as not_ready"
        return f"book version {book.version}: {len(book.accounts)} accounts, {len(book.dids)} active DIDs"

    # ---- deciding

    def _decide_batch(self, batch: Sequence[EngineRequest]) -> list[EngineAnswer]:
        began = time.perf_counter()
        answers = self._engine.decide(batch, self._clock())
        self._reporter.tally.decided(time.perf_counter() - began, len(batch))
        return answers

    def _on_wrong_token(self, host: str) -> None:
        self._reporter.tally.add("wrong_tokens")
        self._refused.note(host, "wrong token")

    def _on_reject(self, asker: Asker, request: Request, decision: Decision) -> None:
        self._rejects.reject(asker.switch, request, decision)

    def _on_malformed(self, message: MalformedMessage) -> None:
        self._reporter.tally.malformed(message.switch, message.code)
        self._malformed.malformed(*message)

    async def _work(self) -> None:
        """Let leases lapse and long jobs go on, in short steps between batches."""
        while True:
            more = False
            try:
                more = self._calls.work(self._clock())
                self._journal.beat()  # also where there is more for a long time
                self._report()
            except Exception as fault:  # leases have to lapse still; the next look may be better
                self._engine.faults.append(fault)
            await asyncio.sleep(0 if more else WORK_SECONDS)

    async def _log_faults(self) -> None:
        """Write down, once a second, what was answered with ``internal_error``, or went wrong beside requests."""
        faults, told = self._engine.faults, 0
        while True:
            if faults:
                FAULTS.tell(faults[-1], count=faults.total - told)
                told = faults.total
                faults.clear()
            await asyncio.sleep(1.0)

    def _report(self, *, last: bool = False) -> None:
        listeners = self._listeners
        self._reporter.note(self._clock(), listeners.unsent, listeners.connections, last=last)

    # ---- what the supervisor and signals say

    def _reconfigure(self, config: Config) -> None:
        """Go by another config from now on, as far as it may change; the supervisor has seen to the rest."""
        old, self._config = self._config, config
        handlers.set_up(config.log)
        self._engine.settings = msgspec.structs.replace(self._engine.settings, reasons=config.reasons)
        self._listeners.reconfigure(config)
        if config.identify != old.identify:
            # The index and the options have to fit each other: both change when the new book is there.
            self._follower.use_options(config.identify, lambda: self._listeners.use_options(self._config.identify))

    def _on_take_over(self) -> None:
        self._link.tell(TAKING_OVER)
        self._promoted.set()

    def _on_hand_over(self) -> None:
        self._hands_over = True
        self._end()

    def _on_orphaned(self) -> None:
        """End, as the supervisor is there no more, so that another can start."""
        if self._duty.standby and not self._promoted.is_set():
            STANDBY_ENDS.tell()
        else:
            SUPERVISOR_GONE.tell()
        self._end()

    def _end(self) -> None:
        """Drain; told again after a while, do not wait for it."""
        now = asyncio.get_running_loop().time()
        if not self._stop.is_set():
            self._told_to_end = now
            self._stop.set()
        elif now - self._told_to_end > HURRY_SECONDS:  # two at once are meant as one: of a shell, of a supervisor
            HURRIED.tell()
            self._hurry.set()

    # ---- the end

    async def _drain(self) -> None:
        """Take nothing new, answer everything that was received."""
        DRAINING.tell()
        await self._listeners.drain(asyncio.get_running_loop().time() + DRAIN_SECONDS)

    async def _hand_over(self, work: asyncio.Task[None]) -> None:
        """Leave sockets and calls to another decider, which waits for them: what was not read is its to answer."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._listeners.leave(began + SETTLE_SECONDS)
        self._let_go(work)
        HANDED_OVER.tell(seconds=loop.time() - began)
        await self._listeners.part(began + DRAIN_SECONDS)

    def _let_go(self, work: asyncio.Task[None]) -> None:
        """Decide no more: close the set of calls and the counters, once they say how we left them."""
        if work.cancelled() or work.cancelling():
            return
        work.cancel()
        self._control.close()
        self._report(last=True)
        self._opened.close()


def _in_a_second(write: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(1.0, write)


async def _first_of(*awaited: Coroutine[Any, Any, object]) -> None:
    """Wait until one of these has ended, and cancel the others; raises what it raised."""
    tasks = [asyncio.ensure_future(one) for one in awaited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _announced(line: str) -> None:
    ANNOUNCED.tell(what=line)


def _counters_anew(why: str) -> None:
    COUNTERS_ANEW.tell(why=why)


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads: no reason to end
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
