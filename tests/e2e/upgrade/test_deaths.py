"""After the death of either server during an upgrade, one server serves. SIGUSR2 starts the next program."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from e2e.upgrade.servers import TAKE_OVER, answering, hold, still_held
from support import HOST
from support.ports import free_port
from support.processes import runs
from support.server import Server
from support.switch import request
from support.waiting import PATIENCE, wait_for


@pytest.mark.parametrize("moment", ["is about to take over", "handing over to process"])
@pytest.mark.parametrize("side", ["old", "new"])
def test_one_server_serves_after_the_death_of_the_other(folder: Path, side: str, moment: str) -> None:
    # Fixed addresses, since a new server that has no sockets yet binds those of the config.
    address = f'["{HOST}:{free_port()}"]'
    config = f"[listen]\nudp = {address}\ntcp = {address}\n"
    old = Server(folder, config)
    hold(old)
    new = Server(folder, config, ready=False, options=TAKE_OVER)
    victim, other = (old, new) if side == "old" else (new, old)
    while moment not in old.log:
        assert new.process.poll() is None, old.log
    victim.process.kill()
    assert victim.ended() == -signal.SIGKILL
    new.ports = old.ports

    def serves() -> Any:
        with contextlib.suppress(OSError, KeyError), old.udp() as udp:
            udp.socket.settimeout(1)
            udp.send(request("authorize", call_id="another", src_ip="10.0.0.1", dst_number="44"))
            return udp.receive()["result"].get("reason") == "account_capacity"

    wait_for(serves)
    # If the new server had everything already, it died as the only server. The next one restores the calls.
    if other.process.poll() is None:
        other.signal(signal.SIGTERM)
        assert other.ended() == 0, old.log


def successor(server: Server) -> int:
    """Make a server start the next program, and return its pid."""
    before = len(server.log)
    server.signal(signal.SIGUSR2)
    found = wait_for(lambda: re.search(r"SIGUSR2: process (\d+) was started to take over", server.log[before:]))
    return int(found[1])


def test_sigusr2_starts_the_next_program(server: Server) -> None:
    pid = successor(server)
    try:
        assert server.process.wait(PATIENCE) == 0
        assert f"process {pid} has taken over; this server stops" in server.log
        assert still_held(server)
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert command[1:-1] == [
            b"-m", b"identengine", b"serve", b"--config", str(server.config).encode(), b"--take-over"
        ]  # fmt: skip
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not runs(pid))
    assert "ALARM" not in server.log


def test_sigusr2_with_a_wrong_config_leaves_it_as_it_was(server: Server) -> None:
    before = answering(server)
    server.write_config("[identify]\nrank = 'x'\n")
    pid = successor(server)
    server.logged(f"keeps serving: the new program, process {pid}, exited before it asked to take over")
    assert not runs(pid)
    assert answering(server) == before
    assert still_held(server)
    server.write_config("")
    successor_again = successor(server)
    assert server.process.wait(PATIENCE) == 0
    os.kill(successor_again, signal.SIGTERM)
    wait_for(lambda: not runs(successor_again))
