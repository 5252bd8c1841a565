"""The options of ``load``, each as the type of its parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_TLS = "TLS"

Url = Annotated[
    str,
    typer.Argument(metavar="URL", help="Whom to ask: udp://HOST:PORT, tcp://, tls:// or http://."),
]
Mix = Annotated[
    Path | None,
    typer.Argument(
        metavar="MIX",
        help="What to ask: JSONL, a request a line and what is expected; default: calls for the demo's book.",
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="R",
        min=0.001,
        help="Send R requests a second when they are due, whatever becomes of the others (open loop).",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        "--window", metavar="N", min=1, help="Keep N requests waiting for answers (closed loop); default: 32."
    ),
]
Connections = Annotated[
    int, typer.Option("--connections", metavar="N", min=1, max=10_000, help="Connections, or UDP sockets.")
]
Duration = Annotated[
    float | None, typer.Option("--duration", metavar="SECONDS", min=0.001, help="How long; default: 10 s.")
]
Requests = Annotated[
    int | None,
    typer.Option("--requests", metavar="N", min=1, help="How many, rounded up to whole passes through MIX."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.001, max=3600, help="After that a request is lost."),
]
MaxLoss = Annotated[
    float,
    typer.Option("--max-loss", metavar="PERCENT", min=0, max=100, help="So much may be lost; more ends with 1."),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Of what MIX leaves to chance, and of its call ids.")
]
Encoding = Annotated[Literal["json", "msgpack"], typer.Option("--encoding", help="Of the messages, but for HTTP.")]
TokenEnv = Annotated[
    str | None,
    typer.Option("--token-env", metavar="NAME", help="The environment variable that holds the switch's token."),
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="Whose certificate to trust (PEM).", rich_help_panel=_TLS),
]
Certificate = Annotated[
    Path | None,
    typer.Option("--certificate", metavar="FILE", help="Our own certificate (PEM).", rich_help_panel=_TLS),
]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its key (PEM).", rich_help_panel=_TLS)]
OffLoopback = Annotated[
    bool,
    typer.Option(
        "--off-loopback",
        help="Ask a server that is not on this machine's loopback: one that is yours, and not in service.",
    ),
]
