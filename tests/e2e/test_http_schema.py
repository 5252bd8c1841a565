"""What ``/openapi.json`` says is so: schemathesis asks a real server what fits it, and what does not."""

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
from schemathesis.specs.openapi.checks import positive_data_acceptance
from support.http import BOSS, SWITCH, asking, make_book, url, web_serving
from support.server import Server

from identengine.server.http.routes import document

EXAMPLES = 6
"""Of each kind for each path."""
LOOSE = frozenset({"/v1/sync", "/v1/start", "/v1/update"})
"""Where what fits may be wrong still, as no schema can say: a part is at most parts, and who a call is must be
usable where the call is not known."""

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
        if mode is GenerationMode.POSITIVE or operation.body:  # else there is nothing that could be wrong
            ask(server, operation, mode)
            asked.append(operation.path)
    assert len(asked) == (13 if mode is GenerationMode.POSITIVE else 7)


def ask(server: Server, operation: Any, mode: GenerationMode) -> None:
    """Ask for one path with what fits its description, or with what does not."""
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
        case.call_and_validate(
            base_url=url(server),
            headers=headers,
            excluded_checks=[positive_data_acceptance] if operation.path in LOOSE else [],
        )

    one()


def integral(value: Any) -> Any:
    """Return a value with 5 for 5.0: to JSON Schema that is an integer, to JSON's readers it is none."""
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
