"""The methods of JSON-RPC and HTTP (interfaces.md 3 and 6): one table. No I/O.

The server's decoding, the routes of HTTP and their description, the client and the load generator derive from it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from identengine.calls.backend import LegResult
from identengine.identify.explain import Explanation
from identengine.model.records import CallList, CallRequest, Decision, Request
from identengine.wire.jsonrpc.messages import Credentials, NoParams, Pong

Result: TypeAlias = Decision | Explanation | LegResult | Pong
ResultType: TypeAlias = type[Decision] | type[Explanation] | type[LegResult] | type[Pong]


class MethodSpec(msgspec.Struct, frozen=True):
    """A method: its name, parameters and result."""

    name: str
    params: type[msgspec.Struct]
    result: ResultType
    summary: str
    """What the method does, for the description of the API: one sentence, or more paragraphs."""
    in_steps: bool = False
    """True if the answer may take several steps of the loop (engine.md 5.8), so that clients wait longer."""
    repeatable: bool = True
    """False if a request that is sent again a moment later would free the calls that began meanwhile."""
    connection_only: bool = False
    """True if the method belongs to a connection of JSON-RPC; HTTP has no route for it."""


_ALL = (
    MethodSpec(
        "authorize",
        Request,
        Decision,
        "Decide whose call this is and whether it may pass, and hold a slot for it.\n\n"
        "200 also where it may not: `accepted` says so, `reason`, `sip_code` and `q850` say why.",
    ),
    MethodSpec(
        "identify",
        Request,
        Decision,
        "Decide the same without side effects: nothing is held, no limit counts.",
    ),
    MethodSpec(
        "explain",
        Request,
        Explanation,
        "Decide the same without side effects, and show every account that the request touches.",
    ),
    MethodSpec("start", CallRequest, LegResult, "Say that a call was answered."),
    MethodSpec("update", CallRequest, LegResult, "Say that a call goes on."),
    MethodSpec("stop", CallRequest, LegResult, "Say that a call, or a leg of it, has ended or failed."),
    MethodSpec(
        "sync",
        CallList,
        LegResult,
        "Give a part of the complete list of the calls of the switch.",
        in_steps=True,
    ),
    MethodSpec(
        "switch_up",
        NoParams,
        LegResult,
        "Say that the switch has started and has no calls.",
        in_steps=True,
        repeatable=False,
    ),
    MethodSpec(
        "switch_down",
        NoParams,
        LegResult,
        "Say that the switch ends, and its calls with it.",
        in_steps=True,
        repeatable=False,
    ),
    MethodSpec("ping", NoParams, Pong, "Ask whether the server decides, and by which version of the book."),
    MethodSpec("auth", Credentials, LegResult, "Say who asks on this connection.", connection_only=True),
)

METHODS = {spec.name: spec for spec in _ALL}
"""All methods by name, in the order in which they are shown."""


class Call(msgspec.Struct, tag_field="method", gc=False):
    """A message of the expected shape: the members that all methods have. Each method has a subclass."""

    jsonrpc: Literal["2.0"]
    id: msgspec.Raw = msgspec.Raw()
    """The id as it came; empty in a notification."""
    params: msgspec.Struct | None = None
    """Of the method's type."""


def _call(spec: MethodSpec) -> type[Call]:
    name = spec.name.title().replace("_", "")
    kind = msgspec.defstruct(
        name, [("params", spec.params | None, None)], bases=(Call,), module=__name__, tag=spec.name, gc=False
    )
    assert issubclass(kind, Call)  # noqa: S101 - for the type checker
    return kind


CALLS = {name: _call(spec) for name, spec in METHODS.items()}
"""The type that a message of each method is decoded as."""
