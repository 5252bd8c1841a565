"""``rejects``: the rejected calls in the record of decisions, newest first (engine.md 8.8)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from identengine.cli import auditing
from identengine.cli.options import AsJson, ConfigFile, Limit, Since, StoreDir, Until, Who
from identengine.cli.output import Column, emit_many, hint, progress, screenful, table, when
from identengine.cli.recorded import Record, decision_object, record_of
from identengine.cli.rowids import row_id
from identengine.cli.times import in_order
from identengine.cli.workspace import Workspace, find_workspace
from identengine.errors import expected, nearest, quoted, sentences
from identengine.model.addresses import format_network, parse_network, unbracketed
from identengine.model.numbers import requested_number
from identengine.model.reasons import Reason

if TYPE_CHECKING:
    from identengine.provisioning.recorded import Circumstances
    from identengine.record.conditions import RecordFilter
    from identengine.record.entry import Recorded
    from identengine.store.versions import Store

REJECTS = (
    Column("Time", firm=True),
    Column("Switch", least=6),
    Column("Call ID", solid=True, least=12),
    Column("From", solid=True, least=8),
    Column("To", solid=True, least=8),
    Column("Reason", least=10),
    Column("Nearest Account", least=8),
)
"""The columns of a list of rejects."""
_SECONDS = len("2026-12-01 14:03:07")
"""Length of a time without its offset from UTC, which takes too much room in a table. `why` shows the offset."""
_TICK = 1e-6
"""The smallest step of time, in seconds: the last instant of ``--until`` counts."""


def _reason(text: str) -> str:
    """Return the name of a reason. Raise BadParameter if no reason has this name."""
    name = text.strip().lower()
    if name not in set(Reason):
        raise typer.BadParameter(expected("a reason of a reject", text, meant=nearest(name, list(Reason))))
    return name


def _number(text: str) -> str:
    """Return a number. Raise BadParameter if the text is not a number."""
    try:
        return requested_number(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _address(text: str) -> str:
    """Return the usual text of an address or network. Raise BadParameter if the text is neither."""
    try:
        return format_network(parse_network(unbracketed(text))[0])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


_reason.__name__, _number.__name__, _address.__name__ = "reason", "number", "address"  # types in help texts

AccountOption = Annotated[
    str | None,
    typer.Option(
        "--account",
        metavar="ACCOUNT",
        help="Only calls that this account (id or name) rejected or was nearest to.",
    ),
]
ClientOption = Annotated[
    str | None,
    typer.Option("--client", metavar="CLIENT", help="The same for the accounts of this client (id or name)."),
]
Number = Annotated[
    str | None,
    typer.Option(
        "--number", parser=_number, metavar="NUMBER", help="Only calls from or to this number, in any spelling."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", parser=_address, metavar="ADDRESS", help="Only calls from this address, or from this network."
    ),
]
SwitchName = Annotated[
    str | None,
    typer.Option("--switch", metavar="NAME", help="Only calls of this switch (its name in the config)."),
]
ReasonOption = Annotated[
    str | None,
    typer.Option(
        "--reason", parser=_reason, metavar="REASON", help="Only calls that were rejected for this reason."
    ),
]


def rejects(
    since: Since = None,
    until: Until = None,
    account: AccountOption = None,
    client: ClientOption = None,
    number: Number = None,
    address: Address = None,
    switch: SwitchName = None,
    reason: ReasonOption = None,
    limit: Limit = None,
    who: Who = None,
    store: StoreDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the rejected calls, newest first, with the account that was nearest.

    They are in the record of decisions. `identengine why CALL_ID` explains one call. The audit log records who
    read them.

    Example: identengine rejects --store STORE --since 1h --reason tech_prefix_mismatch
    """
    from identengine.record.conditions import RecordFilter

    in_order(since, until)
    wanted = RecordFilter(
        since=since,
        until=None if until is None else until + _TICK,
        accepted=False,
        number=number,
        address=address,
        switch=switch,
        reason=reason,
    )
    here = find_workspace(store, config)
    record = record_of(here)
    _audit(here, who, wanted, account, client)
    _list(here, record, wanted, (account, client), limit, as_json=as_json)
    record.warn()


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(rejects)


def _audit(
    here: Workspace, who: str | None, wanted: RecordFilter, account: str | None, client: str | None
) -> None:
    """Record in the audit log that these requests were read."""
    since, until = (None if at is None else when(at) for at in (wanted.since, wanted.until))
    given = {
        "since": since,
        "until": until,
        "account": account,
        "client": client,
        "number": wanted.number,
        "address": wanted.address,
        "switch": wanted.switch,
        "reason": wanted.reason,
    }
    options = ", ".join(f"{name} {quoted(value)}" for name, value in given.items() if value is not None)
    with here.open(readonly=True) as opened:
        account_id, client_id = row_id("account", account, opened.read), row_id("client", client, opened.read)
    what = f"rejects read: {options}" if options else "all rejects read"
    auditing.record(here, who, what, account=account_id, client=client_id, number=wanted.number)


def _list(
    here: Workspace,
    record: Record,
    wanted: RecordFilter,
    named: tuple[str | None, str | None],
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """Print the rejects that a filter selects. ``named`` are an account and a client that they must concern."""
    entries = record.reader.newest(wanted)
    if as_json and named == (None, None):
        emit_many(decision_object(entry) for entry in islice(entries, limit or None))
        return
    with here.open(readonly=True) as opened:
        found = _with_accounts(opened, record, entries, *named)
        if as_json:
            emit_many(decision_object(one.entry) for one in islice(found, limit or None))
        elif not table(REJECTS, map(_row, screenful(found, limit))):
            is_filtered = named != (None, None) or wanted != type(wanted)(accepted=False)
            hint(_none(record, is_filtered=is_filtered))


def _with_accounts(
    opened: Store, record: Record, entries: Iterator[Recorded], account: str | None, client: str | None
) -> Iterator[Circumstances]:
    """Return an iterator over the rejects that concern the account and client, each with its nearest account."""
    from identengine.provisioning.rejects import concerning, with_nearest

    account_id, client_id = row_id("account", account, opened.read), row_id("client", client, opened.read)
    watch = partial(progress, "reading the book")
    if account_id is None and client_id is None:
        return with_nearest(opened, entries, record.options_of, watch)
    return concerning(opened, entries, record.options_of, watch, account_id=account_id, client_id=client_id)


def _row(found: Circumstances) -> tuple[str, ...]:
    entry = found.entry
    asked, account = entry.request, found.account
    return (
        when(entry.at)[:_SECONDS],
        entry.switch,
        asked.call_id or "",
        " ".join(filter(None, (asked.src_ip or asked.name, asked.src_number))),
        asked.dst_number or "",
        str(entry.decision.reason),
        "" if account is None else f"{account.id} {account.name}",
    )


def _none(record: Record, *, is_filtered: bool) -> str:
    """Return the message for an empty list, with the age of the record."""
    oldest = record.reader.oldest_at()
    begins = "The record is empty." if oldest is None else f"The record begins at {when(oldest)}."
    off = '[record] decisions of the config is "none".' if record.decisions == "none" else ""
    return sentences("no reject matches" if is_filtered else "no reject is recorded", begins, off)
