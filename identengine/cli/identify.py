"""``identify`` and ``explain``: decide one request with a version of the store, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from identengine.cli.candidates import print_candidates
from identengine.cli.levels import levels_of, print_levels
from identengine.cli.operatorclient import OperatorClient
from identengine.cli.options import AsJson, ConfigFile, KeyFile, StoreDir, integer
from identengine.cli.output import emit, facts, progress, say
from identengine.cli.radiusfile import PacketRead, print_packet, read_file, switch_of
from identengine.cli.workspace import Workspace, find_workspace
from identengine.errors import IdentengineError, KeyFileError, expected, nearest, one_of
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason, ReasonTable
from identengine.model.records import Decision, Digest, Request
from identengine.provisioning.changes import shown

if TYPE_CHECKING:
    from identengine.engine.core import Engine
    from identengine.identify.explain import CandidateLimits, Explanation
    from identengine.identify.index import Book
    from identengine.store.snapshot import Snapshot
    from identengine.wire.operator import Level

_FIELDS = tuple(name for name in Request.__struct_fields__ if name != "digest")
_DIGEST = tuple(Digest.__struct_fields__)
_STEP = 10_000
_PATIENCE = 2.0
"""Longest wait for a server, in seconds. It is short, since the candidates need no server."""

_FIELDS_HELP = f"Fields of the request: {', '.join(_FIELDS)}, digest.username, digest.realm and so on."
Fields = Annotated[list[str], typer.Argument(metavar="FIELD=VALUE", help=_FIELDS_HELP)]
FieldsIfAny = Annotated[list[str] | None, typer.Argument(metavar="FIELD=VALUE", help=_FIELDS_HELP)]
RadiusFile = Annotated[
    Path | None,
    typer.Option(
        "--radius",
        metavar="FILE",
        help=(
            "Explain a RADIUS packet instead of fields. FILE has its attributes as radclient takes them, with"
            " passwords in clear."
        ),
    ),
]
SwitchName = Annotated[
    str | None,
    typer.Option(
        "--switch",
        metavar="NAME",
        help=(
            "Decide by the options of this switch of the config. Default: those of [identify]. With --radius: the"
            " options of the switches with a secret, if they are equal."
        ),
    ),
]
AskPassword = Annotated[
    bool, typer.Option("--ask-password", help="Prompt for the password of the request, without echo.")
]
Version = Annotated[
    int | None,
    typer.Option(
        "--version", parser=integer(1), metavar="N", help="Decide by this version. Default: the newest version."
    ),
]


def identify(
    fields: Fields,
    ask_password: AskPassword = False,
    version: Version = None,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show which account a call belongs to and whether it may pass. Exit with 1 if it is rejected.

    Example: identengine identify --store STORE src_ip=192.0.2.10 dst_number=77#442079460123
    """
    here = find_workspace(store, config, key_file)
    request = _request(fields, ask_password=ask_password)
    engine = _engine(here, version)
    decision = engine.identify(request, _options(here))
    _raise_fault(engine, here)
    if as_json:
        emit(decision)
    else:
        _print_decision(decision)
    raise typer.Exit(0 if decision.accepted else 1)


