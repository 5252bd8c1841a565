"""docs/methods.md lists the methods, fields and examples of the code: no more and no fewer, with the same words.

The parts between ``<!-- made: … -->`` and ``<!-- end -->`` are made from the code. To make them again:
``python tests/unit/server/http/test_openapi_methods_page.py``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from identengine.identify.explain import Candidate, Explanation, Rank
from identengine.model.records import CallList, CallRequest, Decision, Digest, Request
from identengine.server.http.examples import EXAMPLES
from identengine.server.http.fielddocs import member_docs
from identengine.server.http.openapi import REQUIRED, RULED_OUT_BY
from identengine.wire import codes
from identengine.wire.jsonrpc.messages import Credentials
from identengine.wire.jsonrpc.methods import METHODS

PAGE = Path(__file__).resolve().parents[4] / "docs" / "methods.md"
PARAMS = (Request, Digest, CallRequest, CallList, Credentials)
RESULTS = tuple(
    dict.fromkeys((Decision, Explanation, Candidate, Rank, *(spec.result for spec in METHODS.values())))
)
ERRORS = ("PARSE_ERROR", "INVALID_REQUEST", "NO_SUCH_METHOD", "BAD_PARAMS", "INTERNAL", "NOT_READY", "OVERLOADED")
SERVER_ONLY = {"program": "identengine …", "uptime": "…", "pid": "…"}
"""Members of an answer that differ from server to server."""
TYPES = {str: "string", int: "integer", float: "number", bool: "true or false", type(None): ""}


def made(name: str) -> str:
    """Return one part of the page."""
    what, _, kind = name.partition(" ")
    if what == "exchanges":
        return "\n\n".join(exchange(kind, place) for place in range(len(EXAMPLES[kind])))
    if kind == "ruled_out_by":
        rows = [f"| `{json.dumps(value).strip(chr(34))}` | {meaning} |" for value, meaning in RULED_OUT_BY.items()]
        return "\n".join(["| value | meaning |", "|---|---|", *rows])
    (struct,) = [each for each in (*PARAMS, *RESULTS) if each.__name__ == kind]
    return table(struct)


def table(struct: type[msgspec.Struct]) -> str:
    """Return the table of the fields of a type; a CallRequest has only those that a Request does not have."""
    hints, meanings = get_type_hints(struct), member_docs(struct)
    fields = list(msgspec.structs.fields(struct))
    column, cells = "required", {field.name: "yes" if field.required else "no" for field in fields}
    cells |= dict.fromkeys(REQUIRED.get(struct, ()), "yes")
    if struct is CallRequest:
        fields = [field for field in fields if field.name not in Request.__struct_fields__]
    if struct in RESULTS:
        column, cells = "present", {field.name: "always" if field.required else "optional" for field in fields}
    if struct is Decision:
        cells |= dict(zip(Decision.__struct_fields__, decision_cells(), strict=True))
    rows = [
        f"| `{one.name}` | {type_name(one.name, hints[one.name])} | {cells[one.name]} | {meanings[one.name]} |"
        for one in fields
    ]
    return "\n".join([f"| field | type | {column} | meaning |", "|---|---|---|---|", *rows])


def decision_cells() -> list[str]:
    """Return for each field of a decision the answers that have it."""
    names = Decision.__struct_fields__
    accepted, rejected = names.index("matched_by"), names.index("reason")
    return [
        "always"
        if name == "accepted"
        else "optional"
        if at < accepted
        else "accepted"
        if at < rejected
        else "rejected"
        for at, name in enumerate(names)
    ]


def type_name(field: str, hint: Any) -> str:
    """Return the type of a field as the page has it."""
    kinds = get_args(hint) or (hint,)
    if field == "calls":
        return "array of arrays"
    if field == "candidates":
        return "array of objects"
    if int in kinds and str in kinds:
        return "integer or decimal string"
    if kinds[0] in (True, "ip"):
        return "true" if kinds[0] is True else "string"
    named = [
        TYPES.get(kind, "object" if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else "string")
        for kind in kinds
    ]
    return next(filter(None, named))


def exchange(method: str, place: int) -> str:
    """Return an example of the page: a sentence, the request and its answer."""
    one = EXAMPLES[method][place]
    number = sum(len(EXAMPLES[name]) for name in list(METHODS)[: list(METHODS).index(method)]) + place + 1
    request: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
    if one.params is not None:
        request["params"] = one.params
    result = one.result
    if method == "ping":
        result = result | SERVER_ONLY
    answer = {"jsonrpc": "2.0", "id": number, "result": result}
    return f"{one.title}\n\n```json\n{pretty(request)}\n```\n\n```json\n{pretty(answer)}\n```".replace('"…"', "…")


def pretty(value: object) -> str:
    """Return a message as JSON, with each long object on several lines."""

    def lines(value: object, indent: str) -> str:
        flat = json.dumps(value, ensure_ascii=False)
        if len(indent) + len(flat) <= 90 or not isinstance(value, dict | list):
            return flat
        inner = indent + "  "
        if isinstance(value, list):
            return "[\n" + ",\n".join(inner + lines(one, inner) for one in value) + f"\n{indent}]"
        rows: list[str] = []
        for name, one in value.items():
            item = f"{json.dumps(name)}: {lines(one, inner)}"
            if rows and "\n" not in item and "\n" not in rows[-1] and len(rows[-1]) + len(item) < 88:
                rows[-1] += f", {item}"
            else:
                rows.append(f"{inner}{item}")
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"

    return lines(value, "")


PARTS = re.compile(r"(?<=<!-- made: )([^>]+?)( -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)


def parts() -> list[str]:
    return [name for name, *_ in PARTS.findall(PAGE.read_text())]


@pytest.mark.parametrize("name", parts())
def test_each_part_is_as_the_code_makes_it(name: str) -> None:
    (found,) = [text for part, _, text, _ in PARTS.findall(PAGE.read_text()) if part == name]
    assert found.strip() == made(name)


def test_the_page_has_all_parts() -> None:
    fields = [f"fields {struct.__name__}" for struct in (*PARAMS, *RESULTS)]
    exchanges = [f"exchanges {name}" for name in METHODS if name != "auth"]
    assert sorted(parts()) == sorted([*fields, *exchanges, "values ruled_out_by"])


def test_each_method_has_a_heading_and_no_other_does() -> None:
    assert re.findall(r"^### `(\w+)`$", PAGE.read_text(), re.MULTILINE) == list(METHODS)


def test_the_table_of_errors_has_all_codes() -> None:
    listed = [int(code) for code in re.findall(r"^\| (-32\d+) ", PAGE.read_text(), re.MULTILINE)]
    assert listed == [getattr(codes, name) for name in ERRORS]


if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(PARTS.sub(lambda found: f"{found[1]}{found[2]}\n{made(found[1])}\n{found[4]}", text))
