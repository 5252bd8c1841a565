"""One connection or UDP socket: the requests that it sends, waits for and loses."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from time import monotonic_ns

from identengine.errors import WireError
from identengine.loadgen.mix import Judge
from identengine.loadgen.order import AsWritten, OneOfACall, Order, Source
from identengine.loadgen.pattern import Pattern
from identengine.loadgen.protocols import Reader, Reply
from identengine.loadgen.scores import Scores
from identengine.loadgen.target import Target, TargetError

TURN = 128
"""Number of requests sent, or datagrams read, before the next connection is served."""
TRIES = 3
"""Number of times that a request is sent over an interface whose clients retransmit, until it is lost."""
_READ = 1 << 18
_AGAIN = 200_000_000
"""Pause before a reconnect, in nanoseconds."""
_GIVE_UP = 10_000_000_000
"""Time after which reconnecting is abandoned, in nanoseconds."""
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class LoadConnection:
    """A connection and its bookkeeping. All times are nanoseconds of the monotonic clock."""

    def __init__(
        self,
        target: Target,
        source: Source,
        patterns: Sequence[Pattern],
        judges: Sequence[Judge],
        scores: Scores,
        patience: int,
    ) -> None:
        """``patience`` is the time after which a request is lost, in nanoseconds."""
        self.socket: socket.socket | None = None
        self.blocked = False
        """True while the buffer of the socket is full."""
        self.finished = False
        """True once all requests have been sent."""
        self._target = target
        self._source = source
        self._order: Order = AsWritten(source) if target.interface.ordered else OneOfACall(source)
        self._fills = [pattern.fill for pattern in patterns]
        self._judges = judges
        self._scores = scores
        self._patience = patience
        self._numbered = target.interface.numbered
        # TLS may hold bytes that poll does not see.
        self._whole_read = target.tls is None and not target.datagrams
        self._interval = patience // TRIES if target.interface.retransmits else None
        self._repeats: dict[int, int] = {}
        """Number of retransmissions of each request in flight that was sent more than once."""
        self._send = self._send_datagrams if target.datagrams else self._send_stream
        self._waiting: dict[int, tuple[int, int, int, int]] = {}
        """Number of each request in flight to its due time, send time, line and pass, in the order of sending."""
        self._number = 0
        self._unwritten: list[bytes] = []
        self._reader: Reader
        self._again = 0
        self._since = 0
        """Time at which the connection was lost."""
        self._blocked_at = 0

    @property
    def in_flight(self) -> int:
        """Number of requests that wait for an answer."""
        return len(self._waiting)

    def connect(self) -> None:
        """Connect. Raise TargetError if that fails."""
        self.socket, self._reader = self._target.dial()

    def connected(self, now: int) -> bool:
        """Return True if there is a connection. Reconnect first if the pause is over."""
        if self.socket is None and now >= self._again:
            try:
                self.connect()
                self._scores.reconnects += 1
            except TargetError as error:
                self._scores.trouble(str(error))
                self._again = monotonic_ns() + _AGAIN
        return self.socket is not None

    def finish(self) -> None:
        """Start no new calls. Finish those that have begun."""
        self._source.finish()

    def stop(self) -> None:
        """Send no more requests."""
        self.finished = True

    def close(self) -> None:
        """Close the connection."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def send(self, dues: Sequence[int], now: int) -> int:
        """Send a request for each due time. Return the number of requests, which is smaller if some have to wait.

        The connection must be open and not blocked.
        """
        follow, seal, waiting, number, batch = self._order.next, self._reader.seal, self._waiting, self._number, []
        for due in dues:
            message = follow()
            if message is None:
                self.finished = self.finished or self._order.finished
                break
            index, n = message
            number += 1
            waiting[number] = due, now, index, n
            batch.append(seal(number, self._fills[index](number, n)))
        count = number - self._number
        self._scores.sent += count
        self._number = number
        if batch:
            self._send(batch)
        return count

    def skip(self, count: int) -> None:
        """Skip ``count`` requests whose time has passed, and count them as unsent."""
        for _ in range(count):
            message = self._order.next()
            if message is None:
                self.finished = self.finished or self._order.finished
                break
            self._order.done(message[1])
            self._scores.unsent += 1

    def write(self) -> None:
        """Send the bytes that did not fit into the socket before."""
        self.blocked = False
        batch, self._unwritten = self._unwritten, []
        self._send(batch)

    def read(self) -> None:
        """Receive and judge the answers that have arrived."""
        opened = self.socket
        if opened is None:
            return
        for _ in range(TURN):
            try:
                data = opened.recv(_READ)
            except _WOULD_BLOCK:
                return
            except OSError as error:
                if self._target.datagrams:  # an ICMP error that concerns an earlier datagram
                    self._scores.trouble(_words(error))
                    continue
                self._drop(_words(error))
                return
            if not data and not self._target.datagrams:
                self._drop("the server closed the connection" if self._waiting else None)
                return
            now = monotonic_ns()
            try:
                replies = self._reader.feed(data)
            except WireError as error:
                self._scores.mistake(str(error))
                if not self._target.datagrams:
                    self._drop(str(error))
                    return
                continue
            for reply in replies:
                self._take(reply, now)
            if self._whole_read:
                return

    def sweep(self, now: int) -> None:
        """Count the requests that waited too long as lost."""
        limit = now - self._patience
        lost = [number for number, _ in takewhile(lambda one: one[1][1] <= limit, self._waiting.items())]
        if lost and not self._numbered:  # without numbers, later answers could not be matched any more
            self._drop("no answer in time")
            return
        for number in lost:
            self._forget(number)
        self._scores.lost += len(lost)
        if self._interval is not None and not self.blocked:
            self._retransmit(now, self._interval)
        if self.blocked and self._blocked_at <= limit:
            self._drop("the server does not read its socket")
        if self.socket is None and now - self._since > _GIVE_UP:
            self.finished = True

    def _forget(self, number: int) -> None:
        """Remove a request that is lost. Its answer is not awaited any more."""
        _, _, _, n = self._waiting.pop(number)
        self._repeats.pop(number, None)
        self._reader.forget(number)
        self._order.done(n)

    def _retransmit(self, now: int, interval: int) -> None:
        """Send each request again that waits for a further ``interval``."""
        again = []
        for number, (_, sent, _, _) in self._waiting.items():
            due = (now - sent) // interval
            if not due:
                break
            if due > self._repeats.get(number, 0):
                self._repeats[number] = due
                again.append(self._reader.again(number))
        self._scores.retransmitted += len(again)
        if again:
            self._send(again)

    def _take(self, reply: Reply, now: int) -> None:
        """Match one answer to its request and judge it."""
        scores = self._scores
        number = reply.id
        if number is None and not self._numbered and self._waiting:
            number = next(iter(self._waiting))
        try:
            number = int(number) if number is not None else 0
        except ValueError:
            number = 0
        waited = self._waiting.pop(number, None)
        if waited is None:
            if 0 < number <= self._number:
                scores.late += 1
            else:
                said = f": {reply.error.message}" if reply.error is not None else ""
                scores.mistake(f"an answer to an unknown request{said}")
            return
        due, _, index, n = waited
        self._repeats.pop(number, None)
        self._order.done(n)
        scores.answered += 1
        scores.latency.add(now - due)
        judge = self._judges[index]
        if reply.error is None:
            verdict = judge.result(bytes(reply.result))
        else:
            verdict = judge.error(reply.error.code, reply.error.message)
        scores.verdicts[index][verdict] += 1
        if verdict.wrong is not None:
            scores.mistake(verdict.wrong)

    def _send_datagrams(self, batch: list[bytes]) -> None:
        opened = self.socket
        assert opened is not None  # noqa: S101 - checked by the caller
        send = opened.send
        for place, message in enumerate(batch):
            try:
                send(message)
            except BlockingIOError:
                self._block(batch[place:])
                return
            except OSError as error:  # an ICMP error of an earlier datagram; this one is not sent
                self._scores.trouble(_words(error))

    def _send_stream(self, batch: list[bytes]) -> None:
        opened = self.socket
        assert opened is not None  # noqa: S101 - checked by the caller
        data = b"".join(batch)
        try:
            sent = opened.send(data)
        except _WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self._drop(_words(error))
            return
        if sent < len(data):
            self._block([data[sent:]])

    def _block(self, unwritten: list[bytes]) -> None:
        """Keep the bytes until the socket accepts more."""
        self.blocked = True
        self._unwritten = unwritten
        self._blocked_at = monotonic_ns()

    def _drop(self, why: str | None) -> None:
        """Close the connection. ``why`` is None if the server closed it while idle, as HTTP allows."""
        if why is not None:
            self._scores.trouble(why)
        self._scores.lost += len(self._waiting)
        for number in list(self._waiting):
            self._forget(number)
        self._unwritten = []
        self.blocked = False
        self._since = monotonic_ns()
        self._again = self._since + (_AGAIN if why is not None else 0)
        with suppress(OSError):
            self.close()


def _words(error: OSError) -> str:
    return error.strerror or str(error)
