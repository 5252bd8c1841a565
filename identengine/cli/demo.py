"""``identengine demo``: the main job in one command.

All requests of ``data/`` are sent and checked. Eight cases are shown, so that they fit a screen of 80 by 40; the
option ``--all`` shows every request.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from identengine.cli.options import AsJson, integer
from identengine.cli.output import GLUE, emit, hint, paragraph, say, shell_command
from identengine.cli.styles import Style

if TYPE_CHECKING:
    from identengine.book.report import ImportReport
    from identengine.calls.backend import LegResult
    from identengine.cli.demoserver import Outcome, Sample
    from identengine.model.records import Decision

_TERM = "termination"
_REJECTED = "rejected"
_INDENT = "  "
WAIT_SECONDS = 1.0
"""Longest single wait for the server, in seconds."""


class _Asked(NamedTuple):
    """One request, with its outcome over each transport."""

    udp: Outcome
    tcp: Outcome


def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit after the decisions. --json implies it.")] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show all requests and their decisions instead of eight cases.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            parser=integer(1, 65_535),
            metavar="N",
            help="Port to serve on. If it is taken, the demo serves on a free one.",
        ),
    ] = 4870,
    as_json: AsJson = False,
) -> None:
    """Serve the demo book on loopback, send requests over UDP and TCP, and show the decisions.

    Afterwards the server keeps running until Ctrl-C. The demo's store is temporary.

    Example: identengine demo --once
    """
    from identengine.cli import demoserver as work

    requests, calls = work.samples(), work.calls()
    with tempfile.TemporaryDirectory(prefix="identengine-demo-") as folder, _stops_cleanly():
        chosen = work.free_port(port)
        if chosen != port:
            hint(f"port {port} is taken; the demo serves on {chosen}")
        config, imported = work.prepare(Path(folder), chosen)
        version = imported.version or 0
        with work.serving(config, chosen, version) as process:
            asked = [*_ask(chosen, requests), *_ask(chosen, calls)]
            if as_json:
                emit([_as_json(one) for one in asked])
            else:
                _introduce(imported, chosen, show_all=show_all)
                if show_all:
                    _show(asked, len(requests))
                else:
                    _show_cases(asked)
                _report_differences(asked)
            if not all(map(_as_expected, asked)):
                raise typer.Exit(1)
            if not once and not as_json:
                _invite(Path(folder), chosen)
                _serve_on(process)


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(demo)


def _ask(port: int, samples: Sequence[Sample]) -> Iterator[_Asked]:
    """Send all samples over UDP, then over TCP. Calls free their slots, so that TCP gets the same answers."""
    from identengine.cli.demoserver import ask_tcp, ask_udp

    over_udp = ask_udp(port, samples)
    return map(_Asked, over_udp, ask_tcp(port, samples))


def _introduce(imported: ImportReport, port: int, *, show_all: bool) -> None:
    """Introduce the deliberate mistakes of the book, and the server."""
    from identengine.cli.demoserver import HOST

    if show_all:
        paragraph("The demo book has three deliberate mistakes:")
        for warning in imported.warnings:
            paragraph(str(msgspec.structs.replace(warning, file=Path(warning.file).name)), _INDENT)
    else:
        (file,) = {Path(warning.file).name for warning in imported.warnings}
        lines = ", ".join(str(warning.line) for warning in imported.warnings)
        paragraph(f"The demo book has three deliberate mistakes: {file}, lines {lines}.")
    paragraph(f"A server with this book answers on {HOST}:{port}, UDP and TCP.")
    say("")


def _show_cases(asked: Sequence[_Asked]) -> None:
    """Show the requests that have a short title. An empty title continues the case above."""
    number = 0
    for one in asked:
        short, request = one.udp.sample.short, _request(one.udp.sample)
        if short:
            number += 1
            paragraph(f"{number}. {short}: {request}")
            _show_decision(_brief(one.udp.decision))
        elif short is not None:
            paragraph(f"{request}: {_brief(one.udp.decision)}", _INDENT)
    say("")
    all_or_not = "All" if all(map(_as_expected, asked)) else "Not all"
    command = shlex.join([*_this_program(), "demo", "--all"]).replace(" ", GLUE)
    paragraph(f"{all_or_not} {len(asked)} answers are as expected. `{command}` shows them.")


def _show(asked: Sequence[_Asked], requests: int) -> None:
    """Show every request: first the independent ones, then the calls at a limit."""
    rejected = sum(_decision(one.udp.decision).startswith(_REJECTED) for one in asked[:requests])
    _show_each(asked[:requests])
    say("")
    paragraph(f"{requests} requests: {requests - rejected} accepted, {rejected} rejected, over UDP and TCP.")
    say("")
    say("Calls at a limit, one message after another:")
    _show_each(asked[requests:])


def _show_each(asked: Sequence[_Asked]) -> None:
    for number, one in enumerate(asked, 1):
        paragraph(f"{number}. {one.udp.sample.title}: {_request(one.udp.sample)}")
        _show_decision(_decision(one.udp.decision))


def _show_decision(decision: str) -> None:
    paragraph(decision, _INDENT, Style.REJECTED if decision.startswith(_REJECTED) else Style.ACCEPTED)


def _as_expected(one: _Asked) -> bool:
    return not (one.udp.wrong or one.tcp.wrong) and one.udp.decision == one.tcp.decision


def _report_differences(asked: Sequence[_Asked]) -> None:
    for one in asked:
        title = one.udp.sample.title
        for transport, outcome in (("UDP", one.udp), ("TCP", one.tcp)):
            for difference in outcome.wrong:
                hint(f"unexpected answer over {transport}: {title}: {difference}")
        if one.udp.decision != one.tcp.decision:
            hint(f"UDP and TCP got different answers: {title}")


def _request(sample: Sample) -> str:
    values = {name: msgspec.json.decode(value) for name, value in sample.params.items()}
    shown = []
    for name, value in values.items():
        if name == "password":
            value = "…"  # noqa: PLW2901 - a password is never shown, not even a made-up one
        elif name == "digest":
            value = f"{value['username']}, {value.get('algorithm', 'MD5')}"  # noqa: PLW2901 - as above
        elif name == "direction":
            continue
        shown.append(f"{name}={value}".replace(" ", GLUE))
    kind = values.get("direction", "") if sample.method == "authorize" else sample.method
    return " ".join([kind] * bool(kind) + shown)


def _decision(decision: Decision | LegResult) -> str:
    """Return everything about a decision that matters to a switch."""
    from identengine.calls.backend import LegResult

    if isinstance(decision, LegResult):
        return _brief(decision)
    if not decision.accepted:
        where = ""
        if decision.account_id is not None:
            where = f" ({decision.account_id} {decision.account_name}, {decision.client_name})"
        elif decision.field is not None:
            where = f" ({decision.field}: {decision.value})"
        return f"{_REJECTED}: {decision.reason}{where}; SIP {decision.sip_code}, Q.850 {decision.q850}"
    parts = [_brief(decision)]
    if decision.ambiguous:
        parts.append("ambiguous")
    parts.append(f"rate {decision.rate_table or 'not set'}")
    if decision.routing_plan:
        parts.append(f"plan {decision.routing_plan}")
    if decision.tag:
        parts.append(f"tag {decision.tag}")
    return ", ".join(parts)


def _brief(decision: Decision | LegResult) -> str:
    """Return the decision, the account and the numbers to use."""
    from identengine.calls.backend import LegResult

    if isinstance(decision, LegResult):
        return "done" if decision.freed is None else f"done, {decision.freed} slot freed"
    account = f"{decision.account_id} {decision.account_name}"
    if not decision.accepted:
        where = "" if decision.account_id is None else f" ({account})"
        return f"{_REJECTED}: {decision.reason}, SIP {decision.sip_code}{where}"
    target = ""
    if decision.direction == _TERM:
        target = "".join(
            f" {name} {value}"
            for name, value in (
                ("to", decision.host),
                ("port", decision.port),
                ("by", decision.protocol),
                ("through", decision.proxy),
            )
            if value is not None
        )
    shown = f", show {decision.src_number}" if decision.src_rewritten else ""
    return f"accepted: {account} ({decision.client_name}), dial {decision.dst_number}{target}{shown}"


def _as_json(one: _Asked) -> dict[str, object]:
    sample = one.udp.sample
    secret = ("password", "digest")
    return {
        "title": sample.title,
        "method": sample.method,
        "params": {name: value for name, value in sample.params.items() if name not in secret},
        "udp": one.udp.decision,
        "tcp": one.tcp.decision,
        "wrong": [*one.udp.wrong, *one.tcp.wrong],
    }


def _invite(folder: Path, port: int) -> None:
    """Show commands to try. Each works as printed, in the folder where the demo was started."""
    from identengine.cli.demoserver import ask_by_hand

    program = _this_program()
    say("")
    say("Ask the server yourself:")
    for line in ask_by_hand(port).splitlines():
        say(line)
    say("Disable the account and ask again:")
    shell_command(*program, "accounts", "disable", "102", "--store", str(folder / "store"))


def _this_program() -> list[str]:
    """Return the words that start this program from the current folder."""
    ours = Path(sys.executable).with_name("identengine")
    found = shutil.which("identengine")
    if found is not None and Path(found).absolute() == ours:
        return ["identengine"]
    module = [] if ours.exists() else ["-m", "identengine"]
    path = ours if ours.exists() else Path(sys.executable)
    return [str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path), *module]


def _serve_on(process: subprocess.Popen[bytes]) -> None:
    status: int | None = None
    try:
        say("Serving until Ctrl-C, which removes the store.")
        sys.stdout.flush()
        while status is None:
            # A signal that arrives just before a wait without a limit does not interrupt it.
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(WAIT_SECONDS)
    except KeyboardInterrupt:
        say("")
        return
    hint(f"the server exited unexpectedly with status {status}")
    raise typer.Exit(1)


@contextmanager
def _stops_cleanly() -> Iterator[None]:
    """Handle SIGTERM and a closed terminal like Ctrl-C, so that server and store are removed as well."""
    names = (signal.SIGTERM, signal.SIGHUP)
    handled = [name for name in names if signal.getsignal(name) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = [(name, signal.signal(name, signal.default_int_handler)) for name in handled]
    try:
        yield
    finally:
        for name, handler in before:
            signal.signal(name, handler)
