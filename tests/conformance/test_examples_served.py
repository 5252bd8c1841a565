"""The worked examples of engine.md 3, asked of a real server over UDP and TCP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conformance.examples import ACCOUNTS, CLIENTS, EXAMPLES, Example
from support.books import put_rows
from support.server import Server, serving
from support.switch import request

from identengine.model.records import Account, Client
from identengine.store.vault import Vault, default_key_file


def _setting(example: Example) -> str:
    """Return what has to be equal for examples to share a server."""
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
    with serving(Path(folder), f"[identify]\n{options}") as server:
        yield _setting(example), server


@pytest.mark.parametrize("method", ["authorize", "identify"])
def test_worked_examples(served: tuple[str, Server], method: str) -> None:
    setting, server = served
    examples = [example for example in EXAMPLES if _setting(example) == setting]
    assert examples
    messages = [request(method, number, **example.request) for number, example in enumerate(examples)]
    with server.udp() as udp:
        for message in messages:
            udp.send(message)
        over_udp = [udp.receive() for _ in messages]
    with server.tcp() as tcp:
        tcp.send(*messages)
        over_tcp = tcp.answers(len(messages))
    for answers in (over_udp, over_tcp):
        results: dict[int, dict[str, Any]] = {answer["id"]: answer["result"] for answer in answers}
        for number, example in enumerate(examples):
            result = results[number]
            assert {name: result.get(name) for name in example.answer} == example.answer, example.title
            assert result["version"] == 1
    assert over_udp == over_tcp
