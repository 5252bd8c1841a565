"""``identify`` and ``explain``: decide one request with a version of the store, without a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from identengine.cli.candidates import print_candidates, print_decision
from identengine.cli.levels import levels_of, print_levels
from identengine.cli.operatorclient import OperatorClient
from identengine.cli.options import AsJson, ConfigFile, KeyFile, StoreDir, integer
from identengine.cli.output import emit, progress, say
from identengine.cli.radiusfile import PacketRead, print_packet, read_file, switch_of
from identengine.cli.workspace import Workspace, find_workspace
from identengine.errors import IdentengineError, KeyFileError, expected, nearest, one_of
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import ReasonTable
from identengine.model.records import Digest, Request

if TYPE_CHECKING:
    from identengine.engine.core import Engine
    from identengine.identify.explain import CandidateLimits, Explanation
    from identengine.wire.operator import Level

_FIELDS = tuple(name for name in Request.__struct_fields__ if name != "digest")
_DIGEST = tuple(Digest.__struct_fields__)
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
    with _engine(here, version, request) as engine:
        decision = engine.identify(request, _options(here))
    if as_json:
        emit(decision)
    else:
        print_decision(decision)
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
        options, most = _options(here), CandidateLimits(None, None if everything else NEAREST)
        with _engine(here, version, request, most) as engine:
            explanation = engine.explain(request, options if chosen is None else chosen.options(options))
    limits, trouble = _limits(here, explanation)
    if as_json:
        decided = {"decision": None} if explanation is None else msgspec.to_builtins(explanation)
        emit(({} if read is None else read.document()) | decided | {"limits": limits})
    else:
        _print_explanation(explanation, request, read)
        _print_limits(limits, trouble)
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


@contextmanager
def _engine(
    here: Workspace, version: int | None, request: Request, explains: CandidateLimits | None = None
) -> Iterator[Engine]:
    """Yield an engine that decides this request by a version of the store.

    It can read passwords if there is a key. A fault of the decision is raised at the end.
    """
    from identengine.engine.core import Engine
    from identengine.engine.settings import EngineSettings
    from identengine.provisioning.excerpt import excerpt

    reasons = here.config.reasons if here.config else ReasonTable()
    settings = EngineSettings(reasons=reasons, vault=here.vault_if_any())
    if explains is not None:
        settings = msgspec.structs.replace(settings, explains=explains)
    engine = Engine(settings)
    with here.open(readonly=True) as opened, opened.read(version) as book:
        if book.version:
            with progress("reading the book") as tell:
                engine.take_up(excerpt(book, [request], _options(here), tell))
        yield engine
    _raise_fault(engine, here)


def _raise_fault(engine: Engine, here: Workspace) -> None:
    """Raise the cause of an ``internal_error``, for example a missing key, so that the user can fix it."""
    for fault in engine.faults:
        if isinstance(fault, KeyFileError):
            here.vault()  # this names the missing file or variable
        raise fault


def _print_limits(limits: tuple[Level, ...], trouble: str | None) -> None:
    if limits or trouble is not None:
        say("")
        say("The limits of the account, as they are now:" if limits else f"No limits are shown: {trouble}")
        print_levels(limits)


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
        print_decision(explanation.decision)
        say("")
        print_candidates(explanation, request)
