"""The decisions that are written out in full: rejects, and accepted calls of termination (interfaces.md 3).

An accepted call of origination is not among them: its answer is the account's
:class:`~identengine.identify.template.AnswerTemplate`, filled.
"""

from __future__ import annotations

from identengine.calls.backend import Admit, CallsMessage, Refused
from identengine.identify.index import AccountEntry, Book
from identengine.identify.matching import Match
from identengine.identify.query import DIRECTIONS, Query, Unusable
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
    reasons: ReasonTable, refusal: Refused, message: CallsMessage, request: Request, book: Book | None
) -> Decision:
    """Return the reject of a call that the set of calls refused (engine.md 5.2, 5.3, 5.9)."""
    field = refusal.field
    if field is not None:  # its leg is active already (engine.md 5.3), or its call has too many
        direction, value = DIRECTIONS.get(request.direction), getattr(request, field)
        return reject(reasons, refusal.reason, book, direction, field=field, value=value)
    levels = message.levels if isinstance(message, Admit) else None
    if levels is None:
        return reject(reasons, refusal.reason, book, None)
    entry = book.accounts.get(levels.account_id) if book else None
    return reject(reasons, refusal.reason, book, levels.direction, entry)


def terminate(asked: Query, found: Match, book: Book, lease: int | None, unreserved: bool | None) -> Decision:
    """Return the answer to an accepted call of termination: where to send it (engine.md 3.9).

    ``lease`` is in seconds; None if no slot is reserved. ``unreserved`` is True if the answer must be marked so.
    """
    entry, dst_number = found.entry, asked.dst_number
    account, client_entry = entry.account, entry.client_entry
    return Decision(
        accepted=True,
        account_id=account.id,
        account_name=account.name,
        client_id=account.client_id,
        client_name=client_entry.client.name,
        direction=asked.direction,
        version=book.version,
        matched_by=found.matched_by,
        matched=found.matched,
        ambiguous=found.ambiguous,
        tech_prefix=account.tech_prefix,
        src_number=asked.src_number,
        src_rewritten=False,
        dst_number=entry.tech_prefix + dst_number if found.matched_by == "account_id" else dst_number,
        rate_table=account.term_rate_table or client_entry.term_rate_table,
        tag=account.term_tag,
        lease=lease,
        unreserved=unreserved,
        host=entry.host,
        port=account.term_port,
        protocol=account.term_protocol,
        proxy=account.term_proxy,
    )
