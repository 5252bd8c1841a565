"""The server of the conformance suite, and a switch for each wire."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from conformance.book import ACCOUNTS, CLIENTS, DIDS, PASSWORD, switches
from conformance.served import Served
from support import HOST
from support.books import put_rows
from support.server import serving
from support.switch import CONNECTED, WIRES, Switch
from support.tls import TLS_FILES, Authority

from identengine.store.vault import Vault, default_key_file


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("conformance")
    vault = Vault.from_file(default_key_file(folder / "store"), create=True)
    sealed = [
        msgspec.structs.replace(account, password=vault.encrypt(PASSWORD)) if account.id == 3 else account
        for account in ACCOUNTS
    ]
    put_rows(folder / "store", sealed, CLIENTS, DIDS)
    authority = Authority()
    authority.certify(folder)
    listen = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\nhttp = "{HOST}:0"\n'
    config = f"{listen}{TLS_FILES}[identify]\nstrict_ambiguity = true\n{switches()}"
    with serving(folder, config) as server:
        yield Served(server, authority.client())


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def switch(request: pytest.FixtureRequest, served: Served) -> Iterator[Switch]:
    with served.open(request.param) as opened:
        yield opened


@pytest.fixture(params=CONNECTED, ids=lambda wire: wire.name)
def connected(request: pytest.FixtureRequest, served: Served) -> Iterator[Switch]:
    with served.open(request.param) as opened:
        yield opened
