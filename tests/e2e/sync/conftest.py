"""A server of several switches, and one of the switches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.sync.calls import ACCOUNTS, SWITCHES, calls
from support.books import put_rows
from support.server import Server, serving
from support.switch import Switch

from identengine.model.records import Client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_rows(tmp_path / "store", ACCOUNTS, [Client(id=1, name="one")])
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, calls() + SWITCHES) as running:
        yield running


@pytest.fixture
def switch(server: Server) -> Iterator[Switch]:
    with server.switch() as opened:
        yield opened
