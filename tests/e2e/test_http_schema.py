"""``/openapi.json`` is true: schemathesis sends a real server requests that fit it, and requests that do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from support.http import BOSS, SWITCH, asking, make_book, url, web_serving
from support.server import Server

from identengine.server.http.openapi import document

EXAMPLES = 6
"""Requests of each kind for each path."""
LOOSE = frozenset({"/v1/sync", "/v1/start", "/v1/update"})
"""Paths that reject some requests which fit the schema. No schema can express that ``part`` is at most ``parts``,
or that the parameters of an unknown call must be usable."""

DOCUMENT: dict[str, Any] = json.loads(document())
CONFIG = SchemathesisConfig()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
OPERATIONS = {found.label: found for path in DOCUMENT["paths"] for found in SCHEMA[path].values()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("schema")
    make_book(folder)
    with web_serving(folder) as running:
        yield running


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_the_server_is_as_it_says(server: Server, mode: GenerationMode) -> None:
    asked = []
    for operation in OPERATIONS.values():
        if mode is GenerationMode.POSITIVE or operation.body:  # without a body no request can be wrong
            ask(server, operation, mode)
            asked.append(operation.path)
    assert len(asked) == (13 if mode is GenerationMode.POSITIVE else 7)


def ask(server: Server, operation: Any, mode: GenerationMode) -> None:
    """Send requests to one path that fit its description, or that do not."""
    headers = {"Authorization": f"Bearer {BOSS if operation.path == '/metrics' else SWITCH}"}

    @given(st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        case.body = integral(case.body)
        answer = case.call(base_url=url(server), headers=headers)
        excluded = [positive_data_acceptance] if operation.path in LOOSE else []
        if mode is GenerationMode.NEGATIVE and is_unusable(answer):
            excluded.append(negative_data_rejection)
        case.validate_response(answer, headers=headers, excluded_checks=excluded)

    one()


def is_unusable(answer: Any) -> bool:
    """Return True for a decision that rejects the request as such, for example for an unknown direction."""
    decided = answer.json() if answer.status_code == 200 else {}
    return bool(decided.get("decision", decided).get("reason") in ("invalid_request", "invalid_destination"))


def integral(value: Any) -> Any:
    """Return a value with 5 for 5.0, which is an integer in JSON Schema but not for decoders of JSON."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: integral(one) for name, one in value.items()}
    return [integral(one) for one in value] if isinstance(value, list) else value


def test_every_path_is_described(server: Server) -> None:
    with asking(server) as client:
        served = client.get("/openapi.json").json()
        assert served == DOCUMENT
        for path, item in served["paths"].items():
            for method, operation in item.items():
                assert operation["description"], path
                answer: httpx.Response = client.request(method, path, json={})
                assert str(answer.status_code) in operation["responses"], path
