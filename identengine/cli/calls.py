"""``calls`` and ``calls end``: list the calls that a server holds, and free their slots.

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

from identengine.cli.interrupts import StoppedError
from identengine.cli.operatorclient import CallsDir, OperatorClient, calls_folder, leg_rows
from identengine.cli.options import AsJson, ConfigFile, Limit, Yes
from identengine.cli.output import SCREEN, Column, emit, emit_many, hint, printable, progress, say, table
from identengine.cli.rowids import book_of, row_id
from identengine.cli.times import seconds
from identengine.errors import IdentengineError, counted, quoted

if TYPE_CHECKING:
    from identengine.wire.operator import Filter, LegRow

SHOWN = 10
"""Largest number of calls that are listed without ``--yes``."""
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt])")

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
    account: AccountOption = None,
    client: ClientOption = None,
    switch: SwitchName = None,
    older: Older = None,
    state: State = "held",
    limit: Limit = None,
    config: ConfigFile = None,
    calls: CallsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the calls that the server holds, or end some of them.

    Example: identengine calls --config identengine.toml --account 17 --older 10m
    """
    if context.invoked_subcommand is not None:
        for name in context.params:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter(
                    f"expected --{name} after `{context.invoked_subcommand}`, got it before",
                    param_hint=f"--{name}",
                )
        return
    from identengine.wire.operator import Filter, Status, StatusRequest

    wanted = Filter(
        account_id=row_id("account", account, partial(book_of, config)),
        client_id=row_id("client", client, partial(book_of, config)),
        switch=switch,
        older=older,
        state=state,
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
            hint("no call matches" if wanted != Filter() else "the server holds no calls")
        elif next(found, None) is not None:
            # The server would have to read every call to count the matches of a filter.
            held = 0 if wanted != Filter() else server.ask(StatusRequest(), Status).held
            hint(f"not shown: {f'{held - count:,} more' if held > count else 'more calls'}; --limit 0 shows all")


@app.command()
def end(
    call_id: Annotated[str | None, typer.Argument(metavar="CALL_ID", help="End all legs of this call.")] = None,
    account: AccountOption = None,
    client: ClientOption = None,
    switch: SwitchName = None,
    older: Older = None,
    state: State = "held",
    scope: Scope = None,
    direction: LegDirection = None,
    leg: LegId = None,
    yes: Yes = False,
    config: ConfigFile = None,
    calls: CallsDir = None,
    as_json: AsJson = False,
) -> None:
    """End calls in the engine and free their slots, as a stop of their switch does. The switch is not notified.

    A call that is named by its id is ended at once. Calls that options select are only shown without --yes.

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
    )
    if wanted == Filter(state=state):
        raise typer.BadParameter(
            "expected CALL_ID or an option that selects calls: --account, --client, --switch or --older"
        )
    with OperatorClient(calls_folder(calls, config)) as server:
        found = leg_rows(server, wanted) if call_id is None else iter(_of_call(server, wanted))
        if call_id is None and not yes:
            _preview(found, as_json=as_json)
            raise typer.Exit(1)
        _end(server, found, as_json=as_json)


def _of_call(server: OperatorClient, wanted: Filter) -> list[LegRow]:
    """Return the legs of one call. Raise IdentengineError if no leg matches, or if several scopes have the id."""
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
    scopes = sorted({row.scope for row in found})
    if len(scopes) > 1:
        raise IdentengineError(
            f"{len(scopes)} calls have the id {quoted(call_id)}, in the scopes {', '.join(scopes)}."
            " Select one with --scope NAME."
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
        table(_COLUMNS, map(_cells, first))
        more = f" ({count - len(first)} more than these)" if count > len(first) else ""
        say(f"{counted(count, 'leg')} would be ended{more}. Nothing was changed. Repeat with --yes to end them.")


def _end(server: OperatorClient, found: Iterator[LegRow], *, as_json: bool) -> None:
    """End the legs in batches, and print their number."""
    from identengine.wire.operator import MOST_ENDED, Ended, EndRequest

    freed = gone = 0
    try:
        with progress("ending calls") as tell:
            while some := tuple(row.ending() for row in islice(found, MOST_ENDED)):
                ended = server.ask(EndRequest(some), Ended)
                freed, gone = freed + ended.freed, gone + ended.gone
                tell(freed, None)
    except KeyboardInterrupt:
        raise StoppedError(f"interrupted; {counted(freed, 'leg')} ended", 130) from None
    if as_json:
        emit({"freed": freed, "gone": gone})
        return
    say(f"{counted(freed, 'leg')} ended" + (f", {gone} had already ended" if gone else ""))


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
    """Return a time span for people: ``9 s``, ``2:05 min``, ``3:10 h``."""
    whole = max(0, int(length))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole // 60 % 60:02} h"
