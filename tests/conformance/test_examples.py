"""The worked examples of engine.md 3, answered by the engine in process."""

from __future__ import annotations

import base64

import msgspec
import pytest
from conformance.examples import ACCOUNTS, CLIENTS, EXAMPLES, Example

from identengine.engine.core import Engine
from identengine.engine.settings import EngineSettings
from identengine.identify import builder
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Request
from identengine.store.vault import Vault


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
@pytest.mark.parametrize("method", ["authorize", "identify"])
def test_worked_example(example: Example, method: str) -> None:
    vault = Vault.from_text(base64.b64encode(bytes(32)).decode())
    clients = [msgspec.convert(row | example.clients.get(row["id"], {}), Client) for row in CLIENTS]
    accounts = [msgspec.convert(row | example.accounts.get(row["id"], {}), Account) for row in ACCOUNTS]
    sealed = [
        msgspec.structs.replace(account, password=vault.encrypt(account.password)) if account.password else account
        for account in accounts
    ]
    options = IdentifyOptions(**example.options)
    engine = Engine(EngineSettings(vault=vault))
    engine.take_up(builder.build(options, 3, bytes(32), clients, sealed, []))

    answer = msgspec.to_builtins(getattr(engine, method)(Request(**example.request), options))

    assert {name: answer.get(name) for name in example.answer} == example.answer
    assert answer["version"] == 3
    assert answer["direction"] == "origination"
    assert ("account_id" in answer) == ("account_id" in example.answer), (
        "a reject names no account before one is found"
    )
