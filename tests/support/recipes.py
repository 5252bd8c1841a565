"""A book with a customer for each reason, and an engine with TCP and HTTP, for the tests of recipes."""

from __future__ import annotations

import contextlib
import http.server
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from identengine.model.records import Client, ClientStatus, Did, DidStatus, SrcPolicy
from identengine.store.vault import Vault
from support import HOST
from support.books import ip_account, put_rows
from support.http import wait_for_http
from support.operator import held
from support.server import Server, serving
from support.switch import request
from support.waiting import wait_for

TOKEN = "change-this-token"
"""The token of the switch, as the recipes show it."""
CUSTOMER, PREFIXED = "192.0.2.10", "192.0.2.11"
"""Customers whose calls pass. The second one dials ``77#``, gets another calling number, and has a tag."""
CONFIG = f"""
[calls]
path = "calls"
max_legs = 3000
grace = 1
[listen]
udp = ["{HOST}:0"]
tcp = ["{HOST}:0"]
http = "{HOST}:0"
[identify]
strict_ambiguity = true
require_password = true
[[switch]]
name = "switch1"
addresses = ["127.0.0.1"]
token = "{TOKEN}"
"""


class Reject(NamedTuple):
    """A call that the engine rejects."""

    reason: str
    source: str
    dialled: str
    code: str


REJECTS = [
    Reject("invalid_request", "192.0.2.300", "4420", "400"),
    Reject("unknown_source", "192.0.2.99", "4420", "403"),
    Reject("gateway_mismatch", "192.0.2.21", "4420", "403"),
    Reject("protocol_mismatch", "192.0.2.22", "4420", "403"),
    Reject("port_mismatch", "192.0.2.23", "4420", "403"),
    Reject("tech_prefix_mismatch", "192.0.2.24", "4420", "403"),
    Reject("ambiguous", "192.0.2.25", "4420", "403"),
    Reject("auth_required", "192.0.2.26", "4420", "403"),
    Reject("account_disabled", "192.0.2.27", "4420", "403"),
    Reject("client_blocked", "192.0.2.28", "4420", "403"),
    Reject("src_not_allowed", "192.0.2.29", "4420", "403"),
    Reject("no_did", "192.0.2.30", "4420", "403"),
    Reject("invalid_destination", "192.0.2.24", "88#", "484"),
    Reject("account_capacity", "192.0.2.31", "4420", "480"),
    Reject("client_capacity", "192.0.2.32", "4420", "480"),
    Reject("reseller_capacity", "192.0.2.33", "4420", "480"),
    Reject("cps_exceeded", "192.0.2.34", "4420", "480"),
]
"""A call for each reason that a book causes, with the SIP code that a recipe sends: 403 instead of 401."""


class Mixed(NamedTuple):
    """A call of a mix: what its vendors do one after another, or the reject that it gets."""

    source: str
    dialled: str
    vendors: tuple[str, ...]
    """``answer``, ``cancel`` (the caller cancels), or the SIP code of a failure."""
    reject: Reject | None


ENDS = [("answer",), ("cancel",), ("486", "answer"), ("503", "cancel"), ("486", "503")]
"""Ends of accepted calls, for three vendors of which the second one has no free slot."""
VENDORS = ("900", "902", "901")


def mix(count: int) -> list[Mixed]:
    """Return calls of all kinds, in an order that is the same each time."""
    kinds = [Mixed(case.source, case.dialled, (), case) for case in REJECTS]
    for source, dialled in ((CUSTOMER, "442079460123"), (PREFIXED, "77#442079460123")):
        kinds += [Mixed(source, dialled, end, None) for end in ENDS * 2]
    calls = [kinds[number % len(kinds)] for number in range(count)]
    random.Random(15).shuffle(calls)
    return calls


def place(server: Server, calls: list[Mixed], call: Callable[[int, Mixed], None], *, kill: bool) -> None:
    """Place calls, at most four at the same time. Halfway kill the decider, if ``kill``."""
    with ThreadPoolExecutor(4) as lines:
        placed: list[Future[None]] = []
        for number, one in enumerate(calls):
            if kill and number == len(calls) // 2:
                for each in placed[: number - 2]:
                    each.result()
                os.kill(server.decider, signal.SIGKILL)
            placed.append(lines.submit(call, number, one))
        for each in placed:
            each.result()


