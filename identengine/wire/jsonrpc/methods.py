"""The methods of JSON-RPC and HTTP (interfaces.md 3 and 6): one table. No I/O.

The decoding of the server, the routes of HTTP and their description, the client and the load generator use this
table.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_type_hints

import msgspec

from identengine.calls.backend import LegResult
from identengine.identify.explain import Explanation
from identengine.model.records import CallList, CallRequest, Decision, Request
from identengine.model.usual import UsualCallRequest, UsualRequest
from identengine.wire.jsonrpc.messages import Credentials, NoParams, Pong

Result: TypeAlias = Decision | Explanation | LegResult | Pong
ResultType: TypeAlias = type[Decision] | type[Explanation] | type[LegResult] | type[Pong]


class MethodSpec(msgspec.Struct, frozen=True):
    """A method: its name, parameters and result."""

    name: str
    params: type[msgspec.Struct]
    result: ResultType
    summary: str
    """Description of the method for the API: one sentence, and further paragraphs if needed."""
    in_steps: bool = False
    """True if the answer can take several steps of the loop (engine.md 5.8), so that clients wait longer."""
    repeatable: bool = True
    """False if a repeated request would free calls that began after the first one."""
    connection_only: bool = False
    """True if the method belongs to a JSON-RPC connection, so that HTTP has no route for it."""

    @property
    def has_params(self) -> bool:
        """True if the method has parameters."""
        return bool(self.params.__struct_fields__)


_ALL = (
    MethodSpec(
        "authorize",
        Request,
        Decision,
        "Decide whose call this is and whether it may pass, and reserve a slot for it.\n\n"
        "A reject is an answer too: `accepted` is false, and `reason`, `sip_code` and `q850` explain it.",
    ),
    MethodSpec(
        "identify",
        Request,
        Decision,
        "Decide as `authorize` does, without side effects.\n\nNo slot is reserved, and no limit is checked.",
    ),
    MethodSpec(
        "explain",
        Request,
        Explanation,
        "Decide as `identify` does, and list every account that the request touches.",
    ),
    MethodSpec("start", CallRequest, LegResult, "Report that a call was answered."),
    MethodSpec("update", CallRequest, LegResult, "Report that a call continues."),
    MethodSpec("stop", CallRequest, LegResult, "Report that a call, or a leg of it, has ended or failed."),
    MethodSpec(
        "sync",
        CallList,
        LegResult,
        "Send the complete list of the switch's calls, or a part of it.",
        in_steps=True,
    ),
    MethodSpec(
        "switch_up",
        NoParams,
        LegResult,
        "Report that the switch has started and has no calls.",
        in_steps=True,
        repeatable=False,
    ),
    MethodSpec(
        "switch_down",
        NoParams,
        LegResult,
        "Report that the switch stops and that all its calls have ended.",
        in_steps=True,
        repeatable=False,
    ),
    MethodSpec("ping", NoParams, Pong, "Ask whether the server decides, and by which version of the book."),
    MethodSpec("auth", Credentials, LegResult, "Authenticate a connection as a switch.", connection_only=True),
)

METHODS = {spec.name: spec for spec in _ALL}
"""All methods by name, in the order in which they are listed."""


class Call(msgspec.Struct, tag_field="method", gc=False):
    """A message of the expected shape, with the members that all methods have. Each method has a subclass."""

    jsonrpc: Literal["2.0"]
    id: msgspec.Raw = msgspec.Raw()
    """Id as received; empty for a notification."""
    params: msgspec.Struct | None = None
    """Parameters, of the method's type."""


def _call(spec: MethodSpec, params: type[msgspec.Struct]) -> type[Call]:
    name = spec.name.title().replace("_", "")
    kind = msgspec.defstruct(
        name, [("params", params | None, None)], bases=(Call,), module=__name__, tag=spec.name, gc=False
    )
    assert issubclass(kind, Call)  # noqa: S101 - for the type checker
    return kind


CALLS = {name: _call(spec, spec.params) for name, spec in METHODS.items()}
"""The type into which a message of each method is decoded."""
_USUAL = {"authorize": UsualRequest} | dict.fromkeys(("start", "update", "stop"), UsualCallRequest)
USUAL_CALLS = CALLS | {name: _call(METHODS[name], params) for name, params in _USUAL.items()}
"""The same, with parameters of the usual shape for the methods of most messages."""


def _with_integer_ids(params: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the type of these parameters whose ids may be integers (interfaces.md 3, "Types")."""
    fields: list[tuple[str, object, None]] = [
        (name, kind, None) for name, kind in _ID_TYPES.items() if name in params.__struct_fields__
    ]
    return msgspec.defstruct(
        params.__name__, fields, bases=(params,), module=__name__, frozen=True, kw_only=True, gc=False
    )


_ID_TYPES: dict[str, object] = dict.fromkeys(("call_id", "leg_id", "list_id"), int | str | None) | {
    "calls": list[tuple[int | str | None, ...]] | None
}
INTEGER_ID_PARAMS: dict[type[msgspec.Struct], type[msgspec.Struct]] = {
    params: _with_integer_ids(params) for params in (Request, CallRequest, CallList)
}
"""The type of parameters whose ids may be integers, by the type of the parameters."""
INTEGER_ID_CALLS = {
    name: _call(spec, INTEGER_ID_PARAMS[spec.params])
    for name, spec in METHODS.items()
    if spec.params in INTEGER_ID_PARAMS
}
"""The type of a message of each method whose ids may be integers."""


def param_types(params: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the types of parameters, or of other members, as a message may have them."""
    return get_type_hints(INTEGER_ID_PARAMS.get(params, params))


def with_text_ids(call: Call) -> Call:
    """Return a message of :data:`INTEGER_ID_CALLS` as that of :data:`CALLS`, with the decimal text of its ids."""
    name = str(call.__struct_config__.tag)
    params = None if call.params is None else text_ids(call.params, METHODS[name].params)
    return CALLS[name](call.jsonrpc, call.id, params)


def text_ids(params: msgspec.Struct, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """Return parameters as ``kind``, with the decimal text of their ids."""
    values = {name: getattr(params, name) for name in kind.__struct_fields__}
    for name in _ID_TYPES.keys() & values.keys():
        value = values[name]
        if isinstance(value, list):
            values[name] = [tuple(map(_text, entry)) for entry in value]
        else:
            values[name] = _text(value)
    return kind(**values)


def _text(value: int | str | None) -> str | None:
    return str(value) if isinstance(value, int) else value
