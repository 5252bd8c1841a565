"""Connections of RESP when the config changes while the server runs, and when the server ends."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from e2e.resp.conftest import CONFIG, FIELDS, TOKEN, prepared
from support import HOST
from support.server import Server, serving
from support.waiting import PATIENCE, wait_for

NEW = "another-token-of-shown"
IDENTIFY = f"IDENT.IDENTIFY {' '.join(FIELDS)}\r\n".encode()


def authenticated(server: Server, token: str) -> tuple[socket.socket, bytes]:
    """Return a new connection, and the reply to its token."""
    raw = socket.create_connection((HOST, server.ports["tcp"]), PATIENCE)
    raw.sendall(f"AUTH {token}\r\n".encode())
    return raw, raw.recv(1000)


def accepts(raw: socket.socket) -> bool:
    raw.sendall(IDENTIFY)
    return raw.recv(1000).startswith(b"*12\r\n:1\r\n")


def test_a_token_that_changes_closes_its_connections(tmp_path: Path) -> None:
    with serving(prepared(tmp_path), f'{CONFIG}token = "{TOKEN}"\n') as server:
        raw, reply = authenticated(server, TOKEN)
        assert reply == b"+OK\r\n"
        assert accepts(raw)
        server.write_config(f'{CONFIG}token = "{NEW}"\n')
        server.signal(signal.SIGHUP)
        with raw:
            assert raw.recv(1000) == b""

        def new_token_counts() -> bool:
            again, reply = authenticated(server, NEW)
            with again:
                return reply == b"+OK\r\n" and accepts(again)

        wait_for(new_token_counts)
        last, reply = authenticated(server, TOKEN)
        last.close()
        assert reply.startswith(b"-WRONGPASS ")


def test_options_of_the_switch_change_for_its_connections(tmp_path: Path) -> None:
    with (
        serving(prepared(tmp_path), CONFIG) as server,
        socket.create_connection((HOST, server.ports["tcp"]), PATIENCE) as raw,
    ):
        assert accepts(raw)
        server.write_config(f'{CONFIG}match_port = "never"\n')
        server.signal(signal.SIGHUP)
        server.logged("SIGHUP: changed: [[switch]]")
        assert accepts(raw)


def test_a_pipeline_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    server = Server(prepared(tmp_path), CONFIG)
    with socket.create_connection((HOST, server.ports["tcp"]), PATIENCE) as raw:
        raw.sendall(IDENTIFY * 200)
        server.signal(signal.SIGTERM)
        found = b""
        while data := raw.recv(1 << 16):
            found += data
    assert found.count(b"*12\r\n:1\r\n") == 200
    assert server.ended() == 0
