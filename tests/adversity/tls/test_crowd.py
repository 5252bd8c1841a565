"""A thousand TLS clients that connect at once, while other peers ask."""

from __future__ import annotations

import os
import resource
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from adversity.tls.switches import GOOD, LISTEN, made
from support import ROOT
from support.server import Server, serving
from support.switch import request
from support.tls import CLIENT_CA, TLS_FILES, Authority


def test_a_thousand_clients_that_come_at_once(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    """Handshakes may delay each other, but not the decisions."""
    clients = int(os.environ.get("IDENTENGINE_TLS_CLIENTS", "300"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    config = LISTEN + TLS_FILES + CLIENT_CA + "[limits]\nconnections = 3000\nconnections_per_switch = 3000\n"
    made(tmp_path, authority)
    authority.write_client("sbc1.example", tmp_path / "client.pem")
    with serving(tmp_path, config) as server:
        arguments = [str(server.ports["tls"]), str(clients), "ca.pem", "client.pem"]
        swarm = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "support" / "tlsclients.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        assert swarm.stdin is not None
        assert swarm.stdout is not None
        try:
            before = _waits(server, 1.0)
            swarm.stdin.write("come\n")
            swarm.stdin.flush()
            during = _waits(server, 40.0, swarm.stdout.fileno())
            assert int(swarm.stdout.readline()) == clients
        finally:
            swarm.stdin.close()
            assert swarm.wait(20) == 0
            swarm.stdout.close()
    with capsys.disabled():
        for name, waits in (("before", before), ("during", during)):
            p99 = waits[len(waits) * 99 // 100]
            sys.stdout.write(
                f"\n{clients} TLS clients, {len(waits)} decisions {name}: median {statistics.median(waits):.2f}, "
                f"p99 {p99:.2f}, max {waits[-1]:.2f} ms"
            )
    assert statistics.median(during) < 50


def _waits(server: Server, seconds: float, until: int | None = None) -> list[float]:
    """Ask 500 times a second, until the time is over or input is readable. Return the durations in ms."""
    waits = []
    message = request("authorize", **GOOD)
    with server.udp() as udp:
        begin = time.perf_counter()
        count = 0
        while time.perf_counter() - begin < seconds:
            if until is not None and select.select([until], [], [], 0)[0]:
                break
            asked = time.perf_counter()
            udp.send(message)
            assert b"account_id" in udp.receive_raw()
            waits.append((time.perf_counter() - asked) * 1000)
            count += 1
            time.sleep(max(0.0, begin + count / 500 - time.perf_counter()))
    return sorted(waits)
