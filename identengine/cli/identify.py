"""``identify`` and ``explain``: one request decided here and now, against a version of the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from identengine.cli.options import AsJson, ConfigFile, KeyFile, StoreDir
from identengine.cli.output import Column, emit, facts, progress, say, table
from identengine.cli.workspace import Workspace, find_workspace
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason, ReasonTable
from identengine.model.records import Decision, Digest, Request
from identengine.provisioning.changes import shown

if TYPE_CHECKING:
    from identengine.engine.core import Engine
    from identengine.identify.explain import Candidate, Explanation
    from identengine.identify.index import Book
    from identengine.store.snapshot import Snapshot

_FIELDS = tuple(name for name in Request.__struct_fields__ if name != "digest")
_DIGEST = tuple(Digest.__struct_fields__)
_STEP = 10_000

Fields = Annotated[
    list[str],
    typer.Argument(
        metavar="FIELD=VALUE",
        help=f"What the switch would ask: {', '.join(_FIELDS)}, and digest.username, digest.realm, …",
    ),
]
AskPassword = Annotated[bool, typer.Option("--ask-password", help="Ask for the request's password, unseen.")]
Version = Annotated[
    int | None, typer.Option("--version", metavar="N", min=1, help="By this version; default: the newest.")
]

_CANDIDATES = (
    Column("ID", right=True),
    Column("Account"),
    Column("Client"),
    Column("Hit by", firm=True),
    Column("Mask", right=True),
    Column("Prefix Length", right=True),
    Column("Constraints"),
    Column("Ruled out by"),
)


def identify(
    fields: Fields,
    ask_password: AskPassword = False,
    version: Version = None,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Say whose call this is and whether it may pass; ends with 1 if not.

    Example: identengine identify --store STORE src_ip=192.0.2.10 dst_number=77#442079460123
    """
    here = find_workspace(store, config, key_file)
    request = _request(fields, ask_password=ask_password)
    engine = _engine(here, version)
    decision = engine.identify(request, _options(here))
    _raise_fault(engine)
    if as_json:
        emit(decision)
    else:
        _tell(decision)
    raise typer.Exit(0 if decision.accepted else 1)


