"""``load``: asks a server as many switches would, checks its answers, and measures."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from identengine.cli.options import AsJson
from identengine.cli.output import Column, emit, facts, hint, progress, say, table

if TYPE_CHECKING:
    import ssl

    from identengine.loadgen.run import Run
    from identengine.loadgen.scores import Report, Scores

_TLS = "TLS"
_DEFAULT_WINDOW = 32
_DEFAULT_SECONDS = 10.0
_OUTCOMES = (Column("Method"), Column("Answer"), Column("Count", right=True), Column("Share", right=True))


def load(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="Whom to ask: udp://HOST:PORT, tcp://, tls:// or http://."),
    ] = "udp://127.0.0.1:4870",
    mix: Annotated[
        Path | None,
        typer.Argument(
            metavar="MIX",
            help="What to ask: JSONL, a request a line and what is expected; default: calls for the demo's book.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="R",
            min=0.001,
            help="Send R requests a second when they are due, whatever becomes of the others (open loop).",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            "--window", metavar="N", min=1, help="Keep N requests waiting for answers (closed loop); default: 32."
        ),
    ] = None,
    connections: Annotated[
        int, typer.Option("--connections", metavar="N", min=1, max=10_000, help="Connections, or UDP sockets.")
    ] = 1,
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="SECONDS", min=0.001, help="How long; default: 10 s.")
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option("--requests", metavar="N", min=1, help="How many, rounded up to whole passes through MIX."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.001, max=3600, help="After that a request is lost."),
    ] = 2.0,
    max_loss: Annotated[
        float,
        typer.Option(
            "--max-loss", metavar="PERCENT", min=0, max=100, help="So much may be lost; more ends with 1."
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Of what MIX leaves to chance, and of its call ids.")
    ] = 0,
    encoding: Annotated[
        Literal["json", "msgpack"], typer.Option("--encoding", help="Of the messages, but for HTTP.")
    ] = "json",
    token_env: Annotated[
        str | None,
        typer.Option(
            "--token-env", metavar="NAME", help="The environment variable that holds the switch's token."
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option("--ca", metavar="FILE", help="Whose certificate to trust (PEM).", rich_help_panel=_TLS),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="Our own certificate (PEM).", rich_help_panel=_TLS),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Its key (PEM).", rich_help_panel=_TLS)
    ] = None,
    off_loopback: Annotated[
        bool,
        typer.Option(
            "--off-loopback",
            help="Ask a server that is not on this machine's loopback: one that is yours, and not in service.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a server as many switches would; check each answer and measure how long it took.

    With --rate, times are counted from when a request was due, so that a server that stands still shows. Ends with
    1 if an answer was wrong or more was lost than may be. Ctrl-C brings the calls to their end and shows what was
    measured; a second one ends at once.

    Example: identengine load tcp://127.0.0.1:4870 --rate 1000 --duration 5
    """
    from identengine.loadgen.mix import read
    from identengine.loadgen.run import Plan, Run
    from identengine.loadgen.target import TargetError, target

    if rate is not None and window is not None:
        raise typer.BadParameter("either a rate or a window is wanted, not both", param_hint="--rate, --window")
    whom = target(url, encoding, _token(token_env), timeout, _context(ca, certificate, key))
    if not off_loopback and not whom.on_loopback():
        raise TargetError(
            f"{whom.host} is not on this machine's loopback, and so much load takes a server out of service;"
            " --off-loopback asks it nevertheless"
        )
    if duration is None and requests is None:
        duration = _DEFAULT_SECONDS
    plan = Plan(
        rate=rate,
        window=None if rate is not None else window or _DEFAULT_WINDOW,
        connections=connections,
        duration=duration,
        requests=requests,
        timeout=timeout,
        seed=seed,
    )
    run = Run(whom, read(mix or _shipped()), plan)
    with _stops(run), progress(f"asking {whom.url}") as tell:

        def told(scores: Scores, seconds: float) -> None:
            what = f"{scores.answered:,} answers, {scores.lost + scores.unsent:,} lost, {scores.wrong:,} wrong"
            if duration is not None:
                tell(int(seconds * 10), int(duration * 10), what)
            else:
                tell(scores.sent, requests, what)

        report = run.go(told)
    if as_json:
        emit({"url": whom.url, "encoding": encoding, "plan": plan, "report": report, "loss": report.loss})
    else:
        _show(report)
    if report.wrong or report.loss > max_loss or not report.answered:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(load)


def _shipped() -> Path:
    from identengine.cli.demoserver import data_folder

    return data_folder() / "load.jsonl"


def _token(name: str | None) -> str | None:
    if name is None:
        return None
    token = os.environ.get(name)
    if not token:
        raise typer.BadParameter(f"${name} is not set", param_hint="--token-env")
    return token


def _context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if ca is None and certificate is None:
        return None
    import ssl

    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _stops(run: Run) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a run in order, so that what was measured is shown."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        run.stop()

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _show(report: Report) -> None:
    facts(
        [
            ("requests", f"{report.sent:,} in {report.seconds:.1f} s{', stopped' if report.stopped else ''}"),
            ("answers", f"{report.answered:,}, {report.per_second:,.0f} a second"),
            ("lost", f"{report.lost + report.unsent:,} ({report.loss:.3g} %)"),
            ("never sent", f"{report.unsent:,} of those" if report.unsent else None),
            ("too late", f"{report.late:,}" if report.late else None),
            ("wrong", f"{report.wrong:,}"),
            ("reconnected", f"{report.reconnects:,} times" if report.reconnects else None),
        ]
    )
    times = report.latency
    if times is not None:
        shown = (
            ("mean", times.mean),
            ("p50", times.p50),
            ("p90", times.p90),
            ("p99", times.p99),
            ("p99.9", times.p99_9),
            ("max", times.max),
        )
        say("")
        table(
            [Column("ms", right=True)] + [Column(name, right=True) for name, _ in shown],
            [["time to answer", *(f"{value:.3f}" for _, value in shown)]],
        )
        say("")
        table(
            _OUTCOMES,
            (
                (one.method, one.outcome, f"{one.count:,}", f"{100 * one.count / report.answered:.1f} %")
                for one in report.outcomes
            ),
        )
    for mistake in report.mistakes:
        hint(f"wrong: {mistake}")
    for trouble, count in report.troubles.items():
        hint(f"{trouble}{f' ({count:,} times)' if count > 1 else ''}")