def explain(
    fields: FieldsIfAny = None,
    radius: RadiusFile = None,
    switch: SwitchName = None,
    ask_password: AskPassword = False,
    version: Version = None,
    store: StoreDir = None,
    config: ConfigFile = None,
    key_file: KeyFile = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show all candidates. Default: the 20 that are nearest to the call.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the candidates for a call, their requirements, and what ruled them out. Exit with 1 on a reject.

    With --config, also show the use of the limits that the running server counts the account on.

    With --radius, first show the field that each attribute of a packet is. Accounting has no candidates.

    Example: identengine explain --store STORE src_ip=192.0.2.10 dst_number=99#442079460123
    """
    here = find_workspace(store, config, key_file)
    chosen = switch_of(here.config, switch, by_radius=radius is not None)
    read = None
    if radius is None:
        if not fields:
            raise typer.BadParameter("expected fields, or --radius FILE", param_hint="FIELD=VALUE")
        request = _request(fields, ask_password=ask_password)
    elif fields or ask_password:
        raise typer.BadParameter("expected no fields and no --ask-password with a file", param_hint="--radius")
    else:
        read = read_file(radius, chosen)
        request = read.request
    explanation = None
    from identengine.identify.explain import NEAREST, CandidateLimits

    if read is None or read.method == "authorize":
        engine = _engine(here, version, CandidateLimits(None, None if everything else NEAREST))
        options = _options(here)
        explanation = engine.explain(request, options if chosen is None else chosen.options(options))
        _raise_fault(engine, here)
    limits, trouble = _limits(here, explanation)
    if as_json:
        decided = {"decision": None} if explanation is None else msgspec.to_builtins(explanation)
        emit(({} if read is None else read.document()) | decided | {"limits": limits})
    else:
        _print_explanation(explanation, request, read)
        if limits or trouble is not None:
            say("")
            say("The limits of the account, as they are now:" if limits else f"No limits are shown: {trouble}")
            print_levels(limits)
    raise typer.Exit(0 if explanation is None or explanation.decision.accepted else 1)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(identify)
    app.command()(explain)


def _request(fields: Sequence[str], *, ask_password: bool) -> Request:
    """Return the request of ``FIELD=VALUE`` arguments. Raise BadParameter for an unknown or repeated field."""
    plain: dict[str, str] = {}
    digest: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise typer.BadParameter(expected("FIELD=VALUE", field), param_hint="FIELD=VALUE")
        into, key, known = (
            (digest, name.removeprefix("digest."), _DIGEST)
            if name.startswith("digest.")
            else (plain, name, _FIELDS)
        )
        if key not in known:
            names = [f"digest.{one}" for one in known] if into is digest else known
            near = nearest(name, names)
            what = "a field of the request" if near else one_of(names)
            raise typer.BadParameter(expected(what, name, meant=near), param_hint="FIELD=VALUE")
        if key in into:
            raise typer.BadParameter(f"{name}: expected once, got a second value", param_hint="FIELD=VALUE")
        into[key] = value
    if ask_password:
        plain["password"] = typer.prompt("Password", hide_input=True, err=True)
    return Request(**plain, digest=Digest(**digest) if digest else None)


def _options(here: Workspace) -> IdentifyOptions:
    return here.config.identify if here.config else IdentifyOptions()


def _engine(here: Workspace, version: int | None, explains: CandidateLimits | None = None) -> Engine:
    """Return an engine with a version of the store. It can read passwords if there is a key."""
    from identengine.engine.core import Engine
    from identengine.engine.settings import EngineSettings

    reasons = here.config.reasons if here.config else ReasonTable()
    settings = EngineSettings(reasons=reasons, vault=here.vault_if_any())
    if explains is not None:
        settings = msgspec.structs.replace(settings, explains=explains)
    engine = Engine(settings)
    with here.open(readonly=True) as opened, opened.read(version) as book:
        if book.version:
            engine.take_up(_build(book, _options(here)))
    return engine


def _raise_fault(engine: Engine, here: Workspace) -> None:
    """Raise the cause of an ``internal_error``, for example a missing key, so that the user can fix it."""
    for fault in engine.faults:
        if isinstance(fault, KeyFileError):
            here.vault()  # this names the missing file or variable
        raise fault


def _build(snapshot: Snapshot, options: IdentifyOptions) -> Book:
    """Return the index of a version, and show a progress bar if building it takes long."""
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
            if owner in restricted:  # the DIDs of other accounts are never used
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


def _limits(here: Workspace, explanation: Explanation | None) -> tuple[tuple[Level, ...], str | None]:
    """Return the levels of the account that was found, as a running server has them, or the reason without them.

    Without a config that names the set of calls there is neither.
    """
    decision = explanation and explanation.decision
    if here.config is None or not decision or decision.account_id is None or decision.direction is None:
        return (), None
    try:
        with OperatorClient(here.config.calls.path, _PATIENCE) as server:
            return levels_of(server, decision.account_id, decision.direction), None
    except IdentengineError as error:
        return (), str(error)


def _print_explanation(explanation: Explanation | None, request: Request, read: PacketRead | None) -> None:
    if read is not None:
        print_packet(read)
    if explanation is not None:
        _print_decision(explanation.decision)
        say("")
        print_candidates(explanation, request)


def _print_decision(decision: Decision) -> None:
    say("accepted" if decision.accepted else f"rejected: {decision.reason}")
    known = [
        (name, shown(value))
        for name, value in msgspec.structs.asdict(decision).items()
        if value is not None and name not in ("accepted", "reason")
    ]
    facts([*known, ("expected", _expected(decision))])


def _expected(decision: Decision) -> str | None:
    """Return the usable values of the field that made a request unusable, or None for other decisions."""
    from identengine.engine.lifecycle import USABLE

    if decision.reason is Reason.INVALID_DESTINATION:
        return f"dst_number: {USABLE['dst_number']}"
    return USABLE.get(decision.field) if decision.field is not None else None
