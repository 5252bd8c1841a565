"""A server with HTTP for tests, and its clients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from identengine.model.records import Client
from support import HOST
from support.books import ip_account, put_rows
from support.server import Server, serving
from support.waiting import wait_for

SWITCH, NOC, BOSS = "token-of-sbc1", "token-of-noc", "token-of-boss"
LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\nhttp = "{HOST}:0"\n'
SWITCHES = f"""
[[switch]]
name = "plain"
addresses = ["127.0.0.1"]
[[switch]]
name = "sbc1"
addresses = ["127.0.0.1"]
token = "{SWITCH}"
[[switch]]
name = "far"
addresses = ["192.0.2.0/24"]
token = "token-of-far"
[[switch]]
name = "wide"
addresses = ["127.0.0.0/8"]
token = "token-of-wide"
"""
TOKENS = f"""
[[token]]
name = "noc"
role = "read"
token = "{NOC}"
[[token]]
name = "boss"
role = "operator"
token = "{BOSS}"
"""
PROXIES = """
[http]
trusted_proxies = ["127.0.0.9"]
"""
LIMITS = "[limits]\ndatagram_age_ms = 60000\n"
"""A limit so high that a slow machine sheds no request."""
CONFIG = LISTEN + PROXIES + SWITCHES + TOKENS + LIMITS
GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


def make_book(folder: Path) -> None:
    """Make a store with three accounts."""
    accounts = [
        ip_account(1, "10.0.0.1"),
        ip_account(2, "10.0.0.2", orig_capacity=1),
        ip_account(3, "10.0.0.3", term_enabled=True, term_routing_ip="10.9.9.9", term_port=5060),
    ]
    put_rows(folder / "store", accounts, [Client(id=1, name="one")])


def url(server: Server, path: str = "") -> str:
    """Return the URL of a path of the server."""
    return f"http://{HOST}:{server.ports['http']}{path}"


@contextlib.contextmanager
def asking(server: Server, token: str | None = SWITCH, **more: Any) -> Iterator[httpx.Client]:
    """Yield a client of the server that sends a bearer token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url(server), headers=headers, timeout=20, trust_env=False, **more) as client:
        yield client


@contextlib.contextmanager
def web_serving(folder: Path, config: str = CONFIG) -> Iterator[Server]:
    """Serve ``folder/store`` with HTTP, and yield the server."""
    with serving(folder, config) as server:
        wait_for_http(server)
        yield server


def wait_for_http(server: Server) -> None:
    """Wait until the HTTP process answers."""

    def alive() -> bool:
        try:
            return httpx.get(url(server, "/healthz"), timeout=20, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(alive)
