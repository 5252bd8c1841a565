"""``identengine demo``: the main job in one command."""

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
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from identengine.cli.options import AsJson
from identengine.cli.output import Column, emit, hint, say, table

if TYPE_CHECKING:
    from identengine.calls.backend import LegResult
    from identengine.cli.demoserver import Outcome, Sample
    from identengine.model.records import Decision


def _tint(decision: str) -> str:
    return "red" if decision.startswith(_REJECTED) else "green"


_COLUMNS = (Column("#", right=True), Column("Request"), Column("Decision", tint=_tint))
_TERM = "termination"
_REJECTED = "rejected"
WAIT_SECONDS = 1.0
"""The longest that one wait for the server lasts."""


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the decisions; --json does too.")] = False,
    port: Annotated[
        int,
        typer.Option("--port", min=1, max=65535, metavar="N", help="Port to serve on; a free one if it is taken."),
    ] = 4870,
    as_json: AsJson = False,
) -> None:
    """Load the book in data/, serve it on loopback, ask it over UDP and TCP, show the decisions, keep serving.

    Example: identengine demo --once
    """
    from identengine.cli import demoserver as work

    asked, calls = work.samples(), work.calls()
    with tempfile.TemporaryDirectory(prefix="identengine-demo-") as folder, _ends_in_order():
        chosen = work.free_port(port)
        if chosen != port:
            hint(f"port {port} is taken; the demo serves on {chosen}")
        config, imported = work.prepare(Path(folder), chosen)
        version = imported.version or 0
        if not as_json:
            for warning in imported.warnings:
                hint(f"warning, meant: {msgspec.structs.replace(warning, file=Path(warning.file).name)}")
            say(f"{work.data_folder() / 'book'} is version {version} of a store in {folder}")
        with work.serving(config, chosen, version) as process:
            if not as_json:
                say(f"the server (process {process.pid}) answers on {work.HOST}:{chosen}, UDP and TCP")
                say("")
            # The calls end what they began, so that they find the same over UDP and TCP.
            answered = list(zip(work.ask_udp(chosen, asked), work.ask_tcp(chosen, asked), strict=True))
            held = list(zip(work.ask_udp(chosen, calls), work.ask_tcp(chosen, calls), strict=True))
            if as_json:
                emit([_as_json(*both) for both in (*answered, *held)])
            else:
                _show(answered, held)
            if any(
                first.wrong or second.wrong or first.decision != second.decision
                for first, second in answered + held
            ):
                raise typer.Exit(1)
            if not once and not as_json:
                _invite(Path(folder), config, chosen)
                _serve_on(process)


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(demo)


def _show(answered: Sequence[tuple[Outcome, Outcome]], held: Sequence[tuple[Outcome, Outcome]]) -> None:
    """Show what was answered, over UDP and over TCP, to requests and of calls at a limit."""
    _rows(answered)
    rejected = sum(_decision(one.decision).startswith(_REJECTED) for one, _ in answered)
    say("")
    say(f"{len(answered)} requests, {len(answered) - rejected} accepted, {rejected} rejected, over UDP and TCP")
    say("")
    say("Calls at a limit, one message after another:")
    _rows(held)
    for first, second in (*answered, *held):
        for transport, one in (("UDP", first), ("TCP", second)):
            for difference in one.wrong:
                hint(f"not as expected over {transport}: {one.sample.title}: {difference}")
        if first.decision != second.decision:
            hint(f"UDP and TCP were answered differently: {first.sample.title}")


def _rows(answered: Sequence[tuple[Outcome, Outcome]]) -> None:
    table(
        _COLUMNS,
        (
            (str(number), f"{one.sample.title}\n{_request(one.sample)}", _decision(one.decision))
            for number, (one, _) in enumerate(answered, 1)
        ),
        ruled=True,
    )


def _request(sample: Sample) -> str:
    values = {name: msgspec.json.decode(value) for name, value in sample.params.items()}
    shown = []
    for name, value in values.items():
        if name == "password":
            value = "…"  # noqa: PLW2901 - a password is shown nowhere, not even a made-up one
        elif name == "digest":
            value = f"{value['username']}, {value.get('algorithm', 'MD5')}"  # noqa: PLW2901 - as above
        elif name == "direction":
            continue
        shown.append(f"{name}={value}")
    kind = values.get("direction", "") if sample.method == "authorize" else sample.method
    return " ".join([kind] * bool(kind) + shown)


