"""The worked examples of engine.md 3, answered by a real server over every wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from conformance.examples import ACCOUNTS, CLIENTS, EXAMPLES, Example
from support import HOST
from support.books import put_rows
from support.server import Server, serving
from support.switch import WIRES, Wire, call
from support.tls import TLS_FILES, Authority

from identengine.model.records import Account, Client
from identengine.store.vault import Vault, default_key_file

AUTHORITY = Authority()
LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\n'


def _setting(example: Example) -> str:
    """Return the parts of an example that must be equal for two examples to share a server."""
    return json.dumps([example.options, example.accounts, example.clients], sort_keys=True)


SETTINGS = {_setting(example): example for example in EXAMPLES}


@pytest.fixture(scope="module", params=SETTINGS.values(), ids=lambda example: example.title)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Server]]:
    example: Example = request.param
    folder = tmp_path_factory.mktemp("examples")
    vault = Vault.from_file(default_key_file(folder / "store"), create=True)
    clients = [msgspec.convert(row | example.clients.get(row["id"], {}), Client) for row in CLIENTS]
    accounts = [msgspec.convert(row | example.accounts.get(row["id"], {}), Account) for row in ACCOUNTS]
    sealed = [
        msgspec.structs.replace(account, password=vault.encrypt(account.password)) if account.password else account
        for account in accounts
    ]
    put_rows(folder / "store", sealed, clients)
    options = "".join(f"{name} = {json.dumps(value)}\n" for name, value in example.options.items())
    AUTHORITY.certify(folder)
    with serving(folder, f"{LISTEN}{TLS_FILES}[identify]\n{options}") as server:
        yield _setting(example), server


@pytest.mark.parametrize("method", ["authorize", "identify"])
def test_worked_examples(served: tuple[str, Server], method: str) -> None:
    setting, server = served
    examples = [example for example in EXAMPLES if _setting(example) == setting]
    assert examples
    answers = [_ask(server, wire, method, examples) for wire in WIRES]
    for example, result in zip(examples, answers[0], strict=True):
        assert {name: result.get(name) for name in example.answer} == example.answer, example.title
        assert result["version"] == 1
    assert all(found == answers[0] for found in answers)


def _ask(server: Server, wire: Wire, method: str, examples: list[Example]) -> list[dict[str, Any]]:
    with server.switch(wire, AUTHORITY.client()) as switch:
        return switch.burst(call(method, number, **example.request) for number, example in enumerate(examples))
