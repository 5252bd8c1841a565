"""``calls``: which calls are held, and ending them. Everything is asked of the server, which alone may."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from identengine.cli.interrupts import StoppedError
from identengine.cli.operatorclient import CallsDir, OperatorClient, calls_folder, leg_rows, seconds
from identengine.cli.options import AsJson, ConfigFile, Limit, Yes
from identengine.cli.output import SCREEN, Column, emit, emit_many, hint, printable, progress, say, table
from identengine.errors import IdentengineError

if TYPE_CHECKING:
    from identengine.wire.operator import Filter, LegRow

SHOWN = 10
"""Calls that are named before `--yes`."""
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt])")

AccountId = Annotated[int | None, typer.Option("--account", metavar="ID", min=1, help="Of this account.")]
ClientId = Annotated[
    int | None, typer.Option("--client", metavar="ID", min=1, help="That count on this client, or reseller.")
]
SwitchName = Annotated[
    str | None, typer.Option("--switch", metavar="NAME", help="Of this switch, by its name in the config.")
]
Older = Annotated[
    str | None, typer.Option("--older", metavar="TIME", help="Taken so long ago at least: 90s, 10m, 2h, 1d.")
]
State = Annotated[
    Literal["held", "reserved", "active", "lapsed"],
    typer.Option("--state", help="held: reserved or active; lapsed ones hold nothing and can be revived."),
]

app = typer.Typer(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})

_COLUMNS = (
    Column("Call ID"),
    Column("Leg"),
    Column("Direction", firm=True),
    Column("Account"),
    Column("Client"),
    Column("Switch"),
    Column("State", firm=True),
    Column("Age", right=True),
    Column("Lease Left", right=True),
)


@app.callback()
def calls(
    context: typer.Context,
    account: AccountId = None,
    client: ClientId = None,
    switch: SwitchName = None,
    older: Older = None,
    state: State = "held",
    limit: Limit = None,
    config: ConfigFile = None,
    calls: CallsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the calls that are held now, or end some.

    Example: identengine calls --config identengine.toml --account 17 --older 10m
    """
    if context.invoked_subcommand is not None:
        for name in context.params:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter(
                    f"--{name} stands before `{context.invoked_subcommand}`; put it after", param_hint=f"--{name}"
                )
        return
    from identengine.wire.operator import Filter, Status, StatusRequest

    wanted = Filter(
        account_id=account, client_id=client, switch=switch, older=seconds(older) if older else None, state=state
    )
    with OperatorClient(calls_folder(calls, config)) as server:
        found = leg_rows(server, wanted)
        if as_json:
            emit_many(islice(found, limit) if limit else found)
            return
        if limit is None:
            limit = SCREEN if sys.stdout.isatty() else 0
        count = table(_COLUMNS, map(_cells, islice(found, limit) if limit else found))
        if not count:
            hint("no call fits" if wanted != Filter() else "no call is held")
        elif next(found, None) is not None:
            # To count what fits a filter would mean to look at every call.
            more = "" if wanted != Filter() else f" {max(1, server.ask(StatusRequest(), Status).held - count):,}"
            hint(f"there are{more} more; --limit 0 shows all")


