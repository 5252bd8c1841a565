"""A server with TLS, and the CA of the certificates of its switches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from adversity.tls.switches import LISTEN, SWITCHES, made
from support.server import Server, serving
from support.tls import CLIENT_CA, TLS_FILES, Authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    """Run a server that requests client certificates."""
    folder = made(tmp_path_factory.mktemp("tls"), authority)
    with serving(folder, LISTEN + TLS_FILES + CLIENT_CA + SWITCHES) as running:
        yield running
        assert "Traceback" not in running.log
