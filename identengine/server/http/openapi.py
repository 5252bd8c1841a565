"""The description of the HTTP API: one OpenAPI 3.1 document (interfaces.md 6). No I/O.

The code is its source. Operations come from the table of methods, fields from the types of parameters and results,
descriptions from the docstrings of these types, examples from :mod:`identengine.server.http.examples`.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias

import msgspec

from identengine.calls.backend import LegResult
from identengine.engine.lifecycle import MOST_PARTS
from identengine.identify.explain import Candidate, Explanation, Rank
from identengine.model.reasons import Reason
from identengine.model.records import CallList, CallRequest, Decision, Digest, Direction, Request
from identengine.model.usual import LONGEST_INTERVAL
from identengine.server.http.examples import EXAMPLES
from identengine.server.http.fielddocs import member_docs, plain
from identengine.server.http.problems import STATUSES, Problem
from identengine.server.http.statuscache import Health, Readiness
from identengine.wire.jsonrpc.messages import Pong
from identengine.wire.jsonrpc.methods import METHODS, MethodSpec
from identengine.wire.program import PROGRAM

Json: TypeAlias = dict[str, Any]

TYPES: tuple[type[msgspec.Struct], ...] = (
    *(Request, CallRequest, CallList, Digest),
    *(Decision, Explanation, Candidate, Rank, LegResult, Pong),
    *(Health, Readiness, Problem),
)
"""The types of bodies and answers, and the types within them."""
RULED_OUT_BY: dict[str | None, str] = {
    None: "The account was found.",
    "gateway_mismatch": "The account names gateways, and the gateway of the call is not among them.",
    "protocol_mismatch": "The account names another protocol.",
    "port_mismatch": "The account names another port.",
    "tech_prefix_mismatch": "The dialled number does not begin with the account's tech prefix.",
    "account_disabled": "Both parts of the account are disabled.",
    "direction": "The part of the account for this direction is disabled.",
    "passwordless_name": "The account is known by name and has no password (`[identify] passwordless_name`).",
    "class": "An account of an earlier class (`[identify] classes`) was found.",
    "rank": "Another account is more specific.",
    "bad_password": "The password or digest does not verify.",
    "auth_required": "The account requires credentials, and the call carries none.",
    "account_id": "The account is equal to the one that was found, but has a higher id.",
    "ambiguous": "Accounts of several clients are equal, and `strict_ambiguity` rejects the call.",
}
"""Each value of ``ruled_out_by`` and its meaning; the class :class:`Candidate` lists the same values."""
_BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
_SERVER: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "healthz": ("Report that the HTTP process is alive.", "Health", ()),
    "readyz": (
        "Report whether calls may be sent to this server.\n\n"
        "The answer is 200 if a book is loaded, the set of calls has room, the store can be read, and the server "
        "is not stopping. It is 503 otherwise.",
        "Readiness",
        (),
    ),
    "metrics": ("Return the metrics in the text format of Prometheus.", "", (401, 403)),
}
"""The paths that are not methods: the description, the type of the answer (empty: text), and further statuses."""
_ALWAYS = (400, 404, 405, 408, 414, 431, 500, 501, 503, 505)
"""The statuses that every path can answer."""


@cache
def document() -> bytes:
    """Return the description of the API as JSON."""
    paths: Json = {
        f"/v1/{spec.name}": {"post": _method(spec)} for spec in METHODS.values() if not spec.connection_only
    }
    paths |= {f"/{name}": {"get": _get(name)} for name in _SERVER}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "identengine",
                "version": PROGRAM.partition(" ")[2] or "0",
                "description": "The engine that a telephone switch asks for each call: whose is it, may it pass?",
            },
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {
                "schemas": _schemas(),
                "responses": {str(status): _problem(status) for status in STATUSES},
                "securitySchemes": {
                    "bearer": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "The token of a `[[switch]]` or a `[[token]]` of the server's config.",
                    }
                },
            },
        }
    )


def _method(spec: MethodSpec) -> Json:
    """Return the operation of a method."""
    examples = EXAMPLES[spec.name]
    described = _operation(spec.name, spec.summary, "switch", _json(_ref(spec.result), spec.name))
    described["responses"] |= _problems((*_ALWAYS, 401, 403, 413) if spec.has_params else (*_ALWAYS, 401, 403))
    described["security"] = _BEARER
    if spec.has_params:
        asked = {_key(place): {"summary": one.title, "value": one.params} for place, one in enumerate(examples)}
        content = {"application/json": {"schema": _ref(spec.params), "examples": asked}}
        described["requestBody"] = {
            "description": "Parameters as a JSON object.",
            "content": content,
            "required": True,
        }
    return described


def _get(name: str) -> Json:
    """Return the operation of a path that does not belong to a method."""
    text, kind, more = _SERVER[name]
    if kind:
        content = _json({"$ref": f"#/components/schemas/{kind}"}, name)
    else:
        content = {"text/plain": {"schema": {"type": "string"}, "examples": _answers(name)}}
    described = _operation(name, text, "server", content)
    described["responses"] |= _problems((*_ALWAYS, *more))
    if more:
        described["security"] = _BEARER
    if name == "readyz":
        unready = _problem(503)
        unready["content"]["application/json"] = {
            "schema": {"anyOf": [_ref(Readiness), _ref(Problem)]},
            "example": {"ready": False, "reasons": ["no book"]},
        }
        described["responses"]["503"] = unready
    return described


def _operation(name: str, text: str, tag: str, content: Json) -> Json:
    return {
        "operationId": name,
        "summary": text.partition("\n")[0],
        "description": text,
        "tags": [tag],
        "responses": {"200": {"description": "Answer.", "content": content}},
    }


def _json(schema: Json, name: str) -> Json:
    return {"application/json": {"schema": schema, "examples": _answers(name)}}


def _answers(name: str) -> Json:
    return {_key(place): {"summary": one.title, "value": one.result} for place, one in enumerate(EXAMPLES[name])}


def _key(place: int) -> str:
    """Return the name of an example: a request and its answer have the same one."""
    return f"example{place + 1}"


def _problems(statuses: tuple[int, ...]) -> Json:
    """Return references to the answers that are errors, by status."""
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


def _problem(status: int) -> Json:
    """Return the answer that is an error."""
    text, example, headers = STATUSES[status]
    named = {name: {"description": what, "schema": {"type": "string"}} for name, what in headers.items()}
    content = {"application/json": {"schema": _ref(Problem), "example": msgspec.to_builtins(example)}}
    return {"description": text, "headers": named, "content": content}


def _ref(kind: type) -> Json:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _schemas() -> Json:
    """Return the schemas of all types, each field with its description."""
    _, found = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    for kind in TYPES:
        schema, meanings = found[kind.__name__], member_docs(kind)
        schema["description"] = plain(kind.__doc__ or "")
        for name, field in schema["properties"].items():
            schema["properties"][name] = _simple(field) | {"description": meanings[name]}
        schema["required"] = list(schema["required"])
    found[Reason.__name__] = _enum(Reason, "Reason of a reject.")
    found[Direction.__name__] = _enum(Direction, "Direction of a leg.")
    for kind, fields in _NARROWER.items():
        for name, narrower in fields.items():
            properties = found[kind.__name__]["properties"]
            meaning = properties[name]["description"] + narrower.get("description", "")
            properties[name] = narrower | {"description": meaning}
    for kind, names in REQUIRED.items():
        found[kind.__name__]["required"] = list(names)
    return found


def _simple(field: Json) -> Json:
    """Return the schema of a field without the default null, with alternatives of plain types as one type."""
    if field.get("default", ...) is None:
        del field["default"]
    kinds = field.get("anyOf", ())
    if kinds and all(set(kind) == {"type"} for kind in kinds):
        return {"type": [kind["type"] for kind in kinds]}
    return field


def _enum(kind: type[StrEnum], meaning: str) -> Json:
    """Return the schema of an enum, whose description lists the members."""
    return {
        "title": kind.__name__,
        "description": f"{meaning}\n\n{_listed(kind)}",
        "type": "string",
        "enum": [member.value for member in kind],
    }


def _listed(kind: type[StrEnum]) -> str:
    meanings = member_docs(kind)
    return "\n".join(f"- `{member.value}`: {' '.join(meanings[member.name].split())}" for member in kind)


def _number(most: int) -> Json:
    """Return the schema of a number from 1, or a string of its digits; an empty string or null is absent."""
    integer = {"type": "integer", "minimum": 1, "maximum": most}
    return {"oneOf": [integer, {"type": "string", "pattern": "^([1-9][0-9]{0,4})?$"}, {"type": "null"}]}


_ID: Json = {"type": ["string", "integer"], "pattern": r"\S"}
_ANY_ID: Json = {"type": ["string", "integer", "null"]}
_WAY: Json = {"type": ["string", "null"], "enum": [*(way.value for way in Direction), "", None]}
_MAYBE: Json = {"type": ["string", "null"]}
_ENTRY: Json = {"type": "array", "prefixItems": [_ID, _ANY_ID, _WAY], "minItems": 1, "maxItems": 3}
_WHY = "\n\n" + "\n".join(f"- `{msgspec.json.encode(name).decode()}`: {why}" for name, why in RULED_OUT_BY.items())
_NARROWER: dict[type[msgspec.Struct], Json] = {
    Request: {
        "call_id": _ANY_ID,
        "leg_id": _ANY_ID,
        "direction": _WAY | {"description": "\n\n" + _listed(Direction)},
    },
    CallRequest: {
        "call_id": _ID,
        "leg_id": _ANY_ID,
        "direction": _WAY | {"description": "\n\n" + _listed(Direction)},
        "interval": _number(LONGEST_INTERVAL),
    },
    CallList: {
        "list_id": _ID,
        "part": _number(MOST_PARTS),
        "parts": _number(MOST_PARTS),
        "calls": {"type": ["array", "null"], "items": _ENTRY},
    },
    Decision: {"reason": {"anyOf": [_ref(Reason), {"type": "null"}]}},
    Candidate: {"ruled_out_by": {"enum": list(RULED_OUT_BY), "description": _WHY}},
}
"""Schemas of fields whose types alone do not show which values are accepted."""
REQUIRED: dict[type[msgspec.Struct], tuple[str, ...]] = {CallRequest: ("call_id",), CallList: ("list_id",)}
"""The parameters that a request must have although their types allow their absence."""
