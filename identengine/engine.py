"""One authorization from start to end (engine.md 6): read, identify, check, policy, answer.

No I/O, no clock, no logging here: what arrives together is decided together by :meth:`Engine.decide`, and a
new version of the book is taken up by one assignment between two batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec

from identengine import explain, matching, policy, query
from identengine.errors import KeyFileError
from identengine.explain import Explanation
from identengine.index import Bearer, Book
from identengine.matching import Match
from identengine.model import Decision, Direction, Request
from identengine.options import IdentifyOptions
from identengine.query import Query, Unusable
from identengine.reasons import Reason, ReasonTable
from identengine.vault import Vault

Method = Literal["authorize", "identify", "explain"]


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One thing that a switch asks, with the options that hold for that switch."""

    method: Method
    request: Request
    options: IdentifyOptions


class Engine:
    """Decides requests by the book in use.

    ``faults`` keeps the last exceptions that became ``internal_error``, for the caller to log; an engine fault
    never accepts a call (engine.md 7).
    """

    def __init__(self, reasons: ReasonTable, vault: Vault | None) -> None:
        self.reasons = reasons
        self.vault = vault
        self.faults: deque[Exception] = deque(maxlen=16)
        self._book: Book | None = None

    @property
    def book(self) -> Book | None:
        """The version in use; None before the first one."""
        return self._book

    def take_up(self, book: Book | None) -> None:
        """Decide by this version from the next batch on."""
        self._book = book

    def decide(self, batch: Sequence[Ask]) -> list[Decision | Explanation]:
        """Decide what arrived together, as if one by one in the order in which it came (engine.md 5.3)."""
        book = self._book
        answers: list[Decision | Explanation] = []
        for ask in batch:
            try:
                if ask.method == "authorize":
                    answers.append(self._authorize(ask.request, ask.options, book, reserve=True))
                elif ask.method == "identify":
                    answers.append(self._authorize(ask.request, ask.options, book, reserve=False))
                else:
                    answers.append(self._explain(ask.request, ask.options, book))
            except Exception as fault:  # whatever it is, the call is answered and not accepted
                self.faults.append(fault)
                version = book.version if book else None
                rejected = self._reject(Reason.INTERNAL_ERROR, version, None)
                answers.append(Explanation(decision=rejected) if ask.method == "explain" else rejected)
        return answers

    def authorize(self, request: Request, options: IdentifyOptions) -> Decision:
        """Decide one call. A reject is an answer like any other; no exception comes out."""
        (answer,) = self.decide([Ask("authorize", request, options)])
        assert isinstance(answer, Decision)  # noqa: S101 - tells mypy which method was asked
        return answer

    def identify(self, request: Request, options: IdentifyOptions) -> Decision:
        """Decide one call without side effects or capacity."""
        (answer,) = self.decide([Ask("identify", request, options)])
        assert isinstance(answer, Decision)  # noqa: S101 - tells mypy which method was asked
        return answer

    def explain(self, request: Request, options: IdentifyOptions) -> Explanation:
        """Decide one call like :meth:`identify` and show every candidate."""
        (answer,) = self.decide([Ask("explain", request, options)])
        assert isinstance(answer, Explanation)  # noqa: S101 - tells mypy which method was asked
        return answer

    def _authorize(
        self, request: Request, options: IdentifyOptions, book: Book | None, *, reserve: bool
    ) -> Decision:
        if book is None:
            return self._reject(Reason.NOT_READY, None, None)
        asked = query.read(request, book)
        if isinstance(asked, Unusable):
            return self._reject(asked.reason, book.version, asked.direction, field=asked.field, value=asked.value)
        found = self._find(asked, options, book)
        if isinstance(found, Reason):
            return self._reject(found, book.version, asked.direction)
        return self._check(asked, found, book, reserve=reserve)

    def _explain(self, request: Request, options: IdentifyOptions, book: Book | None) -> Explanation:
        decision = self._authorize(request, options, book, reserve=False)
        if book is None or isinstance(asked := query.read(request, book), Unusable) or asked.account_id:
            return Explanation(decision=decision)
        found = self._find(asked, options, book)
        shown, cut = explain.candidates(book, asked, options, self._reveal, found)
        return Explanation(decision=decision, candidates=shown, cut=cut)

    def _find(self, asked: Query, options: IdentifyOptions, book: Book) -> Match | Reason:
        """Return the account: by its id where termination names one (engine.md 3.9), else by identification."""
        if asked.account_id is None:
            return matching.identify(book, asked, options, self._reveal)
        bearer = book.bearers.get(asked.account_id)
        if bearer is None:
            return Reason.UNKNOWN_SOURCE
        if not bearer.account.term_enabled:
            return Reason.ACCOUNT_DISABLED
        return Match(bearer, "account_id", None, ambiguous=False)

    def _check(self, asked: Query, found: Match, book: Book, *, reserve: bool) -> Decision:
        """Apply what comes after identification: client status, numbers, Src Policy (engine.md 3.9, 4, 6)."""
        bearer = found.bearer
        account, owner = bearer.account, bearer.owner
        direction = asked.direction
        if owner.blocked:
            return self._reject(Reason.CLIENT_BLOCKED, book.version, direction, bearer)
        src_number, src_rewritten = asked.src_number, False
        dst_number = asked.dst_number
        host = port = protocol = proxy = None
        if direction is Direction.ORIGINATION:
            dst_number = dst_number[len(bearer.tech_prefix) :]
            if not dst_number:
                return self._reject(Reason.INVALID_DESTINATION, book.version, direction, bearer)
            shown = policy.shown_number(account, src_number, asked.call_id, book.dids, book.hash_key)
            if isinstance(shown, Reason):
                return self._reject(shown, book.version, direction, bearer)
            src_number, src_rewritten = shown
            rate_table = account.orig_rate_table or owner.rate_table
            routing_plan = account.orig_routing_plan or owner.routing_plan
            tag = account.orig_tag
        else:
            if not dst_number:
                return self._reject(Reason.INVALID_DESTINATION, book.version, direction, bearer)
            if found.matched_by == "account_id":
                dst_number = bearer.tech_prefix + dst_number
            rate_table = account.term_rate_table or owner.term_rate_table
            routing_plan = None
            tag = account.term_tag
            host, port = bearer.host, account.term_port
            protocol, proxy = account.term_protocol, account.term_proxy
        return Decision(
            accepted=True,
            account_id=account.id,
            account_name=account.name,
            client_id=account.client_id,
            client_name=owner.client.name,
            direction=direction,
            version=book.version,
            matched_by=found.matched_by,
            matched=found.matched,
            ambiguous=found.ambiguous,
            tech_prefix=account.tech_prefix,
            src_number=src_number,
            src_rewritten=src_rewritten,
            dst_number=dst_number,
            rate_table=rate_table,
            routing_plan=routing_plan,
            tag=tag,
            unreserved=True if reserve else None,  # until the set of calls is here, every call is (engine.md 5.10)
            host=host,
            port=port,
            protocol=protocol,
            proxy=proxy,
        )

    def _reject(
        self,
        reason: Reason,
        version: int | None,
        direction: Direction | None,
        bearer: Bearer | None = None,
        field: str | None = None,
        value: str | None = None,
    ) -> Decision:
        """Answer a reject; it names the account only where one was found (engine.md 3.7)."""
        account = bearer.account if bearer else None
        codes = self.reasons.codes(reason, account.id if account else None)
        return Decision(
            accepted=False,
            account_id=account.id if account else None,
            account_name=account.name if account else None,
            client_id=account.client_id if account else None,
            client_name=bearer.owner.client.name if bearer else None,
            direction=direction,
            version=version,
            reason=reason,
            sip_code=codes.sip_code,
            q850=codes.q850,
            field=field,
            value=value,
        )

    def _reveal(self, token: str) -> str:
        if self.vault is None:
            raise KeyFileError("the book holds passwords, but there is no key to read them with")
        return self.vault.reveal(token)
