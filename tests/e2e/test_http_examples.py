"""The description of the API is complete, and a real server answers its examples as they say.

docs/methods.md shows the same examples; ``test_docs.py`` sends those.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from support import ROOT, docs
from support.http import CONFIG as BASE
from support.http import NOC, SWITCH, asking, wait_for_http
from support.server import Server, serving

from identengine.model.reasons import Reason
from identengine.server.http.openapi import document

PAGE = ROOT / "docs" / "methods.md"
CONFIG = BASE.replace(SWITCH, "change-this-token")
DOCUMENT: dict[str, Any] = json.loads(document())
OPERATIONS = [(path, way, one) for path, item in DOCUMENT["paths"].items() for way, one in item.items()]
EVERY_OPERATION = pytest.mark.parametrize(
    ("path", "way", "operation"), OPERATIONS, ids=[p for p, *_ in OPERATIONS]
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serve the book that docs/methods.md shows."""
    (book,) = [block.text for block in docs.blocks(PAGE) if "import book" in block.text]
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    made = subprocess.run(
        ["bash", "-euc", book],
        cwd=tmp_path,
        env=os.environ | {"PATH": programs},
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    with serving(tmp_path, CONFIG) as running:
        wait_for_http(running)
        yield running


def test_examples_of_the_description(server: Server) -> None:
    for path, way, operation in OPERATIONS:
        ((kind, content),) = operation["responses"]["200"]["content"].items()
        asked = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
        for name, example in content["examples"].items():
            with asking(server, NOC if path == "/metrics" else "change-this-token") as client:
                answer = client.request(way, path, json=asked[name]["value"] if asked else None)
            assert answer.status_code == 200, answer.text
            if kind == "text/plain":
                assert example["value"] in answer.text
                continue
            volatile = {"uptime": "…", "pid": "…"} if path == "/v1/ping" else {}
            assert docs.matches(example["value"] | volatile, answer.json()), f"{path} {name}: {answer.text}"


def responses(operation: Any) -> dict[str, Any]:
    """Return the answers of an operation by status, without references."""
    found = {}
    for status, answer in operation["responses"].items():
        name = answer.get("$ref", "").removeprefix("#/components/responses/")
        found[status] = DOCUMENT["components"]["responses"][name] if name else answer
    return found


@EVERY_OPERATION
def test_every_operation_has_examples(path: str, way: str, operation: Any) -> None:
    (content,) = operation["responses"]["200"]["content"].values()
    assert content["examples"]
    if "requestBody" in operation:
        assert (
            operation["requestBody"]["content"]["application/json"]["examples"].keys()
            == content["examples"].keys()
        )
    for status, answer in responses(operation).items():
        assert answer["description"], status
        if status != "200":
            assert answer["content"]["application/json"]["example"]


@EVERY_OPERATION
def test_examples_fit_their_schemas(path: str, way: str, operation: Any) -> None:
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for holder in (*bodies, *responses(operation).values()):
        (content,) = holder["content"].values()
        fits = jsonschema_rs.validator_for(content["schema"] | {"components": DOCUMENT["components"]})
        for value in (*(one["value"] for one in content.get("examples", {}).values()), content.get("example")):
            assert value is None or not [error.message for error in fits.iter_errors(value)]


@EVERY_OPERATION
def test_every_operation_has_all_statuses(path: str, way: str, operation: Any) -> None:
    expected = {"200", "400", "404", "405", "408", "414", "431", "500", "501", "503", "505"}
    if path.startswith("/v1/") or path == "/metrics":
        expected |= {"401", "403"}
    if "requestBody" in operation:
        expected |= {"413"}
    assert set(operation["responses"]) == expected


def test_every_property_has_a_description() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name
        assert "engine.md" not in json.dumps(schema), "readers of the API do not have the specification"
        for field, described in schema.get("properties", {}).items():
            assert described["description"].strip(), f"{name}.{field}"


def test_reason_and_direction_are_enums_with_descriptions() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Reason"]["enum"] == [reason.value for reason in Reason]
    assert all(f"\n- `{reason}`: " in schemas["Reason"]["description"] for reason in Reason)
    assert schemas["Decision"]["properties"]["reason"]["anyOf"][0] == {"$ref": "#/components/schemas/Reason"}
    assert schemas["Direction"]["enum"] == ["origination", "termination"]
    for kind in ("Request", "CallRequest"):
        direction = schemas[kind]["properties"]["direction"]
        assert set(direction["enum"]) == {"origination", "termination", "", None}
        assert "- `origination`: " in direction["description"]
