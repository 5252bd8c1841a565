"""The usual way of a request: the ladder of engine.md 6 for requests of the usual shape.

Each method returns the answer, or None if it is not sure. Then the general way decides
(:mod:`identengine.engine.authorization`). Rule: a method changes nothing before it is sure, so that it can give up
at any step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from identengine.calls.backend import (
    UNKNOWN,
    Backend,
    BatchState,
    EncodedDecision,
    LegResult,
    Refused,
)
from identengine.calls.legs import RESERVED, Content, content_of
from identengine.engine.authorization import Authorization
from identengine.engine.decisions import reject, terminating, unusable
from identengine.engine.lifecycle import Asker
from identengine.engine.named import leg_of, named_legs, whole_call
from identengine.engine.requests import EngineRequest
from identengine.identify import policy, query
from identengine.identify.credentials import Credentials
from identengine.identify.index import AccountEntry, Book, Candidate, IndexClass, counted_by
from identengine.identify.matching import MATCHED_BY, check_credentials, first_fit, for_switch, why_none
from identengine.identify.query import Unusable
from identengine.identify.template import MATCHES, Form
from identengine.model.numbers import is_normal, national, requested_number
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import Decision, Direction, Interface, Request
from identengine.model.usual import UsualCallRequest, UsualRequest


@dataclass(slots=True)
class UsualCounts:
    """The answers of the usual way in one batch, for one interface."""

    originated: int = 0
    terminated: int = 0
    started: int = 0
    updated: int = 0
    stopped: int = 0
    """Stops that have freed one leg each."""
    unknown: int = 0
    """Stops of unknown calls."""

    @property
    def total(self) -> int:
        """Number of all answers."""
        return self.originated + self.terminated + self.started + self.updated + self.stopped + self.unknown


class UsualCountsByInterface(dict[Interface, UsualCounts]):
    """The answers of the usual way in one batch, by interface. An interface without answers is absent."""

    def __missing__(self, interface: Interface) -> UsualCounts:
        """Begin to count the answers for an interface."""
        counts = self[interface] = UsualCounts()
        return counts


class _NoBatch:
    """The batch without a set of calls."""

    newest = None


class Usual:
    """The usual way. :meth:`use` gives it the book, the settings and the set of calls of a batch."""

    _book: Book
    _calls: Backend

    def __init__(self) -> None:
        self.counts = UsualCountsByInterface()
        self.batch: BatchState = _NoBatch()
        """The batch of the set of calls. Each message sets its ``newest`` to None first."""
        self._holds = self._decides = False
        """True if there is a set of calls, and True if there is a book too."""

    def use(self, general: Authorization) -> None:
        """Decide from the next batch on as the general way does."""
        book, calls = general.book, general.calls
        self._holds, self._decides = calls is not None, calls is not None and book is not None
        if calls is not None:
            self._calls, self.batch = calls, calls.batch
        if book is None:
            return
        self._general, self._settings, self._book = general, general.settings, book
        self._reserved = general.reserved
        lookup = book.enabled[Direction.ORIGINATION]
        self._lookup, self._single, self._covering = lookup, lookup.singles.get, lookup.covering
        self._address_first = next((kind for kind in book.classes if kind != "name"), None) == "ip"
        """True if a call without a name is identified by its address first."""
        self._requires_password = book.options.require_password
        self._key, self._prefixes = book.hash_key, book.prefixes

    def authorize(
        self, asked: UsualRequest, asker: Asker, options: IdentifyOptions, form: Form
    ) -> bytes | EncodedDecision | Decision | None:
        """Decide one call. The comments name the steps of engine.md 6."""
        if not self._decides:
            return None
        calls, call_id, dialled = self._calls, asked.call_id, asked.dst_number  # validate
        leg = "o" if asked.leg_id is None and asked.direction is None else leg_of(asked)
        if not (leg and dialled and call_id and call_id > "!" and call_id.isascii() and asked.digest is None):
            return None
        dialled = dialled[1:] if dialled[0] == "+" else dialled
        call, held = asker.calls + call_id, None  # retransmission
        content = asked if asked.password is None else content_of(asked, self._key)
        if call in calls.legs:
            if (earlier := calls.repeated(call, leg, asker.switch, content)) is not None:
                return self._again(earlier, asker)
            held = calls.state(call, leg)
            if held is not None and (held != RESERVED or leg[0] == "t"):
                return None
        if leg[0] == "t":
            return self._terminate(asked, asker, call, leg, content, dialled, form)
        found = self._identify(asked, dialled, options)  # identify
        if found is None or type(found) is Unusable:
            return self._unidentified(asked, dialled, options, found)
        candidate, kind = found
        dst = (dialled[candidate.cut :] if candidate.cut else dialled).encode()  # strip
        if not dst or not ((dialled.isalnum() and dialled.isascii()) or is_normal(dialled)):
            return None  # "55%44" is no number of a request, even if "55%" is a tech prefix
        entry, ambiguous = candidate.entry, False  # credentials
        if candidate.ties is not None or asked.password is not None or kind != "ip" or self._requires_password:
            if type(checked := self._check(asked, candidate, kind, options)) is Reason:
                return self._reject(checked)
            entry, ambiguous = checked
        if entry.blocked:  # client status
            return self._reject(Reason.CLIENT_BLOCKED, entry)
        number, rewritten = None if asked.src_number is None else asked.src_number.encode(), False  # Src Policy
        if not entry.shows_any or number is None or not number.isalnum() or self._prefixes:
            if type(shown := self._shown(asked, entry)) is Reason:
                return self._reject(shown, entry)
            number, rewritten = shown
        # CPS; capacity
        cells = calls.admissible(entry) if held is None else calls.admissible_again(call, leg, entry)
        if type(cells) is Reason:
            return self._reject(cells, entry)
        match = MATCHES[MATCHED_BY[kind]][ambiguous][rewritten]  # answer
        lease = self._reserved if held is None else self._general.with_lease_left(call, leg)
        answer = form(entry, lease, match, candidate.matched, dst, number)
        (calls.reserve if held is None else calls.reserve_again)(call, leg, asker.switch, cells, content, answer)
        self.counts[asker.interface].originated += 1
        return answer

    def uncount(self, ask: EngineRequest, answer: object = None) -> None:
        """Undo the count of an answer that another answer replaces."""
        counts, method = self.counts[ask.asker.interface], ask.method
        outward = isinstance(ask.request, Request) and ask.request.direction == "termination"
        counts.originated -= method == "authorize" and not outward
        counts.terminated -= method == "authorize" and outward
        counts.started -= method == "start"
        counts.updated -= method == "update"
        counts.stopped -= method == "stop" and answer is not UNKNOWN
        counts.unknown -= answer is UNKNOWN

    # ---- the steps of an authorization

    def _again(self, earlier: EncodedDecision | Refused, asker: Asker) -> EncodedDecision | None:
        """Return the answer to a retransmission, or None for one that the general way rejects."""
        if type(earlier) is not EncodedDecision:
            return None
        counts = self.counts[asker.interface]
        if earlier.outward:
            counts.terminated += 1
        else:
            counts.originated += 1
        return earlier

    def _identify(self, asked: UsualRequest, dialled: str, options: IdentifyOptions) -> _Found | Unusable | None:
        """Return the best candidate, before its ties and credentials are looked at; Unusable for a wrong address.

        ``dialled`` is in normal form if its part behind the account's tech prefix is. The next step tests that.
        """
        source: Candidate | None = None
        if address := asked.src_ip:
            source = self._single(address)
            if source is None:
                try:
                    source = self._covering(address)
                except ValueError:
                    if address.isspace() or "[" in address:
                        return None
                    return Unusable(Reason.INVALID_REQUEST, Direction.ORIGINATION, "src_ip", address)
        if self._address_first and not asked.name:
            found = source
            while found is not None and not dialled.startswith(found.tech_prefix):
                found = found.next
            if found is not None and found.plain and not (found.varies and self._differs(options)):
                return found, "ip"
            if found is None and not self._lookup.anis:
                return None
        return self._ranked(asked, source, dialled, options)

    def _unidentified(
        self, asked: UsualRequest, dialled: str, options: IdentifyOptions, unread: Unusable | None
    ) -> Decision | None:
        """Return the reject of a call without a candidate (engine.md 3.5, 3.7). ``unread`` is a wrong address."""
        if unread is not None and is_normal(dialled):  # a wrong number comes before a wrong address
            return unusable(self._settings.reasons, unread, self._book)
        read = query.read(asked, self._book)
        if type(read) is Unusable:
            return unusable(self._settings.reasons, read, self._book)
        if read.dst_number != dialled or read.src_ip != (asked.src_ip or None):
            return None  # the general way may identify the call by other values
        return self._reject(why_none(self._book, read, options))

    def _differs(self, options: IdentifyOptions) -> bool:
        """Return True if a switch has its own ``match_port`` or ``match_protocol``."""
        return counted_by(options) != counted_by(self._book.options)

    def _ranked(
        self, asked: UsualRequest, source: Candidate | None, dialled: str, options: IdentifyOptions
    ) -> _Found | None:
        """Return the best candidate of the first class that has one, by all constraints."""
        lookup, name = self._lookup, _trimmed(asked.name)
        for kind in self._book.classes:
            if kind == "ip":
                head = source
            elif kind == "ani":
                src = self._caller(asked.src_number)
                head = None if src is None else lookup.anis.get(src)
            else:
                head = (
                    None if name is None else (lookup.names if kind == "name" else lookup.passwordless).get(name)
                )
            if head is not None:
                head = for_switch(self._book, head, options)
                gateway, protocol = _folded(asked.gateway), _folded(asked.protocol)
                found = first_fit(head, dialled, gateway, protocol, _integer(asked.src_port), options)
                if found is not None:
                    return found, kind
        return None

    def _check(
        self, asked: UsualRequest, found: Candidate, kind: IndexClass, options: IdentifyOptions
    ) -> tuple[AccountEntry, bool] | Reason:
        """Return the account of a candidate and its ties, and True if it is ambiguous (engine.md 3.4, 3.6)."""
        given = None if asked.password is None else Credentials(asked.password, None, _trimmed(asked.name))
        return check_credentials(found, kind == "name", given, options, self._settings.reveal)

    def _reject(self, reason: Reason, entry: AccountEntry | None = None) -> Decision:
        return reject(self._settings.reasons, reason, self._book, Direction.ORIGINATION, entry)

    def _shown(self, asked: UsualRequest, entry: AccountEntry) -> tuple[bytes | None, bool] | Reason:
        """Return the number to show, and True if it replaces the caller's (engine.md 4)."""
        src, rewritten = self._caller(asked.src_number), False
        if not entry.shows_any:
            shown = policy.shown_number(entry.account, src, asked.call_id, self._book.dids, self._key)
            if type(shown) is Reason:
                return shown
            src, rewritten = shown
        return None if src is None else src.encode(), rewritten

    def _caller(self, number: str | None) -> str | None:
        """Return a calling number in normal form, without international prefix, or None for an absent one."""
        if not number:
            return None
        try:
            normal = number if is_normal(number) else requested_number(number)
        except ValueError:
            return None
        return (national(normal, self._prefixes) if self._prefixes else normal) or None

    def _terminate(
        self,
        asked: UsualRequest,
        asker: Asker,
        call: str,
        leg: str,
        content: Content,
        dialled: str,
        form: Form,
    ) -> bytes | Decision | None:
        """Decide one call to the vendor that routing has picked (engine.md 3.9)."""
        account_id = _integer(asked.account_id)
        entry = None if account_id is None else self._book.accounts.get(account_id)
        if entry is None or not entry.account.term_enabled or entry.blocked or asked.src_ip:
            return None
        if not is_normal(dialled):
            return None
        vendor = terminating(entry)
        cells = self._calls.admissible(vendor)
        if type(cells) is Reason:
            return reject(self._settings.reasons, cells, self._book, Direction.TERMINATION, entry)
        src, dst = self._caller(asked.src_number), (entry.tech_prefix + dialled).encode()
        match = MATCHES["account_id"][False][False]
        answer = form(vendor, self._reserved, match, None, dst, None if src is None else src.encode())
        self._calls.reserve(call, leg, asker.switch, cells, content, answer)
        self.counts[asker.interface].terminated += 1
        return answer

    # ---- the life of a call

    def stop(self, asked: UsualCallRequest, asker: Asker, *_: object) -> LegResult | None:
        """Free the one leg of a call, or note the stop of an unknown call (engine.md 5.4)."""
        call = whole_call(asked, asker) if self._holds else None
        freed = self._stop_leg(asked, asker) if call is None else self._calls.stop_call(call)
        if freed is UNKNOWN:
            self.counts[asker.interface].unknown += 1
        elif freed is not None:
            self.counts[asker.interface].stopped += 1
        return freed

    def _stop_leg(self, asked: UsualCallRequest, asker: Asker) -> LegResult | None:
        """Free the one leg that a message names by its direction or leg id."""
        named = named_legs(asked, asker) if self._holds else None
        return None if named is None else self._calls.stop_leg(named)

    def start(self, asked: UsualCallRequest, asker: Asker, *_: object) -> LegResult | None:
        """Activate the one leg of a call (engine.md 5.4)."""
        done = self._refresh("start", asked, asker)
        if done is not None:
            self.counts[asker.interface].started += 1
        return done

    def update(self, asked: UsualCallRequest, asker: Asker, *_: object) -> LegResult | None:
        """Extend the lease of the one leg of a call (engine.md 5.4)."""
        done = self._refresh("update", asked, asker)
        if done is not None:
            self.counts[asker.interface].updated += 1
        return done

    def _refresh(
        self, method: Literal["start", "update"], asked: UsualCallRequest, asker: Asker
    ) -> LegResult | None:
        if not self._holds or not self._is_usable(asked):
            return None
        call = whole_call(asked, asker)
        if call is None:
            named = named_legs(asked, asker)
            if named is None or not self._calls.is_only_leg(named):
                return None
            call = named.call
        return self._calls.refresh_call(method, call, asker.switch, asked.interval)

    def _is_usable(self, asked: UsualCallRequest) -> bool:
        """Return True if the fields that identify an unknown call are certainly usable (engine.md 5.4)."""
        if asked.dst_number and not is_normal(asked.dst_number):
            return False
        if asked.src_ip and self._decides and self._single(asked.src_ip) is None:
            try:
                self._covering(asked.src_ip)
            except ValueError:
                return False
        return True


_Found: TypeAlias = tuple[Candidate, IndexClass]
"""A candidate, and the class in which it was found."""


def _integer(value: int | str | None) -> int | None:
    """Return a number that may be written as text."""
    return int(value) if isinstance(value, str) else value


def _trimmed(text: str | None) -> str | None:
    return text.strip() or None if text else None


def _folded(text: str | None) -> str | None:
    return text.strip().casefold() or None if text else None
