"""The general way of an authorization, in the order of engine.md 6: it decides any request.

:meth:`Authorization.decide` names the steps. The usual way (:mod:`.usual`) takes the same steps for
the requests of which it is sure, and leaves all others to this module.
"""

from __future__ import annotations

from identengine.calls.backend import Admit, Backend, EncodedDecision, Refused
from identengine.calls.legs import RESERVED, call_key, content_of, leg_key
from identengine.engine.decisions import accepted, refused, reject, unusable
from identengine.engine.lifecycle import levels_of
from identengine.engine.requests import EngineRequest
from identengine.engine.settings import EngineSettings
from identengine.identify import matching, policy, query
from identengine.identify.index import Book
from identengine.identify.matching import Match
from identengine.identify.query import Query, Unusable
from identengine.identify.template import Part, version_part
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction, Request

_TERMINATION = Direction.TERMINATION  # access to a member of an enum is slow


class Authorization:
    """Decides requests by one version of the book, with the settings and the set of calls of a batch."""

    def __init__(self, settings: EngineSettings, book: Book | None, calls: Backend | None) -> None:
        self.settings, self.book, self.calls = settings, book, calls
        self._version = version = 0 if book is None else book.version
        self.reserved = version_part(version, {"lease": settings.lease})
        """The part of the answer that all calls with a slot share."""
        self._unreserved = version_part(version, {"unreserved": True})
        self._identified = version_part(version, {})

    def is_of(self, settings: EngineSettings, book: Book | None, calls: Backend | None) -> bool:
        """Return True if nothing has changed."""
        return settings is self.settings and book is self.book and calls is self.calls

    def decide(self, ask: EngineRequest) -> Decision | EncodedDecision:
        """Decide one call. The comments name the steps of engine.md 6."""
        book, calls, settings = self.book, self.calls, self.settings
        authorizes, reasons = ask.method == "authorize", settings.reasons
        request: Request = ask.request  # type: ignore[assignment]  # see EngineRequest.request
        if book is None:
            return reject(reasons, Reason.NOT_READY, None, None)
        asked = query.read(request, book)  # validate
        if type(asked) is Unusable:
            return unusable(reasons, asked, book)
        direction, outward = asked.direction, asked.direction is _TERMINATION
        if authorizes and asked.call_id is None and settings.require_call_id:
            return reject(reasons, Reason.INVALID_REQUEST, book, direction, field="call_id")
        holds = authorizes and calls is not None
        # retransmission
        call = call_key(ask.asker.scope, asked.call_id) if holds and asked.call_id is not None else None
        leg = leg_key(direction, asked.leg_id)
        content = content_of(request, book.hash_key) if call is not None else b""
        if call is not None:
            earlier = calls.repeated(call, leg, ask.asker.switch, content)  # type: ignore[union-attr]  # it holds
            if earlier is not None:
                return refused(reasons, earlier, None, request, book) if type(earlier) is Refused else earlier
        # identify; credentials: verified in it, since they choose between equal candidates (engine.md 3.6)
        found = matching.identify(book, asked, ask.options, settings.reveal)
        if type(found) is not Match:
            return reject(reasons, found, book, direction)
        entry = found.entry  # client status
        if entry.blocked:
            return reject(reasons, Reason.CLIENT_BLOCKED, book, direction, entry)
        dst = _dialled(asked, found)  # strip
        if not dst:
            return reject(reasons, Reason.INVALID_DESTINATION, book, direction, entry)
        # Src Policy, which only applies to origination (engine.md 4)
        shown: tuple[str | None, bool] | Reason = asked.src_number, False
        if not outward and not entry.shows_any:
            shown = policy.shown_number(entry.account, asked.src_number, asked.call_id, book.dids, book.hash_key)
            if type(shown) is Reason:
                return reject(reasons, shown, book, direction, entry)
        # answer: of the call, if the rest admits it
        version = self._identified if not authorizes else self._with_lease(call, leg)
        answer = accepted(ask.form, version, found, direction, dst, *shown)
        if not holds:
            return answer.decision() if authorizes else answer
        # CPS; capacity: the set of calls checks all, then takes all (engine.md 5.2, 5.9)
        admit = Admit(call, leg, ask.asker.switch, content, answer, levels_of(entry, direction))
        outcome = calls.answer(admit)  # type: ignore[union-attr]  # it holds
        if type(outcome) is Refused:
            return refused(reasons, outcome, admit.levels, request, book)
        return answer.decision() if call is None else outcome  # type: ignore[return-value]  # as Admit is answered

    def _with_lease(self, call: str | None, leg: str) -> Part:
        """Return the part of the answer that names the lease which a call gets, or that it has no slot."""
        if call is None:
            return self._unreserved
        if self.calls is not None and self.calls.state(call, leg) == RESERVED:
            return self.with_lease_left(call, leg)
        return self.reserved

    def with_lease_left(self, call: str, leg: str) -> Part:
        """Return the part of the answer for a held leg that is decided again.

        An authorization renews no lease, so that the leg keeps the time that remains (engine.md 5.3).
        """
        assert self.calls is not None  # noqa: S101 - the leg is held
        return version_part(self._version, {"lease": self.calls.lease_left(call, leg)})


def _dialled(asked: Query, found: Match) -> str:
    """Return the number to dial (engine.md 3.9), or ``""`` if none is left."""
    dst, prefix = asked.dst_number, found.entry.tech_prefix
    if not dst or not prefix:
        return dst
    if asked.direction is not _TERMINATION:
        return dst[len(prefix) :]
    return prefix + dst if found.matched_by == "account_id" else dst
