"""``calls``, ``calls show`` and ``calls end``: list the calls that a server holds, and free their slots.

Rule: only the server touches its set of calls, so these commands ask the server.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from identengine.cli.auditing import CallsEnded
from identengine.cli.endcalls import end_legs, ended_told
from identengine.cli.legviews import print_legs, say_legs
from identengine.cli.levels import levels_of, print_levels
from identengine.cli.operatorclient import CallsDir, OperatorClient, calls_folder, leg_rows
from identengine.cli.options import AsJson, ConfigFile, Limit, StoreDir, Who, Yes
from identengine.cli.output import SCREEN, emit, emit_many, hint, say
from identengine.cli.rowids import book_of, row_id
from identengine.cli.times import seconds
from identengine.errors import IdentengineError, counted, expected, quoted

if TYPE_CHECKING:
    from identengine.wire.operator import Filter, LegRow

SHOWN = 10
"""Largest number of calls that are listed without ``--yes``."""
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt])")


def call_number(text: str) -> str:
    """Return a number in normal form. Raise BadParameter if the text is not a number."""
    from identengine.model.numbers import normal_number

    try:
        number = normal_number(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not number:
        raise typer.BadParameter(expected("a number", text))
    return number


AccountOption = Annotated[
    str | None,
    typer.Option(
        "--account", metavar="ACCOUNT", help="Only calls of this account (id; with --config also its name)."
    ),
]
ClientOption = Annotated[
    str | None,
    typer.Option(
        "--client",
        metavar="CLIENT",
        help="Only calls that count on this client or reseller (id; with --config also its name).",
    ),
]
SwitchName = Annotated[
    str | None,
    typer.Option("--switch", metavar="NAME", help="Only calls of this switch (its name in the config)."),
]
Older = Annotated[
    float | None,
    typer.Option(
        "--older", parser=seconds, metavar="TIME", help="Only calls of at least this age: 90s, 10m, 2h or 1d."
    ),
]
State = Annotated[
    Literal["held", "reserved", "active", "lapsed"],
    typer.Option(
        "--state",
        help=(
            "Only calls in this state. held: reserved or active. lapsed: the lease expired and the slot is free,"
            " but the call can be revived."
        ),
    ),
]
Scope = Annotated[
    str | None,
    typer.Option(
        "--scope", metavar="NAME", help="Only calls whose ids belong to this scope. Default: all scopes."
    ),
]
LegDirection = Annotated[
    Literal["origination", "termination"] | None,
    typer.Option("--direction", help="Only legs of this direction."),
]
LegId = Annotated[
    str | None,
    typer.Option("--leg", metavar="LEG_ID", help="Only this leg. An empty value selects the leg without an id."),
]

Number = Annotated[
    str | None,
    typer.Option(
        "--number",
        parser=call_number,
        metavar="NUMBER",
        help="Only calls from or to this number, in any spelling. Its last digits suffice.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="TEXT", help="Only calls of accounts whose name contains TEXT, in any case."),
]

app = typer.Typer(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback()
def calls(
    context: typer.Context,
    account: AccountOption = None,
    client: ClientOption = None,
    switch: SwitchName = None,
    older: Older = None,
    number: Number = None,
    name: Name = None,
    state: State = "held",
    limit: Limit = None,
    config: ConfigFile = None,
    calls: CallsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the calls that the server holds, show all about one of them, or end some of them.

    Example: identengine calls --config identengine.toml --account 17 --older 10m
    """
    if context.invoked_subcommand is not None:
        _require_options_after(context)
        return
    from identengine.wire.operator import Filter, Status, StatusRequest

    wanted = Filter(
        account_id=row_id("account", account, partial(book_of, config)),
        client_id=row_id("client", client, partial(book_of, config)),
        switch=switch,
        older=older,
        state=state,
        number=number,
        account_name=name,
    )
    with OperatorClient(calls_folder(calls, config)) as server:
        found = leg_rows(server, wanted)
        if as_json:
            emit_many(islice(found, limit) if limit else found)
            return
        if limit is None:
            limit = SCREEN if sys.stdout.isatty() else 0
        count = print_legs(islice(found, limit) if limit else found)
        if not count:
            hint("no call matches" if wanted != Filter() else "the server holds no calls")
        elif next(found, None) is not None:
            # The server would have to read every call to count the matches of a filter.
            held = 0 if wanted != Filter() else server.ask(StatusRequest(), Status).held
            hint(f"not shown: {f'{held - count:,} more' if held > count else 'more calls'}; --limit 0 shows all")


def _require_options_after(context: typer.Context) -> None:
    """Raise BadParameter if an option precedes the name of a subcommand, since it would have no effect."""
    for option in context.params:
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"expected --{option} after `{context.invoked_subcommand}`, got it before",
                param_hint=f"--{option}",
            )


