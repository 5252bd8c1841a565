"""A real Kamailio with the configs that docs/ ships, on loopback.

Each program has its own loopback address, so that their ports cannot collide.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from support import ROOT
from support.phones import VENDOR
from support.ports import free_port
from support.programs import missing, program
from support.waiting import PATIENCE, wait_for

CONFIGS = ROOT / "docs" / "switches" / "kamailio"
SWITCH = "127.0.0.5"
"""Address of all switches."""
LIBRARIES = {"janssonrpcc": "janssonrpcc.so", "redis": "ndb_redis.so", "radius": "misc_radius.so"}
"""The ways in which Kamailio asks, each with its module."""
_PACKAGES = "kamailio kamailio-extra-modules kamailio-redis-modules kamailio-radius-modules sip-tester"
_MESSAGE = """\
{method} sip:{user}@{host} SIP/2.0
Via: SIP/2.0/UDP {own};branch=z9hG4bK-{name}
From: <sip:4420@{own}>;tag=1
To: <sip:{user}@{host}>{tag}
Call-ID: {name}{mark}
CSeq: 1 {method}
Contact: <sip:4420@{own}>
Max-Forwards: 70
Content-Length: 0

"""


class Kamailio:
    """A running Kamailio."""

    def __init__(self, folder: Path, way: str, defines: Mapping[str, object]) -> None:
        """Start a Kamailio that asks in one of the ways of ``LIBRARIES``. ``defines`` set lines of its config."""
        command = program("kamailio", _PACKAGES)
        if not list(Path("/usr/lib").glob(f"*/kamailio/modules/{LIBRARIES[way]}")):
            missing(f"kamailio's module {LIBRARIES[way]}", _PACKAGES)
        self.port = free_port(SWITCH)
        self.address = (SWITCH, self.port)
        run = folder / f"kamailio-{self.port}"
        run.mkdir()
        self._log = run / "log"
        known: dict[str, object] = {"LISTEN": f"udp:{SWITCH}:{self.port}", "WORKERS": 2}
        words = [word for name, value in (known | dict(defines)).items() for word in ("-A", f"{name}={value}")]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [command, "-f", CONFIGS / f"{way}.cfg", "-DD", "-E", "-m", "64", "-w", run, "-Y", run, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for(self._answers)
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        with self._talking(VENDOR) as talking, contextlib.suppress(OSError):
            talking.settimeout(0.2)
            talking.send(self._message(talking, "OPTIONS", "ping"))
            return talking.recv(4096).startswith(b"SIP/2.0 200")
        return False

    def insist(self, source: str, dialled: str, code: int, mark: str = "") -> None:
        """Send an INVITE that is retransmitted as if the network lost the answers. Expect the reject ``code``.

        ``mark`` is appended to its Call-ID.
        """
        with self._talking(source) as talking:
            talking.settimeout(0.05)
            invite = self._message(talking, "INVITE", dialled, mark=mark)

            def refusal() -> str | None:
                talking.send(invite)
                with contextlib.suppress(TimeoutError):
                    while not (answer := talking.recv(4096)).startswith(f"SIP/2.0 {code}".encode()):
                        pass
                    return answer.decode("latin-1")
                return None

            talking.send(invite)
            answer = wait_for(refusal)
            tag = answer.partition("To: ")[2].partition(">")[2].partition("\r\n")[0]
            talking.send(self._message(talking, "ACK", dialled, tag, mark))

    @contextlib.contextmanager
    def _talking(self, source: str) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.bind((source, 0))
            opened.connect((SWITCH, self.port))
            yield opened

    def _message(self, talking: socket.socket, method: str, user: str, tag: str = "", mark: str = "") -> bytes:
        host, port = talking.getsockname()
        text = _MESSAGE.format(
            method=method,
            user=user,
            tag=tag,
            mark=mark,
            own=f"{host}:{port}",
            host=f"{SWITCH}:{self.port}",
            name=f"{port}-{self.process.pid}",
        )
        return text.replace("\n", "\r\n").encode("latin-1")

    @property
    def log(self) -> str:
        """Text of its log so far."""
        return self._log.read_text()

    def kill(self) -> None:
        """Kill all its processes with SIGKILL."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Stop it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
