"""Servers that Redis' own programs ask: one whose switch needs no token, and one whose switch has a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.tls import TLS_FILES, Authority

from identengine.model.records import Client

TOKEN = "a-token-of-shown"
CONFIG = f"""
[listen]
udp = ["{HOST}:0"]
tcp = ["{HOST}:0"]
tls = ["{HOST}:0"]
{TLS_FILES}
[calls]
path = "calls"
max_legs = 50000
[[switch]]
name = "sbc1"
addresses = ["{HOST}"]
"""
FIELDS = ("src_ip=10.0.0.1", "dst_number=9944", "src_number=33")
REPLY = [1, None, 1, 1, b"33", b"44", b"gold", b"plan", b"a tag", None, b"99", 1]


AUTHORITY = Authority()


def prepared(folder: Path) -> Path:
    """Return a folder with a store and certificates."""
    account = ip_account(1, "10.0.0.1", tech_prefix="99", orig_tag="a tag")
    limited = ip_account(2, "10.0.0.2", orig_capacity=0)
    clients = [Client(id=1, name="one", rate_table="gold", routing_plan="plan")]
    put_rows(folder / "store", [account, limited], clients)
    AUTHORITY.certify(folder)
    return folder


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server that asks its switch for no token."""
    with serving(prepared(tmp_path_factory.mktemp("resp")), CONFIG) as running:
        yield running
        assert "ALARM" not in running.log
        assert "Traceback" not in running.log


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server that asks its switch for a token."""
    with serving(prepared(tmp_path_factory.mktemp("guarded")), f'{CONFIG}token = "{TOKEN}"\n') as running:
        yield running
        assert TOKEN not in running.log
