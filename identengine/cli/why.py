"""``why``: each recorded decision of a call as it was made, and the changes of the book since (engine.md 8.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from identengine.cli import auditing
from identengine.cli.candidates import print_candidates, print_decision, requirements
from identengine.cli.legviews import say_legs
from identengine.cli.levels import print_levels
from identengine.cli.operatorclient import CallsDir, OperatorClient, calls_folder, leg_rows
from identengine.cli.options import AsJson, ConfigFile, StoreDir, Who
from identengine.cli.output import Column, emit, facts, progress, say, table, when
from identengine.cli.recorded import Record, decision_object, record_of
from identengine.cli.workspace import find_workspace
from identengine.errors import IdentengineError, RecordError, StoreError, counted, quoted, sentences
from identengine.provisioning.changes import shown, verb

if TYPE_CHECKING:
    from identengine.model.records import Decision
    from identengine.provisioning.recorded import Circumstances
    from identengine.provisioning.since import Later
    from identengine.record.entry import LimitUse, Recorded
    from identengine.store.versions import Store
    from identengine.wire.operator import LegRow, Level

_CHANGES = (
    Column("Row"),
    Column("Field"),
    Column("Then"),
    Column("Now"),
    Column("Version", right=True),
    Column("When", firm=True),
    Column("Who"),
)
CallId = Annotated[str, typer.Argument(metavar="CALL_ID", help="Id of the call, as its switch sent it.")]
AllCandidates = Annotated[bool, typer.Option("--all", help="Show all candidates. Default: the nearest 20.")]


class _Explained(NamedTuple):
    """A decision with its circumstances, and the changes since. ``unread`` explains why these are missing."""

    found: Circumstances
    later: list[Later]
    more: int
    """Number of changed DIDs that are not listed."""
    unread: str | None


def why(
    call_id: CallId,
    everything: AllCandidates = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    calls: CallsDir = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Explain each decision of a call: the accounts by the version that was in use, and the changes since.

    It reads the record of decisions, and asks a running server if it holds the call. The audit log records who
    read the call. Exit with 1 for an unknown call.

    Example: identengine why --store STORE 3c26a0d2-7bd1
    """
    here = find_workspace(store, config)
    record = record_of(here)
    entries, missing = _entries(record, call_id)
    legs, unreachable = _legs(calls, config, call_id)
    if not entries and not legs:
        raise IdentengineError(_unknown(record, call_id, missing, unreachable))
    explained: list[_Explained] = []
    if entries:
        account_id = next((one.decision.account_id for one in entries[::-1] if one.decision.account_id), None)
        auditing.record(here, who, f"call read: {quoted(call_id)}", account=account_id)
        with here.open(readonly=True) as opened:
            explained = list(_explained(opened, record, entries, everything=everything))
    if as_json:
        document = {"call_id": call_id, "decisions": [_object(one) for one in explained]}
        emit(document | ({"held": legs} if legs else {}))
    else:
        _print(record, call_id, explained, legs)
    record.warn()


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(why)


def _entries(record: Record, call_id: str) -> tuple[list[Recorded], str | None]:
    """Return the recorded decisions of a call, the oldest first, and the reason why there is no record."""
    try:
        return record.reader.of_call(call_id), None
    except RecordError as error:
        return [], str(error)


def _legs(calls: Path | None, config: Path | None, call_id: str) -> tuple[list[LegRow], str | None]:
    """Return the legs of a call that the server holds, and the reason why the server was not asked."""
    from identengine.wire.operator import Filter

    if calls is None and config is None:
        return [], "No server was asked: --config or --calls names one."
    try:
        with OperatorClient(calls_folder(calls, config)) as server:
            states = (Filter(call_id=call_id, state=state) for state in ("held", "lapsed"))
            return [row for wanted in states for row in leg_rows(server, wanted)], None
    except IdentengineError as error:
        return [], sentences(error)


def _unknown(record: Record, call_id: str, missing: str | None, unreachable: str | None) -> str:
    """Return the message for a call that neither the record nor a server knows, with the possible reasons."""
    oldest = record.reader.oldest_at() if missing is None else None
    reasons = [
        sentences(missing[:1].upper() + missing[1:], "") if missing else "",
        f"The record begins at {when(oldest)}; older decisions were removed." if oldest is not None else "",
        "The record is empty." if missing is None and oldest is None else "",
        '[record] decisions of the config is "none".' if record.decisions == "none" else "",
        'Accepted calls are recorded with [record] decisions = "all" only.'
        if record.decisions == "rejects"
        else "",
        unreachable or "The server does not hold the call.",
        "Another node may have decided it, or the switch sent another id.",
    ]
    return sentences(f"no decision of the call {quoted(call_id)} is known", *reasons)


def _explained(
    opened: Store, record: Record, entries: Sequence[Recorded], *, everything: bool
) -> Iterator[_Explained]:
    """Yield each decision with its circumstances and the changes since."""
    from identengine.identify.explain import NEAREST, CandidateLimits
    from identengine.provisioning.recorded import changes, circumstances

    limits = CandidateLimits(None, None if everything else NEAREST)
    with progress("reading the book") as tell:
        for found in circumstances(opened, entries, record.options_of, limits, tell):
            try:
                yield _Explained(found, *changes(opened, found), found.unreadable)
            except StoreError as error:
                yield _Explained(found, [], 0, str(error))


