"""The process that decides: the set of calls, listeners, the book, signals, draining.

One process, one thread, one loop (docs/decisions/one-decider.md). The supervisor forks it with the sockets bound.
SIGTERM and SIGINT drain: everything that was received is answered, within :data:`DRAIN_SECONDS`. SIGHUP reads the
config again. A standby is the same process before it decides: it follows the book, and has neither opened the set
of calls nor read a socket until the supervisor tells it to take over.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from identengine.calls.clock import Clock
from identengine.calls.journal import Journal
from identengine.calls.journalfile import InUseError
from identengine.calls.memory import Calls, Settings
from identengine.config import schema as configuration
from identengine.config.schema import Config
from identengine.engine.core import Answer, Ask, Engine
from identengine.engine.lifecycle import Asker
from identengine.errors import ConfigError, StoreError
from identengine.log import handlers as logsetup
from identengine.log.events import (
    ANNOUNCED,
    CALLS_DAMAGED,
    CALLS_IN_USE,
    CERTIFICATES_UNUSABLE,
    CONFIG_FIXED,
    CONFIG_NOWHERE,
    CONFIG_PROBLEM,
    CONFIG_REFUSED,
    CONFIG_REREAD,
    CONFIG_WARNING,
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
from identengine.model.records import Decision, Interface, Request
from identengine.net.access import Peers
from identengine.net.operator import ControlListener
from identengine.net.sockets import Sockets, endpoint_of
from identengine.net.tcp.admission import Room
from identengine.net.tcp.listener import StreamListener, trusted
from identengine.net.tcp.tls import TlsListener, context_of
from identengine.net.udp.listener import UdpListener
from identengine.server.decider.bookfollower import TakeUp
from identengine.server.decider.operator import Desk
from identengine.server.decider.reporter import Reporter
from identengine.stats.file import CounterFile
from identengine.wire.jsonrpc.framings import framings
from identengine.wire.jsonrpc.responder import Responder

DRAIN_SECONDS = 4.5
"""Within the 5 s that interfaces.md 7 gives, the rest of the ending included."""
WORK_SECONDS = 0.2
"""Between two looks at what lapsed."""
HURRY_SECONDS = 1.0
"""How long after the first signal a second one means not to wait for the drain."""
BEAT_SECONDS = 0.5
"""Between two signs of life to the supervisor."""
REPLACEMENT_WAIT = 1.0
"""How long a replacement waits for its book before it reads its sockets: what waits in the kernel is answered by
the book then. Longer, and switches had better go elsewhere, as the answer ``not_ready`` tells them."""
ORPHAN_SECONDS = 6.0
"""How long the set of calls is waited for: the decider of a supervisor that was killed drains still, or that of
one that hands over settles."""

IDLE, LOADED, BOOKLESS, TAKING_OVER, LISTENING, READY = b"i", b"b", b"n", b"t", b"l", b"r"
"""What a decider tells the supervisor, at each change and as its sign of life: its state. A standby is idle until
it has tried to load the book, then it has one, or none that is all right; who takes over restores the calls, which
may take long; who is ready has tried to load the book."""
REREAD = b"c"
"""What it tells besides, before its state: it has obeyed a SIGHUP."""
TAKE_OVER, HAND_OVER = b"!", b"/"
"""What the supervisor tells a standby, and who is to leave everything to a decider of another supervisor. The end
of the stream tells that the supervisor died."""
SETTLE_SECONDS = 1.0
"""How long who hands over waits for peers that do not read: nobody decides meanwhile."""

_REFUSED = (
    ("too many connections of", "too_many_of_switch"),
    ("too many", "too_many"),
    ("TLS handshake", "tls_handshake"),
)
"""How it begins why a connection is not let in, and what that is counted as; all else: nobody knows who it is."""


class Duty(NamedTuple):
    """What a decider gets from the supervisor that forks it."""

    sockets: Sockets
    link: socket.socket
    """A stream socket that does not block; the supervisor has the other end."""
    mask: frozenset[int]
    """The signals to block once the decider hears them; until then all are blocked that it has to hear."""
    standby: bool
    replaces: bool
    """Whether switches are being answered since before: it waits for its book before it reads its sockets."""
    announces: bool
    """Whether to say on standard output what is said once a run: listeners, the book, ``READY``."""


def decide(config: Config, duty: Duty) -> int:
    """Decide until SIGTERM or SIGINT; returns the exit status.

    0 after a drain, 1 where the set of calls cannot be had; the reason is on standard error then.
    """
    logsetup.set_up(config.log)
    _name("ident-standby" if duty.standby else "ident-decider")
    try:
        with contextlib.ExitStack() as opened:
            return uvloop.run(_Decider(config, duty, opened).serve())
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        logsetup.finish()


class _Decider:
    """One run of the process."""

    _journal: Journal
    _clock: Clock
    _calls: Calls
    _reporter: Reporter
    _control: ControlListener

    def __init__(self, config: Config, duty: Duty, opened: contextlib.ExitStack) -> None:
        """Make it; what it opens and needs up to its end it puts into ``opened``."""
        self._config = config
        self._opened = opened
        self._duty = duty
        self._state = IDLE
        self._identify = config.identify
        """The options in force: those that the book in use was made with."""
        self._announce: Callable[[str], None] = _print if duty.announces else _announced
        self._began = time.monotonic()
        calls = config.calls
        self._engine = Engine(config.reasons, None, lease=calls.reserved, require_call_id=calls.require_call_id)
        self._responder = Responder(
            self._engine,
            lambda: time.monotonic() - self._began,
            self._on_reject,
            self._decide_batch,
            self._on_wrong_token,
            lambda: self._reporter.tally.add("datagrams_dropped_too_old"),
        )
        self._framings = framings(self._responder)
        self._take_up = TakeUp(self._engine, config.store, config.identify)
        self._room = Room(config.limits)
        self._udp: list[UdpListener] = []
        self._streams: dict[Interface, list[StreamListener]] = {"tcp": [], "tls": [], "http": []}
        self._stop, self._hurry, self._promoted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._hands_over = False
        self._told_to_end = 0.0

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        self._rejects, self._refused = (RejectLog(lambda write: loop.call_later(1.0, write)) for _ in range(2))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._obey_hangup)
        loop.add_reader(self._duty.link, self._hear)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._duty.mask)  # what came since the fork is heard now
        background = [asyncio.create_task(self._beat()), asyncio.create_task(self._take_up.follow())]
        try:
            if self._duty.standby:
                background.append(asyncio.create_task(self._tell_of_book()))
                await _first_of(self._stop.wait(), self._promoted.wait())
            if self._promoted.is_set() or not self._duty.standby:
                await self._decide(background)
        finally:
            # After the loop a signal would end the process with another status.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
            for task in background:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        return 0

    async def _decide(self, background: list[asyncio.Task[None]]) -> None:
        """Take over, decide until told to end, and drain."""
        _name("ident-decider")
        self._tell(TAKING_OVER)
        await asyncio.sleep(0)  # the reader of the book starts, and reads beside what follows
        self._journal = self._opened.enter_context(await self._open_calls())
        self._restore()
        if self._duty.replaces or self._duty.standby:
            with contextlib.suppress(TimeoutError):
                known = _first_of(self._take_up.tried.wait(), self._stop.wait())
                await asyncio.wait_for(known, REPLACEMENT_WAIT)
        await self._listen()
        self._report()
        self._tell(LISTENING)
        work = asyncio.create_task(self._work())
        background += [asyncio.create_task(self._log_faults()), work]
        await _first_of(self._stop.wait(), self._take_up.tried.wait())
        if self._take_up.tried.is_set():
            self._announce(self._book())
            self._announce("READY")
            self._tell(READY)
        await self._stop.wait()
        await _first_of(self._hurry.wait(), self._hand_over(work) if self._hands_over else self._drain())
        self._rejects.write()
        self._refused.write()
        self._let_go(work)
        unsent = sum(udp.unsent for udp in self._udp)
        if unsent:
            STOPPED_UNSENT.tell(unsent=unsent)
        else:
            STOPPED.tell()

    async def _open_calls(self) -> Journal:
        """Open the mirror of the set of calls; raises StoreError.

        Where an orphan still decides on it, a decider whose supervisor was killed, it is waited for.
        """
        calls, loop = self._config.calls, asyncio.get_running_loop()
        patience, mention = loop.time() + ORPHAN_SECONDS, loop.time() + 1.0
        while True:
            try:
                return Journal(calls.path, calls.max_legs, calls.lapsed_max, _damaged)
            except InUseError:
                if loop.time() > patience or self._stop.is_set():
                    raise
            if loop.time() > mention:
                CALLS_IN_USE.tell(path=str(calls.path))
                mention = patience
            await asyncio.sleep(0.005)

    def _restore(self) -> None:
        """Take up the calls as they were left (engine.md 5.8)."""
        calls = self._config.calls
        self._calls = Calls(
            Settings(
                max_legs=calls.max_legs,
                lapsed_max=calls.lapsed_max,
                reserved=calls.reserved,
                active=calls.active,
                grace=calls.grace,
                global_capacity=calls.global_capacity,
            ),
            self._journal,
        )
        gc.disable()  # it would look again and again through what is kept for long
        kept = self._journal.read()
        self._clock = self._journal.clock
        self._calls.restore(*kept, self._clock())
        gc.freeze()
        gc.enable()
        counters = self._opened.enter_context(CounterFile(calls.path, _counters_anew))
        self._reporter = Reporter(self._calls, self._journal, counters, self._engine, self._take_up)
        self._engine.hold(self._calls, self._reporter.tally)

    async def _listen(self) -> None:
        """Read the sockets from now on."""
        sockets, limits = self._duty.sockets, self._config.limits
        common = self._framings, self._room, self._on_refused
        for bound in sockets.udp:
            udp = UdpListener(bound, self._peers("udp"), self._responder.datagrams, limits, self._on_dropped)
            self._udp.append(udp)
            udp.start()
            self._announce(f"listening udp {udp.endpoint}")
        for bound in sockets.tcp:
            tcp = StreamListener(bound, self._peers("tcp"), *common)
            self._streams["tcp"].append(tcp)
            await tcp.start()
            self._announce(f"listening tcp {tcp.endpoint}")
        for bound in sockets.tls:
            tls = TlsListener(bound, self._peers("tls"), *common, self._certificates())
            self._streams["tls"].append(tls)
            await tls.start()
            self._announce(f"listening tls {tls.endpoint}")
        if sockets.http is not None:  # the front serves it, and who connects before it does waits in the kernel
            self._announce(f"listening http {endpoint_of(sockets.http)}")
            sockets.close_http()
        ask = StreamListener(
            sockets.ask, self._peers("http"), self._framings, Room(limits), self._on_refused, trusted
        )
        self._streams["http"].append(ask)
        await ask.start()
        reporter = self._reporter
        desk = Desk(self._engine, self._calls, self._scopes, reporter.status, reporter.ended, reporter.tally.add)
        self._control = ControlListener(self._duty.sockets.control, lambda ask: desk.answer(ask, self._clock()))
        await self._control.start()

    # ---- what the supervisor and signals say

    def _end(self) -> None:
        """Drain; told again after a while, do not wait for it."""
        now = asyncio.get_running_loop().time()
        if not self._stop.is_set():
            self._told_to_end = now
            self._stop.set()
        elif now - self._told_to_end > HURRY_SECONDS:  # two at once are meant as one: of a shell, of a supervisor
            HURRIED.tell()
            self._hurry.set()

    def _hear(self) -> None:
        """Take over when told; end when the supervisor is there no more, so that another can start."""
        try:
            word = self._duty.link.recv(16)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        if word:
            if TAKE_OVER in word:
                self._tell(TAKING_OVER)
                self._promoted.set()
            if HAND_OVER in word:
                self._hands_over = True
                self._end()
            return
        asyncio.get_running_loop().remove_reader(self._duty.link)
        if self._duty.standby and not self._promoted.is_set():
            STANDBY_ENDS.tell()
        else:
            SUPERVISOR_GONE.tell()
        self._end()

    async def _beat(self) -> None:
        """Tell the supervisor that the loop turns."""
        while True:
            self._tell(self._state)
            await asyncio.sleep(BEAT_SECONDS)

    def _tell(self, state: bytes) -> None:
        self._state = state
        with contextlib.suppress(OSError):  # it is full or gone; the next one tells it again
            self._duty.link.send(state)

    async def _tell_of_book(self) -> None:
        """Tell the supervisor, while we stand by, whether there is a book that calls can be decided by."""
        while not self._promoted.is_set():
            if self._take_up.tried.is_set():
                well = self._engine.book is not None and self._take_up.alarm is None
                if self._state != (state := LOADED if well else BOOKLESS):
                    self._tell(state)
            await asyncio.sleep(WORK_SECONDS / 4)

    async def _hand_over(self, work: asyncio.Task[None]) -> None:
        """Leave sockets and calls to another decider, which waits for them: what was not read is its to answer."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        settled = began + SETTLE_SECONDS
        streams = list(chain.from_iterable(self._streams.values()))
        await asyncio.gather(
            *[udp.leave(settled) for udp in self._udp], *[stream.settle(settled) for stream in streams]
        )
        self._let_go(work)
        HANDED_OVER.tell(seconds=loop.time() - began)
        await asyncio.gather(*[stream.part(began + DRAIN_SECONDS) for stream in streams])

    def _let_go(self, work: asyncio.Task[None]) -> None:
        """Decide no more: close the set of calls and the counters, once they say how we left them."""
        if work.cancelled() or work.cancelling():
            return
        work.cancel()
        self._control.close()
        self._report(last=True)
        self._opened.close()

    async def _drain(self) -> None:
        """Take nothing new, answer everything that was received."""
        DRAINING.tell()
        deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
        await asyncio.gather(
            *[udp.drain(deadline) for udp in self._udp],
            *[stream.drain(deadline) for stream in chain.from_iterable(self._streams.values())],
        )

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

    def _obey_hangup(self) -> None:
        self._reload()
        with contextlib.suppress(OSError):  # who asked gives up waiting
            self._duty.link.send(REREAD + self._state)

    def _reload(self) -> None:
        """Read the config again, take what can change while running, and say what cannot."""
        old = self._config
        if old.source is None:
            CONFIG_NOWHERE.tell()
            return
        try:
            new, fixed = configuration.reread(old)
        except ConfigError as error:
            for problem in error.problems:
                CONFIG_PROBLEM.tell(what=str(problem))
            CONFIG_REFUSED.tell()
            return
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
        self._config = new
        logsetup.set_up(new.log)
        for warning in new.warnings:
            CONFIG_WARNING.tell(what=warning)
        self._engine.reasons = new.reasons
        self._room.limits = new.limits  # also of a standby, which has no listeners yet
        for stream in chain.from_iterable(self._streams.values()):
            stream.room.limits = new.limits
        for udp in self._udp:
            udp.limit(new.limits)
        self._replace_certificates()
        self._replace_peers()
        if new.identify != old.identify:
            # The index and the options have to fit each other: both change when the new book is there.
            self._take_up.use_options(new.identify, self._use_options)
        CONFIG_REREAD.tell(changed=", ".join(changed) or "nothing")
        if fixed:
            CONFIG_FIXED.tell(sections=", ".join(f"[{name}]" for name in fixed))

    def _use_options(self) -> None:
        """Identify by the options of the config, which the new book was made with."""
        self._identify = self._config.identify
        self._replace_peers()

    def _replace_peers(self) -> None:
        for udp in self._udp:
            udp.peers = self._peers("udp")
        for interface, streams in self._streams.items():
            for stream in streams:
                stream.replace_peers(self._peers(interface))

    def _replace_certificates(self) -> None:
        """Read the certificates again, for connections that come from now on."""
        streams = self._streams["tls"]
        if not streams:
            return
        context = self._certificates()
        if context is None:
            return
        for stream in streams:
            if isinstance(stream, TlsListener):
                stream.context = context

    def _certificates(self) -> ssl.SSLContext | None:
        """Return what TLS connections are made with; None, and an alarm, where the files are not as they must be.

        They were as they must be when the server started: all else goes on.
        """
        try:
            return context_of(self._config.tls)
        except ConfigError as error:
            for problem in error.problems:
                CERTIFICATES_UNUSABLE.tell(what=problem)
            return None

    def _peers(self, interface: Interface) -> Peers:
        return Peers(self._config.switches, self._identify, interface)

    def _book(self) -> str:
        book = self._engine.book
        if book is None:
            return "no book yet: calls are rejected as not_ready"
        return f"book version {book.version}: {len(book.bearers)} accounts, {len(book.dids)} active DIDs"

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
        connections = {one: sum(len(each.connections) for each in these) for one, these in self._streams.items()}
        self._reporter.note(self._clock(), sum(udp.unsent for udp in self._udp), connections, last=last)

    def _scopes(self) -> set[str]:
        return {switch.scope for switch in self._config.switches}

    def _on_dropped(self, source: str, why: str) -> None:
        self._reporter.tally.add("datagrams_dropped_unknown_peer")
        self._refused.note(source, why)

    def _on_refused(self, source: str, why: str) -> None:
        label = next((label for begin, label in _REFUSED if why.startswith(begin)), "unknown_peer")
        self._reporter.tally.add(f"connections_refused_{label}")
        self._refused.note(source, why)

    def _decide_batch(self, batch: Sequence[Ask]) -> list[Answer]:
        began = time.perf_counter()
        answers = self._engine.decide(batch, self._clock())
        self._reporter.tally.decided(time.perf_counter() - began, len(batch))
        return answers

    def _on_wrong_token(self, host: str) -> None:
        self._reporter.tally.add("wrong_tokens")
        self._refused.note(host, "wrong token")

    def _on_reject(self, asker: Asker, request: Request, decision: Decision) -> None:
        source = request.src_ip or request.name or request.src_number or ""
        self._rejects.note(source, decision.reason or "", asker.switch)


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


def _name(process: str) -> None:
    """Tell ps and top what this process is."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(process, encoding="ascii")


def _announced(line: str) -> None:
    ANNOUNCED.tell(what=line)


def _damaged(why: str) -> None:
    CALLS_DAMAGED.tell(why=why)


def _counters_anew(why: str) -> None:
    COUNTERS_ANEW.tell(why=why)


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads: no reason to end
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
