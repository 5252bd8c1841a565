"""Each method gives the same answers over every transport, framing and encoding (interfaces.md 3, 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from conformance.book import HTTP_TOKEN
from conformance.served import Served, outcome
from conformance.steps import STEPS
from support import HOST
from support.switch import WIRES, Switch, Wire


def _has(outcome: dict[str, Any], wanted: dict[str, object]) -> bool:
    return {name: outcome.get(name) for name in wanted} == wanted


@pytest.fixture(scope="module")
def told(served: Served) -> Callable[[Wire], list[dict[str, Any]]]:
    """Return a function that returns the answers to all steps over one wire. Each wire is asked once."""
    found: dict[Wire, list[dict[str, Any]]] = {}

    def of(wire: Wire) -> list[dict[str, Any]]:
        if wire not in found:
            with served.open(wire) as switch:
                found[wire] = [outcome(switch.exchange(method, params)) for method, params, _ in STEPS]
        return found[wire]

    return of


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_the_same_answers_in_every_way(wire: Wire, told: Callable[[Wire], list[dict[str, Any]]]) -> None:
    answers = told(wire)
    unlike = [one for one in zip(STEPS, answers, strict=True) if not _has(one[1], one[0][2])]
    assert not unlike
    assert answers == told(WIRES[0])


def test_the_same_answers_by_http(served: Served, told: Callable[[Wire], list[dict[str, Any]]]) -> None:
    """An error is one of HTTP, with the code and the parameter of the error in JSON-RPC."""
    base = f"http://{HOST}:{served.server.ports['http']}/v1"
    there = httpx.HTTPTransport(local_address="127.0.1.99")
    with httpx.Client(headers={"Authorization": f"Bearer {HTTP_TOKEN}"}, timeout=20, transport=there) as client:
        for step, first in zip(STEPS, told(WIRES[0]), strict=True):
            answer = client.post(f"{base}/{step[0]}", json=step[1])
            found = answer.json()
            if first.get("code") == -32601:
                assert answer.status_code == 404, step
            elif "code" in first:
                named = {name: found[name] for name in ("field", "value") if name in found}
                assert (answer.status_code, found["code"], named) == (400, first["code"], first.get("data", {})), (
                    step
                )
            else:
                found.pop("uptime", None)
                assert (answer.status_code, list(found.items())) == (200, list(first.items())), step
                assert answer.headers["content-type"] == "application/json"


def test_each_kind_of_reject_is_among_them(told: Callable[[Wire], list[dict[str, Any]]]) -> None:
    found = {answer.get("reason") for answer in told(WIRES[0])} - {None}
    assert len(found) == 18
    assert {answer["code"] for answer in told(WIRES[0]) if "code" in answer} == {-32601, -32602}


def test_ping_names_the_process_that_decides(switch: Switch, served: Served) -> None:
    result = switch.ask("ping")
    assert (result["version"], result["pid"]) == (1, served.server.decider)
    assert result["uptime"] > 0
