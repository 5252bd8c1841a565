"""A store with one account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.upgrade.servers import hold
from support.books import ip_account, put_rows
from support.server import Server, serving

from identengine.model.records import Client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    accounts = [ip_account(1, "10.0.0.1", orig_capacity=1), ip_account(3, "10.0.0.3")]
    put_rows(tmp_path / "store", accounts, [Client(id=1, name="one")])
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as running:
        hold(running)
        yield running
