"""The shares of time that sources of datagrams have while more datagrams wait than are decided.

The queue of a socket is one line for all sources. A source that sends more than the process can decide fills it,
and the kernel then drops the datagrams of all sources alike. Rule: while others ask too, a source has at most
:data:`SHARE` of the time. Its further datagrams are dropped undecided. That costs a tenth of a decision, so the
line becomes short. A source that asks alone has all of the time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from identengine.wire.session import Session

SHARE = 0.75
"""Largest part of the time for one source, while others ask too."""
BURST = 0.05
"""Time by which a source may be ahead of its share, in seconds. A burst is not a flood."""
_REMEMBERED = 1.0
"""Time for which two sources that asked in turn count as asking together, in seconds."""
_SAMPLE = 8
"""Number of datagrams of a batch that are looked at. To compare all of them would cost more."""
_MOST = 1024
"""Number of sources above which those that are not ahead are forgotten."""


class Shares:
    """The time that sources have used: each has the moment from which its share pays for more.

    A source is its session.
    """

    def __init__(self) -> None:
        self._paid_from: dict[Session, float] = {}
        self._ahead: set[Session] = set()
        """Sources that were ahead of their share by more than a burst when they were charged."""
        self._alone_from = 0.0
        self._last: Session | None = None

    def exhausted(self, sessions: Sequence[Session], now: float) -> Collection[Session]:
        """Return the sources of a batch that have used their share. Call it if more than one turn waits."""
        first = sessions[0]
        if (self._last is not None and self._last is not first) or len(set(sessions)) > 1:
            self._alone_from = now + _REMEMBERED
        self._last = first
        if now >= self._alone_from or not self._ahead:
            return ()
        self._ahead = {each for each in self._ahead if self._paid_from[each] > now + BURST}
        return [each for each in self._ahead if each in sessions]

    def charge(self, sessions: Sequence[Session], began: float, now: float) -> None:
        """Charge the time that a batch took to the source in its middle, by its part of a sample of the datagrams.

        Only a source with more than :data:`SHARE` of the datagrams can use more than its share of the time. It is
        nearly always in the middle, so no other source needs to be charged.
        """
        source, paid_from = sessions[len(sessions) // 2], self._paid_from
        sample = sessions[:: len(sessions) // _SAMPLE + 1]
        took = (now - began) * sample.count(source) / len(sample)
        paid = max(paid_from.get(source, 0.0), began) + took / SHARE
        # While a source is alone it is never further ahead than a burst, since nothing else waits for it.
        paid_from[source] = paid = paid if now < self._alone_from else min(paid, now + BURST)
        if paid > now + BURST:
            self._ahead.add(source)
        if len(paid_from) > _MOST:
            self._paid_from = {each: at for each, at in paid_from.items() if each in self._ahead or at > now}
