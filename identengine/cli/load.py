"""``load``: send requests to a server like many switches, check the answers, and measure the times."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

import typer

from identengine.cli.loadoptions import (
    AccountingPort,
    Ca,
    Certificate,
    Connections,
    Duration,
    Encoding,
    Key,
    MaxLoss,
    Mix,
    OffLoopback,
    Rate,
    Requests,
    SecretEnv,
    Seed,
    Timeout,
    TokenEnv,
    Url,
    Window,
)
from identengine.cli.options import AsJson
from identengine.cli.output import Column, emit, facts, hint, progress, say, table

if TYPE_CHECKING:
    import ssl

    from identengine.loadgen.run import Plan, Run
    from identengine.loadgen.scores import Report, Scores
    from identengine.loadgen.target import Target

_DEFAULT_WINDOW = 32
_DEFAULT_SECONDS = 10.0
_OUTCOMES = (Column("Method"), Column("Answer"), Column("Count", right=True), Column("Share", right=True))


class TlsFiles(NamedTuple):
    """The files (PEM) of a TLS connection. Each is optional."""

    ca: Path | None
    certificate: Path | None
    key: Path | None

    def context(self) -> ssl.SSLContext | None:
        """Return a context with these files, or None without a CA and a certificate."""
        if self.ca is None and self.certificate is None:
            return None
        import ssl

        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


class RadiusOptions(NamedTuple):
    """The options of RADIUS. Each is optional for other interfaces."""

    secret_env: str | None
    accounting: int | None


def load(
    url: Url = "udp://127.0.0.1:4870",
    mix: Mix = None,
    rate: Rate = None,
    window: Window = None,
    connections: Connections = 1,
    duration: Duration = None,
    requests: Requests = None,
    timeout: Timeout = 2.0,
    max_loss: MaxLoss = 0.0,
    seed: Seed = 0,
    encoding: Encoding = "json",
    token_env: TokenEnv = None,
    secret_env: SecretEnv = None,
    accounting_port: AccountingPort = None,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    off_loopback: OffLoopback = False,
    as_json: AsJson = False,
) -> None:
    """Send requests to a server like many switches, check each answer, and measure the response times.

    With --rate, times are measured from the moment when a request was due, so that a stalled server is visible.
    The exit status is 1 if an answer was wrong or the loss is above --max-loss. The first Ctrl-C ends the calls
    and shows the results. A second Ctrl-C exits immediately.

    Example: identengine load tcp://127.0.0.1:4870 --rate 1000 --duration 5
    """
    from identengine.loadgen.mix import read
    from identengine.loadgen.run import Run

    if rate is not None and window is not None:
        raise typer.BadParameter("expected either a rate or a window, got both", param_hint="--rate, --window")
    tls = TlsFiles(ca, certificate, key)
    radius = RadiusOptions(secret_env, accounting_port)
    whom = _target(url, encoding, token_env, timeout, tls, radius, off_loopback=off_loopback)
    plan = _plan(rate, window, connections, duration, requests, timeout, seed)
    report = _measured(Run(whom, read(mix or _shipped()), plan), whom, plan)
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


def _from_environment(name: str | None, option: str) -> str | None:
    """Return the value of the environment variable that ``option`` names, or None if the option is not given."""
    if name is None:
        return None
    value = os.environ.get(name)
    if not value:
        raise typer.BadParameter(f"the environment variable {name} is not set or empty", param_hint=option)
    return value


def _target(
    url: str,
    encoding: Encoding,
    token_env: str | None,
    timeout: float,
    tls: TlsFiles,
    radius: RadiusOptions,
    *,
    off_loopback: bool,
) -> Target:
    """Return the server. Raise TargetError if it is on another machine and ``off_loopback`` is not set."""
    from identengine.loadgen.target import TargetError, target

    token = _from_environment(token_env, "--token-env")
    secret = _from_environment(radius.secret_env, "--secret-env")
    whom = target(
        url,
        encoding,
        token,
        timeout,
        tls.context(),
        secret=secret.encode() if secret is not None else None,
        accounting=radius.accounting,
    )
    if not off_loopback and not whom.on_loopback():
        raise TargetError(
            f"{whom.host} is not on this machine's loopback, and this load can take a server out of service."
            " Use --off-loopback to allow it."
        )
    return whom


def _plan(
    rate: float | None,
    window: int | None,
    connections: int,
    duration: float | None,
    requests: int | None,
    timeout: float,
    seed: int,
) -> Plan:
    """Return the plan of the options, with defaults for options that exclude each other."""
    from identengine.loadgen.run import Plan

    if duration is None and requests is None:
        duration = _DEFAULT_SECONDS
    return Plan(
        rate=rate,
        window=None if rate is not None else window or _DEFAULT_WINDOW,
        connections=connections,
        duration=duration,
        requests=requests,
        timeout=timeout,
        seed=seed,
    )


def _measured(run: Run, whom: Target, plan: Plan) -> Report:
    """Run to the end or until a signal, with a progress bar. Return the results."""
    with _stops(run), progress(f"asking {whom.url}") as tell:

        def update(scores: Scores, seconds: float) -> None:
            what = f"{scores.answered:,} answers, {scores.lost + scores.unsent:,} lost, {scores.wrong:,} wrong"
            if plan.duration is not None:
                tell(int(seconds * 10), int(plan.duration * 10), what)
            else:
                tell(scores.sent, plan.requests, what)

        return run.go(update)


@contextmanager
def _stops(run: Run) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop a run cleanly, so that its results are shown."""

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
            ("requests", f"{report.sent:,} in {report.seconds:.1f} s{', interrupted' if report.stopped else ''}"),
            ("answers", f"{report.answered:,}, {report.per_second:,.0f} per second"),
            ("lost", f"{report.lost + report.unsent:,} ({report.loss:.3g} %)"),
            ("of them never sent", f"{report.unsent:,}" if report.unsent else None),
            ("too late", f"{report.late:,}" if report.late else None),
            ("wrong", f"{report.wrong:,}"),
            ("retransmitted", f"{report.retransmitted:,}" if report.retransmitted else None),
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
            [["response time", *(f"{value:.3f}" for _, value in shown)]],
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
