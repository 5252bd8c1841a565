"""A real Sippy B2BUA with the unit, the RADIUS client and the config that docs/ ships.

Each program has its own loopback address, so that their ports cannot collide. Callers and vendors are SIPp.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from support import ROOT
from support.ports import free_port
from support.programs import missing, program
from support.waiting import PATIENCE, wait_for

RECIPE = ROOT / "docs" / "switches" / "sippy"
SWITCH = "127.0.0.7"
"""Address of the switch. Its RADIUS client sends from 127.0.0.1."""
SECRET = "of-sippy-and-the-engine"
_SCENARIOS = Path(__file__).parent / "sipp"
_LAUNCH = """\
from sippy import MyConfigParser, b2bua

# Sippy 2.5 reads this option and does not accept it. Without it the client must be /usr/local/sbin/radiusclient.
MyConfigParser.SUPPORTED_OPTIONS["radiusclient"] = ("S", "RADIUS client")
b2bua.main_func()
"""
_OPTIONS = """\
OPTIONS sip:{host}:{port} SIP/2.0
Via: SIP/2.0/UDP {own};branch=z9hG4bK-{own}
From: <sip:test@{own}>;tag=1
To: <sip:test@{host}>
Call-ID: {own}
CSeq: 1 OPTIONS
Max-Forwards: 70
Content-Length: 0

"""


def unit(key: str) -> list[str]:
    """Return the words of a command of the unit that the recipe ships."""
    text = (RECIPE / "sippy.service").read_text().replace("\\\n", " ")
    return shlex.split(re.search(rf"^{key}=-?(.*)$", text, re.MULTILINE)[1])  # type: ignore[index]


def client_config(folder: Path, servers: Iterable[str], routes: Iterable[str], **values: object) -> Path:
    """Write the config of the RADIUS client that the recipe ships, for these engines and routes."""
    (folder / "radius.secret").write_text(SECRET)
    known: dict[str, object] = {
        "servers": list(servers),
        "secret_file": str(folder / "radius.secret"),
        "dictionary": str(RECIPE),
        "default": list(routes),
    }
    text = (RECIPE / "radiusclient.toml").read_text()
    for key, value in (known | values).items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value!r}", text, flags=re.MULTILINE)
        assert count == 1, key
    written = folder / "radiusclient.toml"
    written.write_text(text)
    return written


class Sippy:
    """A running Sippy B2BUA."""

    def __init__(self, folder: Path, config: Path, *options: str, announce: bool = True) -> None:
        """Start the command of the unit with a config of its RADIUS client. Further options replace the unit's."""
        for each in ("radclient", "sipp"):
            program(each, "freeradius-utils sip-tester")
        if find_spec("sippy") is None:
            missing("Sippy's B2BUA (pip install sippy)", "python3-pip")
        self.port = free_port(SWITCH)
        self._log = folder / f"sippy-{self.port}.log"
        _, *words = unit("ExecStart")
        places = {"-l": SWITCH, "-p": str(self.port), "-R": str(config)}
        words = [places.get(before, word) for before, word in zip(["", *words], words, strict=False)]
        words += [f"--b2bua_socket={folder / 'b2bua.sock'}", f"--radiusclient={RECIPE / 'radiusclient.py'}"]
        words += options
        if announce:
            command = [RECIPE / "radiusclient.py", "-f", config, *unit("ExecStartPre")[3:]]
            subprocess.run(command, check=False, timeout=PATIENCE)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _LAUNCH, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._answers)
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
            asking.connect((SWITCH, self.port))
            asking.settimeout(0.2)
            own = "{}:{}".format(*asking.getsockname())
            asking.send(_OPTIONS.format(own=own, host=SWITCH, port=self.port).replace("\n", "\r\n").encode())
            return asking.recv(4096).startswith(b"SIP/2.0 ")
        return False

    @property
    def log(self) -> str:
        """Text of its log so far."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Stop it. It hangs up all calls and reports them first."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise


def _scenario(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Write a scenario for a B2BUA.

    It sends no P-Asserted-Identity. It counts requests from a number of its own. SIPp cannot read the name in its
    Contact.
    """
    text = (_SCENARIOS / f"{name}.xml").read_text()
    known = [('check_it="true" assign_to="_,asserted"', 'assign_to="_,asserted"')]
    known += [("[next_url]", "sip:peer@[remote_ip]:[remote_port]")]
    if name == "callee":
        cseq = '<ereg regexp="[0-9]+" search_in="hdr" header="CSeq:" check_it="true" assign_to="cseq"/>'
        known += [("CSeq: 1 INVITE", "CSeq: [$cseq] INVITE"), ("<log ", f"{cseq}<log ")]
    for before, after in (*known, *changes):
        text = text.replace(before, after)
    written = folder / f"{name}-{len(list(folder.iterdir()))}.xml"
    written.write_text(text)
    return written


