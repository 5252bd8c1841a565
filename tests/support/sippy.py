"""A real Sippy B2BUA with the unit, the RADIUS client and the config that docs/ ships.

The switch has its own loopback address. Callers and vendors (tests/support/phones.py) have others.
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
from support.phones import Callee, Callers
from support.ports import free_port
from support.programs import missing, program
from support.waiting import PATIENCE, wait_for

RECIPE = ROOT / "docs" / "switches" / "sippy"
SWITCH = "127.0.0.7"
"""Address of the switch. Its RADIUS client sends from 127.0.0.1."""
SECRET = "of-sippy-and-the-engine"
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


_CONTACT = ("[next_url]", "sip:peer@[remote_ip]:[remote_port]")
"""SIPp cannot read the name in its Contact."""
_SDP = """\
Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=test 1 1 IN IP4 [local_ip]
      s=-
      c=IN IP4 [local_ip]
      t=0 0
      m=audio 6000 RTP/AVP 0
"""
_MEDIA = [
    (f"{before}      Content-Length: 0\n", f"{before}      {_SDP}")
    for before in ("Contact: <sip:callee@[local_ip]:[local_port]>\n", "[local_port]>\n      Max-Forwards: 70\n")
]
"""It fails at a re-INVITE of a call without SDP."""
_CSEQ = (
    # It counts requests from a number of its own.
    ("<log ", '<ereg regexp="[0-9]+" search_in="hdr" header="CSeq:" check_it="true" assign_to="cseq"/><log '),
    ("CSeq: 1 INVITE", "CSeq: [$cseq] INVITE"),
)
"""Changes of scenarios that were written for a proxy."""


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
            command = [str(RECIPE / "radiusclient.py"), "-f", str(config), *unit("ExecStartPre")[3:]]
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


def vendor(folder: Path, address: str, *, answers_503: bool = False) -> Callee:
    """Start a vendor. With ``answers_503`` it answers numbers 503… and does not reject them."""
    more = [('regexp="^503"', 'regexp="^ "'), ('regexp="^1"', 'regexp="^[15]"')] if answers_503 else []
    return Callee(folder, f"vendor-{address}", _CONTACT, _MEDIA[0], *_CSEQ, *more, address=address, remembers=True)


def callers(
    folder: Path, to: Sippy, kind: str, source: str, rows: Iterable[tuple[str, str]], login: str = "", **how: float
) -> Callers:
    """Place calls through the switch. ``login`` is a user and a password for SIPp's digest."""
    return Callers(folder, (SWITCH, to.port), kind, source, rows, _CONTACT, _MEDIA[1], ("LOGIN", login), **how)


@contextlib.contextmanager
def running(thing: Sippy | Callee) -> Iterator[None]:
    """Stop a program after the block."""
    try:
        yield
    finally:
        thing.stop()
