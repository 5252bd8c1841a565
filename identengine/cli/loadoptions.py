"""The arguments and options of ``load``, each as the type of its parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from identengine.cli.options import decimal, integer

_TLS = "TLS"
_RADIUS = "RADIUS"

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="The server: udp://HOST:PORT, tcp://HOST:PORT, or with tls://, http://, resp://, resps:// or radius://.",
    ),
]
Mix = Annotated[
    Path | None,
    typer.Argument(
        metavar="MIX",
        help="JSONL file with one request and its expected answer a line. Default: calls for the demo's book.",
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="R",
        parser=decimal(0.001),
        help="Send R requests per second on schedule, without waiting for answers (open loop).",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="N",
        parser=integer(1),
        help="Keep N requests in flight (closed loop). Default: 32. Excludes --rate.",
    ),
]
Connections = Annotated[
    int,
    typer.Option(
        "--connections", metavar="N", parser=integer(1, 10_000), help="Number of connections or UDP sockets."
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        "--duration",
        metavar="SECONDS",
        parser=decimal(0.001),
        help="Duration of the run. Default: 10 seconds, or no limit with --requests.",
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests",
        metavar="N",
        parser=integer(1),
        help="Number of requests, rounded up to whole passes through MIX.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        parser=decimal(0.001, 3600),
        help="Longest wait for an answer. After it, the request counts as lost.",
    ),
]
MaxLoss = Annotated[
    float,
    typer.Option(
        "--max-loss",
        metavar="PERCENT",
        parser=decimal(0, 100),
        help="Allowed loss in percent; above it the exit status is 1.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", parser=integer(0), help="Seed of the random choices in MIX and of the call ids."
    ),
]
Encoding = Annotated[
    Literal["json", "msgpack"],
    typer.Option("--encoding", help="Encoding of JSON-RPC messages. Other interfaces have one form."),
]
TokenEnv = Annotated[
    str | None,
    typer.Option("--token-env", metavar="NAME", help="Environment variable that holds the token of the switch."),
]
SecretEnv = Annotated[
    str | None,
    typer.Option(
        "--secret-env",
        metavar="NAME",
        help="Environment variable that holds the secret of the switch.",
        rich_help_panel=_RADIUS,
    ),
]
AccountingPort = Annotated[
    int | None,
    typer.Option(
        "--accounting-port",
        metavar="PORT",
        parser=integer(1, 65_535),
        help="Port of accounting. Default: the next port after that of URL.",
        rich_help_panel=_RADIUS,
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="Trusted CA certificates (PEM).", rich_help_panel=_TLS),
]
Certificate = Annotated[
    Path | None,
    typer.Option("--certificate", metavar="FILE", help="Client certificate (PEM).", rich_help_panel=_TLS),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key", metavar="FILE", help="Private key of the client certificate (PEM).", rich_help_panel=_TLS
    ),
]
OffLoopback = Annotated[
    bool,
    typer.Option(
        "--off-loopback",
        help="Allow a server on another machine. Use it only for a server of your own that is not in service.",
    ),
]