def explain(
    fields: Fields,
    ask_password: AskPassword = False,
    version: Version = None,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show every account that a request touches, its rank and what ruled it out; ends with 1 on a reject.

    Example: identengine explain --store STORE src_ip=192.0.2.10 dst_number=99#442079460123
    """
    here = find_workspace(store, config, key_file)
    request = _request(fields, ask_password=ask_password)
    engine = _engine(here, version)
    explanation = engine.explain(request, _options(here))
    _raise_fault(engine)
    if as_json:
        emit(explanation)
    else:
        _tell(explanation.decision)
        _tell_candidates(explanation)
    raise typer.Exit(0 if explanation.decision.accepted else 1)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(identify)
    app.command()(explain)


def _request(fields: Sequence[str], *, ask_password: bool) -> Request:
    """Return the request that ``FIELD=VALUE`` arguments make; another field or one given twice is wrong usage."""
    plain: dict[str, str] = {}
    digest: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise typer.BadParameter(f"FIELD=VALUE is wanted, not {field!r}", param_hint="FIELD=VALUE")
        into, key, known = (
            (digest, name.removeprefix("digest."), _DIGEST)
            if name.startswith("digest.")
            else (plain, name, _FIELDS)
        )
        if key not in known:
            near = get_close_matches(key, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise typer.BadParameter(f"there is no field {name!r}{meant}", param_hint="FIELD=VALUE")
        if key in into:
            raise typer.BadParameter(f"{name} is given twice", param_hint="FIELD=VALUE")
        into[key] = value
    if ask_password:
        plain["password"] = typer.prompt("Password", hide_input=True, err=True)
    return Request(**plain, digest=Digest(**digest) if digest else None)


def _options(here: Workspace) -> IdentifyOptions:
    return here.config.identify if here.config else IdentifyOptions()


def _engine(here: Workspace, version: int | None) -> Engine:
    """Return an engine with a version of the store; its passwords are readable where the key is at hand."""
    from identengine.engine.core import Engine
    from identengine.engine.settings import EngineSettings

    reasons = here.config.reasons if here.config else ReasonTable()
    engine = Engine(EngineSettings(reasons=reasons, vault=here.vault_if_any()))
    with here.open(readonly=True) as opened, opened.read(version) as book:
        if book.version:
            engine.take_up(_build(book, _options(here)))
    return engine


def _raise_fault(engine: Engine) -> None:
    """Raise what an ``internal_error`` comes from: here it is a missing key, say, and somebody can mend it."""
    for fault in engine.faults:
        raise fault


def _build(snapshot: Snapshot, options: IdentifyOptions) -> Book:
    """Make the index of a version, with a progress bar where that takes long."""
    from itertools import groupby
    from operator import itemgetter

    from identengine.identify.builder import BookBuilder
    from identengine.identify.dids import pack

    builder = BookBuilder(options, snapshot.version, snapshot.hash_key)
    total = snapshot.counts.clients + snapshot.counts.accounts + snapshot.counts.dids
    with progress("reading the book") as tell:
        done = 0
        for client in snapshot.clients():
            builder.add_client(client)
        restricted = set()
        for done, account in enumerate(snapshot.accounts(), snapshot.counts.clients):
            builder.add_account(account)
            if account.src_policy != "allow_any":
                restricted.add(account.id)
            if done % _STEP == 0:
                tell(done, total)
        for owner, numbers in groupby(snapshot.active_numbers(), itemgetter(0)):
            if owner in restricted:  # nobody asks for the DIDs of the others
                builder.add_dids(owner, pack((number for _, number in numbers), options.international_prefixes))
                tell(done, total)
        steps = builder.finish()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                book: Book = end.value
                return book
            tell(total, None)


def _tell(decision: Decision) -> None:
    say("accepted" if decision.accepted else f"rejected: {decision.reason}")
    facts(
        (name, shown(value))
        for name, value in msgspec.structs.asdict(decision).items()
        if value is not None and name not in ("accepted", "reason")
    )


def _tell_candidates(explanation: Explanation) -> None:
    say("")
    if not explanation.candidates:
        say(_why_none(explanation.decision))
        return
    table(_CANDIDATES, map(_candidate_row, explanation.candidates))
    if explanation.cut:
        say("and more")


def _why_none(decision: Decision) -> str:
    """Say why there is no candidate to show."""
    if decision.account_id is not None:
        return f"account {decision.account_id} was found by its id; no other is looked at"
    if decision.reason is Reason.ACCOUNT_DISABLED:  # else it would be a candidate
        return "the account that account_id names has its terminator off; no other is looked at"
    if decision.reason is Reason.INVALID_REQUEST:
        return f"the request cannot be used: {decision.field} {decision.value!r}; no account is looked at"
    if decision.reason is Reason.INVALID_DESTINATION:
        return "the request cannot be used: dst_number is no number; no account is looked at"
    if decision.reason is Reason.NOT_READY:
        return "the store holds no version of the book yet"
    return "no account of the book is touched by it"


def _candidate_row(candidate: Candidate) -> tuple[str, ...]:
    rank = candidate.rank
    return (
        str(candidate.account_id),
        candidate.account_name,
        f"{candidate.client_id} {candidate.client_name}",
        f"{candidate.matched_by} {candidate.matched}",
        str(rank.mask),
        str(rank.tech_prefix),
        ", ".join(_set(rank.gateway, rank.port, rank.protocol)),
        "(found)" if candidate.ruled_out_by is None else candidate.ruled_out_by,
    )


def _set(gateway: bool, port: bool, protocol: bool) -> Iterator[str]:
    for name, is_set in (("gateway", gateway), ("port", port), ("protocol", protocol)):
        if is_set:
            yield name