def make_book(folder: Path, *, vendor: str = "198.51.100.7", port: int = 5060) -> None:
    """Make a store with a customer for each reason, and the vendors 900 and 901. Vendor 902 has no free slot."""
    vault = Vault.from_text("A" * 43 + "=")
    clients = [
        Client(id=1, name="customer"),
        Client(id=2, name="vendor"),
        Client(id=3, name="blocked", status=ClientStatus.BLOCKED),
        Client(id=4, name="full", capacity=0),
        Client(id=5, name="reseller", orig_capacity=0),
        Client(id=6, name="below", parent_id=5),
        Client(id=7, name="other"),
    ]
    out = {"orig_enabled": False, "term_enabled": True, "term_port": port, "client_id": 2}
    accounts = [
        ip_account(10, CUSTOMER, orig_capacity=5),
        ip_account(11, PREFIXED, tech_prefix="77#", src_policy=SrcPolicy.OVERWRITE, orig_tag="gold"),
        ip_account(21, "192.0.2.21", gateways=("gw1",)),
        ip_account(22, "192.0.2.22", term_protocol="h323"),
        ip_account(23, "192.0.2.23", term_port=5999),
        ip_account(24, "192.0.2.24", tech_prefix="88#"),
        ip_account(25, "192.0.2.25"),
        ip_account(125, "192.0.2.25", client_id=7),
        ip_account(26, "192.0.2.26", password=vault.encrypt("never sent")),
        ip_account(27, "192.0.2.27", orig_enabled=False),
        ip_account(28, "192.0.2.28", client_id=3),
        ip_account(29, "192.0.2.29", src_policy=SrcPolicy.REJECT),
        ip_account(30, "192.0.2.30", src_policy=SrcPolicy.OVERWRITE),
        ip_account(31, "192.0.2.31", orig_capacity=0),
        ip_account(32, "192.0.2.32", client_id=4),
        ip_account(33, "192.0.2.33", client_id=6),
        ip_account(34, "192.0.2.34", orig_cps=0),
        ip_account(900, vendor, **out),
        ip_account(901, vendor, **out),
        ip_account(902, vendor, term_capacity=0, **out),
    ]
    dids = [
        Did(number="442079460201", account_id=11),
        Did(number="442079460202", account_id=30, status=DidStatus.ON_HOLD),
    ]
    put_rows(folder / "store", accounts, clients, dids)


@contextlib.contextmanager
def engine(folder: Path, config: str = "") -> Iterator[Server]:
    """Serve the book of this module over TCP and HTTP during the block. The switch has a token."""
    make_book(folder)
    with serving(folder, CONFIG + config) as server:
        wait_for_http(server)
        yield server


def holds(server: Server, legs: int) -> None:
    """Wait until the engine holds ``legs`` legs."""
    wait_for(lambda: held(server) == legs)


def ask(server: Server, method: str, **params: object) -> Any:
    """Ask the engine as the switch, over TCP. Return the result."""
    return server.ask_tcp(request(method, token=TOKEN, **params))["result"]


@contextlib.contextmanager
def dying(port: int, exchanges: int) -> Iterator[int]:
    """Yield a port that forwards ``exchanges`` connections to ``port``, one by one, and refuses all others."""
    with socket.create_server((HOST, 0)) as front:

        def forward() -> None:
            for left in reversed(range(exchanges)):
                client, _ = front.accept()
                if not left:
                    front.close()
                with client, socket.create_connection((HOST, port)) as back:
                    answers = threading.Thread(target=_pump, args=(back, client))
                    answers.start()
                    _pump(client, back)
                    answers.join()

        thread = threading.Thread(target=forward, daemon=True)
        thread.start()
        yield front.getsockname()[1]
        thread.join()


AWAY = [(503, b'{"status":503,"message":"the decider is not available"}'),
        (200, b'{"accepted":false,"reason":"not_ready","sip_code":503,"q850":42}')]  # fmt: skip
"""Answers by HTTP of an engine that decides nothing: without a decider, and without a book."""


@contextlib.contextmanager
def unavailable(status: int, body: bytes) -> Iterator[int]:
    """Yield the port of an HTTP process that answers everything so."""
    answers = type("Answers", (_Unavailable,), {"status": status, "body": body})
    with http.server.ThreadingHTTPServer((HOST, 0), answers) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1]
        server.shutdown()


class _Unavailable(http.server.BaseHTTPRequestHandler):
    status: int
    body: bytes

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Forward the bytes of a connection until its sender has closed it."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