@app.command()
def end(
    call_id: Annotated[str | None, typer.Argument(metavar="CALL_ID", help="All legs of this call.")] = None,
    account: AccountId = None,
    client: ClientId = None,
    switch: SwitchName = None,
    older: Older = None,
    state: State = "held",
    scope: Annotated[
        str | None, typer.Option("--scope", metavar="NAME", help="Of call ids of this scope; default: of all.")
    ] = None,
    direction: Annotated[
        Literal["origination", "termination"] | None, typer.Option("--direction", help="Of this direction.")
    ] = None,
    leg: Annotated[
        str | None, typer.Option("--leg", metavar="LEG_ID", help="This leg; an empty one is the leg without id.")
    ] = None,
    yes: Yes = False,
    config: ConfigFile = None,
    calls: CallsDir = None,
    as_json: AsJson = False,
) -> None:
    """End calls, as if their switch had said stop; what the switch does with them is its own affair.

    A call by its id is ended at once; what filters choose is only shown without --yes.

    Example: identengine calls end --config identengine.toml --account 17 --older 2h --yes
    """
    from identengine.wire.operator import Filter

    wanted = Filter(
        account_id=account,
        client_id=client,
        switch=switch,
        older=seconds(older) if older else None,
        state=state,
        call_id=call_id,
        scope=scope,
        direction=direction,
        leg_id=leg,
    )
    if wanted == Filter(state=state):
        raise typer.BadParameter("say which: CALL_ID, or --account, --client, --switch, --older …")
    with OperatorClient(calls_folder(calls, config)) as server:
        found = leg_rows(server, wanted) if call_id is None else iter(_of_call(server, wanted))
        if call_id is None and not yes:
            _preview(found, as_json=as_json)
            raise typer.Exit(1)
        _end(server, found, as_json=as_json)


def _of_call(server: OperatorClient, wanted: Filter) -> list[LegRow]:
    """Return the legs of one call. Raises IdentengineError where there are none, or of which call is not clear."""
    import msgspec

    call_id = wanted.call_id or ""
    found = list(leg_rows(server, wanted))
    if not found and _ESCAPE.search(call_id):  # copied from where control characters are spelled out
        plain = _ESCAPE.sub(lambda escape: escape[0].encode().decode("unicode_escape"), call_id)
        found = list(leg_rows(server, msgspec.structs.replace(wanted, call_id=plain)))
    if not found:
        raise IdentengineError(f"no call {call_id!r} that fits is held; `identengine calls` shows those that are")
    scopes = sorted({row.scope for row in found})
    if len(scopes) > 1:
        raise IdentengineError(
            f"{len(scopes)} calls are called {call_id!r}, of the scopes {', '.join(scopes)}; "
            "say which: --scope NAME"
        )
    return found


def _preview(found: Iterator[LegRow], *, as_json: bool) -> None:
    """Say what would be ended."""
    first = list(islice(found, SHOWN))
    count = len(first) + sum(1 for _ in found)
    if as_json:
        emit({"would_end": count, "calls": first})
    elif not count:
        say("no call fits; nothing would be ended")
    else:
        table(_COLUMNS, map(_cells, first))
        more = f" ({count - len(first)} more than these)" if count > len(first) else ""
        say(f"{_legs(count)} would be ended{more}; --yes ends them")


def _end(server: OperatorClient, found: Iterator[LegRow], *, as_json: bool) -> None:
    """End legs as they come, and say how many there were."""
    from identengine.wire.operator import MOST_ENDED, Ended, EndRequest

    freed = gone = 0
    try:
        with progress("ending calls") as tell:
            while some := tuple(row.ending() for row in islice(found, MOST_ENDED)):
                ended = server.ask(EndRequest(some), Ended)
                freed, gone = freed + ended.freed, gone + ended.gone
                tell(freed, None)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped; {_legs(freed)} were ended", 130) from None
    if as_json:
        emit({"freed": freed, "gone": gone})
        return
    say(f"{_legs(freed)} ended" + (f", {gone} had ended by then" if gone else ""))


def _legs(count: int) -> str:
    return f"{count} leg{'s' * (count != 1)}"


def _cells(row: LegRow) -> tuple[str, ...]:
    return (
        printable(row.call_id),
        printable(row.leg_id),
        row.direction,
        f"{row.account_id} {row.account_name or '(not in the book)'}",
        f"{row.client_id} {row.client_name or '(not in the book)'}",
        row.switch if row.scope == row.switch else f"{row.switch} ({row.scope})",
        row.state,
        span(row.age),
        span(row.left),
    )


def span(length: float) -> str:
    """Return seconds as a person reads them: ``9 s``, ``2:05 min``, ``3:10 h``."""
    whole = max(0, int(length))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole // 60 % 60:02} h"
