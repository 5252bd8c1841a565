"""A real Kamailio with the config that docs/ ships, and callers and a vendor (SIPp), all on loopback.

Each program has its own loopback address, so that their ports cannot collide.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from support import ROOT
from support.ports import free_port
from support.programs import missing, program
from support.waiting import PATIENCE, wait_for

CONFIG = ROOT / "docs" / "switches" / "kamailio" / "janssonrpcc.cfg"
ENGINE, SWITCH, VENDOR = "127.0.0.4", "127.0.0.5", "127.0.0.6"
"""Addresses of the engine, the switch and the vendor."""
_SCENARIOS = Path(__file__).parent / "sipp"
_PACKAGES = "kamailio kamailio-extra-modules sip-tester"
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


def _program(name: str) -> str:
    """Return the path of a program of the packages that these tests need."""
    if name == "kamailio" and not list(Path("/usr/lib").glob("*/kamailio/modules/janssonrpcc.so")):
        missing("kamailio's module janssonrpcc", _PACKAGES)
    return program(name, _PACKAGES)


class Kamailio:
    """A running Kamailio."""

    def __init__(self, folder: Path, engine: int, vendor: int, **defines: object) -> None:
        """Start a Kamailio that asks the TCP port ``engine`` and sends calls to the account ``vendor``.

        ``defines`` set lines of its config.
        """
        program = _program("kamailio")
        self.port = free_port(SWITCH)
        self._log = folder / "kamailio.log"
        run = folder / "kamailio"
        run.mkdir(exist_ok=True)
        known: dict[str, object] = {
            "LISTEN": f"udp:{SWITCH}:{self.port}",
            "ENGINE": f'"conn=engine;addr={ENGINE};port={engine}"',
            "VENDORS": f'"{vendor}"',
            "WORKERS": 2,
        }
        words = [word for name, value in (known | defines).items() for word in ("-A", f"{name}={value}")]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-f", CONFIG, "-DD", "-E", "-m", "64", "-w", run, "-Y", run, *words],
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


@contextlib.contextmanager
def switching(folder: Path, engine: int, vendor: int, **defines: object) -> Iterator[Kamailio]:
    """Run a Kamailio during the block."""
    running = Kamailio(folder, engine, vendor, **defines)
    try:
        yield running
    finally:
        running.stop()


class Seen(NamedTuple):
    """A call as the vendor received it: the numbers in the request URI, From and P-Asserted-Identity."""

    dialled: str
    shown: str
    asserted: str


class Callee:
    """The vendor: SIPp with tests/sipp/callee.xml."""

    def __init__(self, folder: Path) -> None:
        """Start the vendor."""
        self.port = free_port(VENDOR)
        self._log = folder / "callee.log"
        self._errors = folder / "callee.err"
        self.process = _sipp(
            "callee.xml", VENDOR, self.port, "-trace_logs", "-log_file", self._log, errors=self._errors
        )

    def seen(self) -> list[Seen]:
        """All calls that arrived so far."""
        return [Seen(*line.split(" ")) for line in self._log.read_text().splitlines()]

    def stop(self) -> None:
        """Stop the vendor. Fail if an unexpected message arrived."""
        self.process.kill()
        self.process.wait(PATIENCE)
        told = self._errors.read_text() if self._errors.exists() else ""
        assert "Aborting" not in told, told


@contextlib.contextmanager
def callee(folder: Path) -> Iterator[Callee]:
    """Run a vendor that answers calls during the block."""
    running = Callee(folder)
    try:
        yield running
    finally:
        running.stop()


class Callers:
    """Calls of one kind from one address, made by one SIPp process."""

    def __init__(
        self,
        folder: Path,
        to: Kamailio,
        kind: str,
        source: str,
        numbers: Iterable[tuple[str, str]],
        *,
        seconds: float = 0.1,
        length: float = 0.3,
    ) -> None:
        """Place a call for each pair of (shown, dialled), all within about ``seconds``.

        ``kind`` is the name of a scenario, or the code with which the calls must be rejected.
        """
        rows = list(numbers)
        port = free_port(source)
        name = f"{kind}-{source}-{port}"
        scenario = _SCENARIOS / f"{kind}.xml"
        if kind.isdigit():
            scenario = folder / f"{name}.xml"
            scenario.write_text((_SCENARIOS / "rejected.xml").read_text().replace("CODE", kind))
        given = folder / f"{name}.csv"
        given.write_text("\n".join(["SEQUENTIAL", *map(";".join, rows), ""]))
        self._errors = folder / f"{name}.err"
        self._name = f"{kind} from {source}"
        self.process = _sipp(
            *(scenario, source, port, f"{SWITCH}:{to.port}", "-inf", given, "-m", len(rows), "-l", len(rows) + 1),
            *("-r", max(1, round(len(rows) / seconds)), "-d", round(length * 1000)),
            errors=self._errors,
        )

    def ended(self, seconds: float = 50) -> None:
        """Wait until SIPp ends. Fail if a call did not follow its scenario."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = self.kill()
        told = self._errors.read_text()[:4000] if self._errors.exists() else ""
        assert status == 0, f"{self._name}: {status}: {told}"

    def kill(self) -> int:
        """End SIPp if it still runs. Return its exit status."""
        self.process.kill()
        return self.process.wait(PATIENCE)


def _sipp(scenario: str | Path, address: str, port: int, *words: object, errors: Path) -> subprocess.Popen[bytes]:
    own = ("-sf", _SCENARIOS / scenario, "-i", address, "-p", port, "-nostdin", "-trace_err")
    calm = ("-watchdog_interval", 3_600_000)  # a busy machine must not make SIPp give up
    return subprocess.Popen(
        [_program("sipp"), *map(str, (*own, *calm, "-error_file", errors, *words))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