def _object(explained: _Explained) -> dict[str, object]:
    """Return an explained decision for JSON (interfaces.md 2, "JSON shapes")."""
    found, later, more, unread = explained
    explanation, account = found.explanation, found.account
    document = decision_object(found.entry) | {
        "nearest": None if account is None else account.id,
        "candidates": None if explanation is None else explanation.candidates,
        "limits": [msgspec.structs.asdict(limit) for limit in found.entry.limits],
        "dids": found.dids,
        "changed_since": None if unread else [one.as_object() for one in later],
    }
    if explanation is not None and explanation.hidden:
        document["hidden"] = explanation.hidden
    if more:
        document["more_changed_dids"] = more
    if unread:
        document["unreadable"] = unread
    if found.otherwise is not None:
        document["decision_by_present_options"] = found.otherwise
    return document


def _print(record: Record, call_id: str, explained: Sequence[_Explained], legs: Sequence[LegRow]) -> None:
    say(f"call {call_id}: {counted(len(explained), 'recorded decision') if explained else 'no recorded decision'}")
    for one in explained:
        say("")
        _print_explained(one)
    if legs:
        say("")
        say("The server holds this call:")
        for _ in say_legs(legs):
            pass
        if not explained and record.decisions == "rejects":
            say('Its decision is not recorded, since [record] decisions is "rejects".')


def _print_explained(explained: _Explained) -> None:
    found = explained.found
    entry = found.entry
    say(f"{when(entry.at)}, switch {entry.switch}, {entry.interface}:")
    print_decision(entry.decision)
    say("")
    say("Request:" if not entry.masked else "Request, with numbers that the record has masked:")
    facts(_request_facts(entry))
    if entry.limits:
        say("")
        say("Limits at that moment:")
        print_levels(_level(limit, entry.decision) for limit in entry.limits)
    if found.dids is not None:
        say("")
        say(_dids(found))
    say("")
    _print_nearest(found)
    _print_changes(explained)


def _request_facts(entry: Recorded) -> Iterator[tuple[str, str]]:
    """Yield the fields of a request that were sent, and its credential without the secret."""
    for name, value in msgspec.structs.asdict(entry.request).items():
        if value is not None and name != "call_id":
            yield name, str(value)
    if (used := entry.credential) is not None:
        verified = {True: f"verified for account {used.account_id}", False: "did not verify", None: "not checked"}
        yield " and ".join(used.kinds), verified[used.verified]


def _level(limit: LimitUse, decision: Decision) -> Level:
    """Return a limit with the name of its account or client."""
    from identengine.wire.operator import Level

    names = {("account", decision.account_id): decision.account_name}
    names["client", decision.client_id] = decision.client_name
    return Level(name=names.get((limit.level, limit.id)), **msgspec.structs.asdict(limit))


def _dids(found: Circumstances) -> str:
    """Return the DIDs of the account as a sentence."""
    assert found.dids is not None and found.account is not None  # noqa: S101, PT018 - the caller has checked
    count, first = found.dids.count, found.dids.first
    had = f"Account {found.account.id} had {counted(count, 'active DID') if count else 'no active DID'}"
    if not count:
        return f"{had}."
    return f"{had}: {', '.join(first)}" + (f" and {count - len(first):,} more." if count > len(first) else ".")


def _print_nearest(found: Circumstances) -> None:
    """Print the nearest account and its requirements, then all candidates of the version that was in use."""
    decision, account = found.entry.decision, found.account
    if found.explanation is None:
        reason = sentences(found.unreadable) if found.unreadable else "No version of the book was loaded."
        say(f"No candidates are known. {reason[:1].upper()}{reason[1:]}")
        return
    if account is not None:
        client = f" of client {found.client.id} {found.client.name}" if found.client is not None else ""
        named = "Account" if decision.account_id is not None else "Nearest account"
        say(f"{named}: {account.id} {account.name}{client}, by version {decision.version}")
        if found.nearest is not None and not decision.accepted:
            for requirement in requirements(found.nearest, found.entry.request):
                say(f"  It requires {requirement}.")
    if found.otherwise is not None:
        say(f"By the present options of the config, this version decides otherwise: {_outcome(found)}.")
    print_candidates(found.explanation, found.entry.request)


def _outcome(found: Circumstances) -> str:
    now = found.otherwise
    assert now is not None  # noqa: S101 - the caller has checked
    return f"account {now.account_id}" if now.accepted else str(now.reason)


def _print_changes(explained: _Explained) -> None:
    found, later, more, unread = explained
    if found.account is None or (unread and found.unreadable):
        return
    say("")
    if unread:
        say(f"The changes since then cannot be read. {unread[:1].upper()}{unread[1:]}")
    elif not later:
        say(f"Account {found.account.id}, its client and its DIDs have not changed since.")
    else:
        say(f"Changed since version {found.entry.decision.version}:")
        table(_CHANGES, (row for one in later for row in _change_rows(one)))
        if more:
            say(f"{counted(more, 'other DID')} of the account changed, too.")


def _change_rows(later: Later) -> Iterator[tuple[str, ...]]:
    row = f"{later.change.table} {later.change.key} {verb(later.change)}"
    for name, values in later.fields():
        info = later.versions[name]
        yield (row, name, *map(shown, values), str(info.version), when(info.at), info.who)
