"""The shares of time that sources of datagrams have while more datagrams wait than are decided.

The queue of a socket is one line for all sources. A source that sends more than the process can decide fills it,
and the kernel then drops the datagrams of all sources alike. Rule: while others ask too, a source has at most
:data:`SHARE` of the time. Its further datagrams are dropped undecided. That costs a tenth of a decision, so the
line becomes short. A source that asks alone has all of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from identengine.wire.session import Session

SHARE = 0.75
"""Largest part of the time for one source, while others ask too."""
BURST = 0.05
"""Time by which a source may be ahead of its share, in seconds. A burst is not a flood."""
_REMEMBERED = 1.0
"""Time for which two sources that asked in turn count as asking together, in seconds."""
_MOST = 1024
"""Number of sources above which those that are not ahead are forgotten."""


class Shares:
    """The time that sources have used: each has the moment from which its share pays for more.

    A source is its session.
    """

    def __init__(self) -> None:
        self._paid_from: dict[Session, float] = {}
        self._alone_from = 0.0
        self._last: Session | None = None

    def exhausted(self, sessions: Sequence[Session], now: float) -> Collection[Session]:
        """Return the sources that have used their share, when more than one turn of datagrams waits."""
        if not sessions:
            return ()
        first = sessions[0]
        if sessions.count(first) != len(sessions) or (self._last is not None and self._last is not first):
            self._alone_from = now + _REMEMBERED
        self._last = first
        if now >= self._alone_from:
            return ()
        if len(self._paid_from) > _MOST:
            self._paid_from = {each: at for each, at in self._paid_from.items() if at > now}
        return [each for each in set(sessions) if self._paid_from.get(each, 0.0) > now + BURST]

    def charge(self, sessions: Sequence[Session], began: float, now: float) -> None:
        """Charge the time that a batch took to its sources, to each by the number of its datagrams."""
        each = (now - began) / len(sessions) / SHARE
        for session, count in Counter(sessions).items():
            paid_from = max(self._paid_from.get(session, 0.0), began) + each * count
            # While a source is alone it is never further ahead than a burst, since nothing else waits for it.
            self._paid_from[session] = min(paid_from, now + BURST) if now >= self._alone_from else paid_from