@app.command()
def show(
    call_id: Annotated[str, typer.Argument(metavar="CALL_ID", help="Show all legs of this call.")],
    scope: Scope = None,
    config: ConfigFile = None,
    calls: CallsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show everything about one call: its legs, numbers and lease, and the levels that it counts on.

    Lapsed legs are shown too. Exit with 1 if the server does not know the call.

    Example: identengine calls show --config identengine.toml a84b4c76e66710
    """
    import msgspec

    from identengine.wire.operator import Filter

    with OperatorClient(calls_folder(calls, config)) as server:
        legs = _named_legs(server, Filter(call_id=call_id, scope=scope, state="any"))
        levels = [levels_of(server, leg.account_id, leg.direction, leg.client_ids) for leg in legs]
    if as_json:
        emit(
            {
                "call_id": legs[0].call_id,
                "legs": [msgspec.to_builtins(leg) | {"levels": on} for leg, on in zip(legs, levels, strict=True)],
            }
        )
        return
    for leg, on in zip(say_legs(legs), levels, strict=True):
        say("")
        if leg.state == "lapsed":
            say("The leg has lapsed and counts on no level. These levels would count it again:")
        print_levels(on)


@app.command()
def end(
    call_id: Annotated[str | None, typer.Argument(metavar="CALL_ID", help="End all legs of this call.")] = None,
    account: AccountOption = None,
    client: ClientOption = None,
    switch: SwitchName = None,
    older: Older = None,
    number: Number = None,
    name: Name = None,
    state: State = "held",
    scope: Scope = None,
    direction: LegDirection = None,
    leg: LegId = None,
    yes: Yes = False,
    store: StoreDir = None,
    config: ConfigFile = None,
    calls: CallsDir = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """End calls in the engine and free their slots, as a stop of their switch does. The switch is not notified.

    A call that is named by its id is ended at once. Calls that options select are only shown without --yes.
    The audit log of the store that --config or --store names records the end.

    Example: identengine calls end --config identengine.toml --account 17 --older 2h --yes
    """
    from identengine.wire.operator import Filter

    wanted = Filter(
        account_id=row_id("account", account, partial(book_of, config)),
        client_id=row_id("client", client, partial(book_of, config)),
        switch=switch,
        older=older,
        state=state,
        call_id=call_id,
        scope=scope,
        direction=direction,
        leg_id=leg,
        number=number,
        account_name=name,
    )
    _require_selection(wanted)
    with OperatorClient(calls_folder(calls, config)) as server:
        found = leg_rows(server, wanted) if call_id is None else iter(_of_call(server, wanted))
        if call_id is None and not yes:
            _preview(found, as_json=as_json)
            raise typer.Exit(1)
        log = CallsEnded(store, config, who, _selection(wanted))
        _end(server, found, log, as_json=as_json)


def _require_selection(wanted: Filter) -> None:
    """Raise BadParameter if a filter selects all calls of a state."""
    if wanted == type(wanted)(state=wanted.state):
        raise typer.BadParameter(
            "expected CALL_ID or an option that selects calls: --account, --client, --switch, --number, --name or"
            " --older"
        )


def _selection(wanted: Filter) -> str:
    """Return the calls that a filter selects, as the audit log names them."""
    import msgspec

    unset = msgspec.structs.asdict(type(wanted)())
    found = [(name, value) for name, value in msgspec.structs.asdict(wanted).items() if value != unset[name]]
    return ", ".join(f"{name} {quoted(value)}" for name, value in found)


def _of_call(server: OperatorClient, wanted: Filter) -> list[LegRow]:
    """Return the legs of one call. Raise IdentengineError if no leg matches, or if several scopes have the id."""
    found = _named_legs(server, wanted)
    scopes = sorted({row.scope for row in found})
    if len(scopes) > 1:
        raise IdentengineError(
            f"{len(scopes)} calls have the id {quoted(wanted.call_id)}, in the scopes {', '.join(scopes)}."
            " Select one with --scope NAME."
        )
    return found


def _named_legs(server: OperatorClient, wanted: Filter) -> list[LegRow]:
    """Return the legs of all calls with an id. Raise IdentengineError if no leg matches."""
    import msgspec

    call_id = wanted.call_id or ""
    found = list(leg_rows(server, wanted))
    if not found and _ESCAPE.search(call_id):  # copied from output with escaped control characters
        plain = _ESCAPE.sub(lambda escape: escape[0].encode().decode("unicode_escape"), call_id)
        found = list(leg_rows(server, msgspec.structs.replace(wanted, call_id=plain)))
    if not found:
        raise IdentengineError(
            f"the server holds no matching call {quoted(call_id)}. Use `identengine calls` to show all calls."
        )
    return found


def _preview(found: Iterator[LegRow], *, as_json: bool) -> None:
    """Print the calls that would be ended."""
    first = list(islice(found, SHOWN))
    count = len(first) + sum(1 for _ in found)
    if as_json:
        emit({"would_end": count, "calls": first})
    elif not count:
        say("no call matches")
    else:
        print_legs(first)
        more = f" ({count - len(first)} more than these)" if count > len(first) else ""
        say(f"{counted(count, 'leg')} would be ended{more}. Nothing was changed. Repeat with --yes to end them.")


def _end(server: OperatorClient, found: Iterator[LegRow], log: CallsEnded, *, as_json: bool) -> None:
    """End the legs, and print their number."""
    ended = end_legs(server, found, log)
    if as_json:
        emit(ended._asdict())
    else:
        say(ended_told(ended))