def _sipp(scenario: Path, address: str, port: int, *words: object, errors: Path) -> subprocess.Popen[bytes]:
    own = ("-sf", scenario, "-i", address, "-p", port, "-nostdin", "-trace_err", "-error_file", errors)
    calm = ("-watchdog_interval", 3_600_000)  # a busy machine must not make SIPp give up
    return subprocess.Popen(
        [program("sipp", "sip-tester"), *map(str, (*own, *calm, *words))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Vendor:
    """A vendor: SIPp with tests/support/sipp/callee.xml."""

    def __init__(self, folder: Path, address: str, *, answers_503: bool = False) -> None:
        """Start the vendor. With ``answers_503`` it answers numbers 503… and does not reject them."""
        self.port = free_port(address)
        self.address = address
        self._log = folder / f"vendor-{address}.log"
        self._errors = folder / f"vendor-{address}.err"
        more = [('regexp="^503"', 'regexp="^ "'), ('regexp="^1"', 'regexp="^[15]"')] if answers_503 else []
        scenario = _scenario(folder, "callee", *more)
        self.process = _sipp(
            scenario, address, self.port, "-trace_logs", "-log_file", self._log, errors=self._errors
        )

    def seen(self) -> list[tuple[str, str]]:
        """Return the dialled number and the caller's number of all calls that arrived."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(dialled, shown) for dialled, shown, *_ in (line.split(" ") for line in lines)]

    def stop(self) -> None:
        """Stop the vendor. Fail if an unexpected message arrived."""
        self.process.kill()
        self.process.wait(PATIENCE)
        errors = self._errors.read_text() if self._errors.exists() else ""
        assert "Aborting" not in errors, errors


class Callers:
    """Calls of one kind from one address, made by one SIPp process."""

    def __init__(
        self,
        folder: Path,
        to: Sippy,
        kind: str,
        source: str,
        numbers: Iterable[tuple[str, str]],
        *,
        seconds: float = 0.1,
        length: float = 0.3,
        login: str = "",
    ) -> None:
        """Place a call for each pair of (shown, dialled), all within about ``seconds``.

        ``kind`` is the name of a scenario, or the code with which the calls must be rejected. ``login`` is a user
        and a password for SIPp's digest.
        """
        rows = list(numbers)
        port = free_port(source)
        self._name = f"{kind} from {source}"
        self._errors = folder / f"{kind}-{source}-{port}.err"
        given = self._errors.with_suffix(".csv")
        given.write_text("\n".join(["SEQUENTIAL", *map(";".join, rows), ""]))
        scenario = _scenario(folder, "rejected" if kind.isdigit() else kind, ("CODE", kind), ("LOGIN", login))
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
        errors = self._errors.read_text()[:4000] if self._errors.exists() else ""
        assert status == 0, f"{self._name}: {status}: {errors}"

    def kill(self) -> int:
        """End SIPp if it still runs. Return its exit status."""
        self.process.kill()
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def running(thing: Sippy | Vendor) -> Iterator[None]:
    """Stop a program after the block."""
    try:
        yield
    finally:
        thing.stop()
