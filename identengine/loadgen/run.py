"""The schedule of a run: when each connection sends, and when the run ends. One thread, one loop."""

from __future__ import annotations

import gc
import math
import random
import select
import socket
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Protocol

import msgspec

from identengine.loadgen.connection import TURN, LoadConnection
from identengine.loadgen.mix import Judge, Line, MixError
from identengine.loadgen.order import Source
from identengine.loadgen.pattern import Pattern, seeded
from identengine.loadgen.scores import Report, Scores
from identengine.loadgen.target import Target

_SECOND = 1_000_000_000
_LONGEST_WAIT = 0.05
"""Interval of the checks for lost requests and of the progress reports, in seconds."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a run: a ``rate`` or a ``window``, for a ``duration`` or a number of ``requests``."""

    rate: float | None = None
    """Requests per second. Each is sent when it is due, independent of earlier answers (open loop)."""
    window: int | None = None
    """Number of requests kept in flight (closed loop)."""
    connections: int = 1
    duration: float | None = None
    """Length of the run, in seconds."""
    requests: int | None = None
    """Number of requests, rounded up to whole passes through the mix."""
    timeout: float = 2.0
    """Time after which a request without an answer is lost, in seconds."""
    seed: int = 0


class Run:
    """A run of requests against a server."""

    def __init__(self, target: Target, lines: Sequence[Line], plan: Plan) -> None:
        """Prepare the messages. Raise MixError if a placeholder is wrong."""
        self._plan = plan
        self._target = target
        self._scores = Scores([line.method for line in lines])
        patterns = _patterns(target, lines, plan.seed)
        face = target.interface
        judges = [Judge(line, face.decoder(line.method), face.carried(line.method)) for line in lines]
        passes = None if plan.requests is None else max(1, -(-plan.requests // len(lines)))
        step = plan.connections
        self._peers = [
            LoadConnection(
                target,
                Source(patterns, first, step, None if passes is None else len(range(first, passes, step))),
                patterns,
                judges,
                self._scores,
                int(plan.timeout * _SECOND),
            )
            for first in range(step)
        ]
        self._stops = 0

    def stop(self) -> None:
        """Finish the calls that have begun and start no more. On the second call stop sending at once.

        A signal handler may call this method.
        """
        self._stops += 1

    def go(self, tell: Callable[[Scores, float], None]) -> Report:
        """Run and return the report. ``tell`` receives the counts and the elapsed seconds as the run progresses.

        Raise TargetError if the first connection to the server fails.
        """
        # A run makes no cycles of objects, and a garbage collection would be a pause in the measurement.
        collecting = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            for peer in self._peers:
                peer.connect()
            return self._go(tell)
        finally:
            for peer in self._peers:
                peer.close()
            if collecting:
                gc.enable()

    def _go(self, tell: Callable[[Scores, float], None]) -> Report:
        plan, scores, peers = self._plan, self._scores, self._peers
        start = monotonic_ns()
        end = start + int(plan.duration * _SECOND) if plan.duration is not None else None
        clocks = self._clocks(start)
        swept = start
        heeded = 0
        with _Poll() as poll:
            while True:
                now = monotonic_ns()
                if end is not None and now >= end:
                    end = None
                    for peer in peers:
                        peer.finish()
                if self._stops > heeded:
                    heeded = self._stops
                    for peer in peers:
                        if heeded == 1:
                            peer.finish()
                        else:
                            peer.stop()
                wait = _LONGEST_WAIT * _SECOND
                for peer, clock in zip(peers, clocks, strict=True):
                    if not peer.finished and not peer.blocked:
                        wait = min(wait, clock.send(peer, now))
                for peer in poll.ready(peers, wait / _SECOND):
                    if peer.blocked:
                        peer.write()
                    peer.read()
                if now - swept > _LONGEST_WAIT * _SECOND:
                    swept = now
                    for peer in peers:
                        peer.sweep(now)
                    tell(scores, (now - start) / _SECOND)
                if all(peer.finished and not peer.in_flight for peer in peers):
                    break
        seconds = (monotonic_ns() - start) / _SECOND
        return scores.report(seconds, stopped=bool(heeded))

    def _clocks(self, start: int) -> Sequence[_Clock]:
        plan = self._plan
        count = len(self._peers)
        most = self._target.interface.most or math.inf
        if plan.rate is None:
            return [_Window(int(min(most, max(1, (plan.window or 1) // count)))) for _ in self._peers]
        interval = _SECOND / plan.rate
        patience = int(plan.timeout * _SECOND)
        return [_Schedule(start + place * interval, count * interval, patience, most) for place in range(count)]


class _Clock(Protocol):
    """Decides when a connection sends."""

    def send(self, peer: LoadConnection, now: int) -> float:
        """Send the requests that are due. Return the time until the next one, in nanoseconds."""


class _Schedule:
    """Open loop: requests at a fixed interval, independent of earlier answers."""

    def __init__(self, first: float, interval: float, patience: int, most: float) -> None:
        """``most`` is the largest number of requests in flight."""
        self._first = first
        self._interval = interval
        self._patience = patience
        self._most = most
        self._done = 0

    def send(self, peer: LoadConnection, now: int) -> float:
        """Send the requests that are due. Return the time until the next one, in nanoseconds."""
        first, interval = self._first, self._interval
        # Rounded down, not towards 0: otherwise the first request would be due one interval early.
        count = math.floor((now - first) / interval) + 1 - self._done
        if count > 0:
            overdue = min(count, math.floor((now - self._patience - first) / interval) + 1 - self._done)
            if overdue > 0:
                peer.skip(overdue)
                self._done += overdue
                count -= overdue
            if not peer.connected(now):
                return _LONGEST_WAIT * _SECOND
            count = int(min(count, TURN, self._most - peer.in_flight))
            if count <= 0:
                return _LONGEST_WAIT * _SECOND  # until an answer arrives
            done = self._done
            sent = peer.send([int(first + place * interval) for place in range(done, done + count)], now)
            self._done += sent
            if sent < count:
                return _LONGEST_WAIT * _SECOND  # as above
        return max(0.0, first + self._done * interval - now)


class _Window:
    """Closed loop: a fixed number of requests in flight."""

    def __init__(self, size: int) -> None:
        self._size = size

    def send(self, peer: LoadConnection, now: int) -> float:
        """Fill the window. Return the longest time to wait for answers, in nanoseconds."""
        if peer.connected(now):
            room = min(self._size - peer.in_flight, TURN)
            if room > 0:
                sent = peer.send([now] * room, now)
                if sent == room and peer.in_flight < self._size:
                    return 0.0
        return _LONGEST_WAIT * _SECOND


class _Poll:
    """Waits for sockets with a time-out in microseconds. The time-out of epoll counts milliseconds."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._known: dict[LoadConnection, tuple[socket.socket, int]] = {}
        self._peers: dict[int, LoadConnection] = {}

    def __enter__(self) -> _Poll:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()

    def ready(self, peers: Sequence[LoadConnection], seconds: float) -> list[LoadConnection]:
        """Return the connections that can be read or written, after at most ``seconds``."""
        for peer in peers:
            if peer.socket is not None:
                self._watch(peer, peer.socket, select.EPOLLIN | (select.EPOLLOUT if peer.blocked else 0))
        if not select.select([self._epoll], [], [], seconds)[0]:
            return []
        return [self._peers[number] for number, _ in self._epoll.poll(0)]

    def _watch(self, peer: LoadConnection, opened: socket.socket, events: int) -> None:
        known = self._known.get(peer)
        if known is not None and known[0] is opened:
            if known[1] == events:
                return
            self._epoll.modify(opened, events)
        else:
            self._epoll.register(opened, events)  # a closed socket has left the set already
            self._peers[opened.fileno()] = peer
        self._known[peer] = opened, events


def _patterns(target: Target, lines: Sequence[Line], seed: int) -> list[Pattern]:
    chance = random.Random(seed)  # noqa: S311 - the same calls for the same seed
    patterns = []
    for line in lines:
        method = line.method

        def render(number: str, params: dict[str, object], method: str = method) -> bytes:
            return target.interface.render(method, params, number)

        try:
            patterns.append(Pattern(render, seeded(line.params, seed), chance))
        except ValueError as error:
            raise MixError(f"{line.title or method}: {error}") from None
    return patterns