def _decision(decision: Decision | LegResult) -> str:
    from identengine.calls.backend import LegResult

    if isinstance(decision, LegResult):
        return "done" if decision.freed is None else f"done: {decision.freed} slot freed"
    if not decision.accepted:
        where = ""
        if decision.account_id is not None:
            where = f" ({decision.account_id} {decision.account_name}, {decision.client_name})"
        elif decision.field is not None:
            where = f" ({decision.field}: {decision.value})"
        return f"{_REJECTED}: {decision.reason}{where}\nSIP {decision.sip_code}, Q.850 {decision.q850}"
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
    parts = [f"dial {decision.dst_number}{target}"]
    if decision.src_rewritten:
        parts.append(f"show {decision.src_number}")
    if decision.ambiguous:
        parts.append("ambiguous")
    parts.append(f"rate {decision.rate_table or 'not set'}")
    if decision.routing_plan:
        parts.append(f"plan {decision.routing_plan}")
    if decision.tag:
        parts.append(f"tag {decision.tag}")
    return f"accepted: {decision.account_id} {decision.account_name}, {decision.client_name}\n{'; '.join(parts)}"


def _as_json(over_udp: Outcome, over_tcp: Outcome) -> dict[str, object]:
    sample = over_udp.sample
    secret = ("password", "digest")
    return {
        "title": sample.title,
        "method": sample.method,
        "params": {name: value for name, value in sample.params.items() if name not in secret},
        "udp": over_udp.decision,
        "tcp": over_tcp.decision,
        "wrong": [*over_udp.wrong, *over_tcp.wrong],
    }


def _invite(folder: Path, config: Path, port: int) -> None:
    """Say how to go on."""
    from identengine.cli.demoserver import HOST, example

    program = (
        "import socket,sys; s=socket.create_connection((sys.argv[1],int(sys.argv[2])));"
        " s.sendall(sys.argv[3].encode()); print(s.makefile().readline())"
    )
    say("")
    say("Ask it yourself:")
    # As it can be typed here: a virtual environment need not be on the path.
    ours = "identengine" if shutil.which("identengine") else f"{shlex.quote(sys.executable)} -m identengine"
    say(f"  python3 -c {shlex.quote(program)} {HOST} {port} '{example()}'")
    say(f"  echo '{example()}' | nc -w 1 {HOST} {port}")
    say(f"  echo '{example()}' | nc -u -w 1 {HOST} {port}")
    say("Look at its book, change it, and ask again:")
    say(f"  {ours} accounts list --store {folder / 'store'}")
    say(f"  {ours} explain --config {config} src_ip=192.0.2.10 dst_number=99#442079460123")
    say("Load a book of your own (a folder with clients.csv, accounts.csv, dids.csv), and serve it:")
    say(f"  {ours} import BOOK --store STORE")
    say('  printf \'[store]\\npath = "STORE"\\n[calls]\\npath = "CALLS"\\n\' > identengine.toml')
    say(f"  {ours} serve --config identengine.toml")
    say("")
    say("Serving until Ctrl-C; the store is removed then.")
    sys.stdout.flush()


def _serve_on(process: subprocess.Popen[bytes]) -> None:
    status: int | None = None
    try:
        while status is None:
            # A signal that arrives just before a wait without a limit does not interrupt it.
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(WAIT_SECONDS)
    except KeyboardInterrupt:
        say("")
        return
    hint(f"the server ended by itself, status {status}")
    raise typer.Exit(1)


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """Let a closed terminal and SIGTERM end the demo as Ctrl-C does: server and store go too."""
    names = (signal.SIGTERM, signal.SIGHUP)
    heeded = [name for name in names if signal.getsignal(name) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = [(name, signal.signal(name, signal.default_int_handler)) for name in heeded]
    try:
        yield
    finally:
        for name, handler in before:
            signal.signal(name, handler)
