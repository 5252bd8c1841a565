"""The decisions in words: rejects in full, and accepted calls joined from their parts (interfaces.md 3)."""

from __future__ import annotations

from identengine.calls.backend import EncodedDecision, Refused
from identengine.calls.levels import Levels, account_counter
from identengine.identify.index import AccountEntry, Book, Terminating
from identengine.identify.matching import Match
from identengine.identify.query import DIRECTIONS, Unusable
from identengine.identify.template import MATCHES, AnswerPart, Form
from identengine.model.reasons import Reason, ReasonTable
from identengine.model.records import Decision, Direction, Request


def reject(
    reasons: ReasonTable,
    reason: Reason,
    book: Book | None,
    direction: Direction | None,
    entry: AccountEntry | None = None,
    field: str | None = None,
    value: str | None = None,
) -> Decision:
    """Return a reject. ``entry`` is the account to name, None if none was found (engine.md 3.7)."""
    account = entry.account if entry else None
    codes = reasons.codes(reason, account.id if account else None)
    return Decision(
        accepted=False,
        account_id=account.id if account else None,
        account_name=account.name if account else None,
        client_id=account.client_id if account else None,
        client_name=entry.client_entry.client.name if entry else None,
        direction=direction,
        version=book.version if book else None,
        reason=reason,
        sip_code=codes.sip_code,
        q850=codes.q850,
        field=field,
        value=value,
    )


def unusable(reasons: ReasonTable, asked: Unusable, book: Book) -> Decision:
    """Return the reject of a request that cannot be decided (engine.md 2.1, 2.5)."""
    return reject(reasons, asked.reason, book, asked.direction, field=asked.field, value=asked.value)


def refused(
    reasons: ReasonTable, refusal: Refused, levels: Levels | None, request: Request, book: Book | None
) -> Decision:
    """Return the reject of a call that the set of calls refused (engine.md 5.2, 5.3, 5.9).

    ``levels`` are those of the call's account, or None if the call was not identified.
    """
    field = refusal.field
    if field is not None:  # its leg is active already (engine.md 5.3), or its call has too many
        direction, value = DIRECTIONS.get(request.direction), getattr(request, field)
        return reject(reasons, refusal.reason, book, direction, field=field, value=value)
    if levels is None:
        return reject(reasons, refusal.reason, book, None)
    entry = book.accounts.get(levels.account_id) if book else None
    return reject(reasons, refusal.reason, book, levels.direction, entry)


def accepted(
    form: Form,
    version: AnswerPart,
    found: Match,
    direction: Direction,
    dst_number: str,
    src_number: str | None,
    rewritten: bool,
) -> EncodedDecision:
    """Return the answer to an accepted call, in the form in which the switch asked."""
    entry, outward = found.entry, direction is Direction.TERMINATION
    part = terminating(entry).template if outward else entry.template
    match = MATCHES[found.matched_by][found.ambiguous][rewritten]
    src = None if src_number is None else src_number.encode()
    return EncodedDecision(form(part, version, match, found.matched, dst_number.encode(), src), outward)


def terminating(entry: AccountEntry) -> Terminating:
    """Return the levels of the calls to a vendor, and their answer: the place to send them (engine.md 3.9)."""
    if entry.terminating is None:
        account, client_entry = entry.account, entry.client_entry
        answer = Decision(
            accepted=True,
            account_id=account.id,
            account_name=account.name,
            client_id=account.client_id,
            client_name=client_entry.client.name,
            direction=Direction.TERMINATION,
            tech_prefix=account.tech_prefix,
            rate_table=account.term_rate_table or client_entry.term_rate_table,
            tag=account.term_tag,
            host=entry.host,
            port=account.term_port,
            protocol=account.term_protocol,
            proxy=account.term_proxy,
        )
        counter = account_counter(account.id, Direction.TERMINATION)
        levels = Levels(counter, account.term_capacity, None, client_entry.terminating)
        entry.terminating = Terminating(AnswerPart.of(answer), levels)
    return entry.terminating
