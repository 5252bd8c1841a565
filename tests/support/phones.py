"""Callers and vendors on loopback: SIPp with the scenarios of tests/support/sipp."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from support.ports import free_port
from support.programs import program
from support.waiting import PATIENCE

VENDOR = "127.0.0.6"
"""Address of vendors that need no address of their own."""
_SCENARIOS = Path(__file__).parent / "sipp"


class Seen(NamedTuple):
    """A call as the vendor received it: numbers in the request URI, From and P-Asserted-Identity, and X-Tag."""

    dialled: str
    shown: str
    asserted: str
    tag: str = ""


class Callee:
    """A vendor: SIPp with callee.xml."""

    def __init__(
        self, folder: Path, name: str, *changes: tuple[str, str], address: str = VENDOR, remembers: bool = False
    ) -> None:
        """Start the vendor. ``changes`` replace texts of the scenario.

        A vendor that ``remembers`` ignores late packets of a call. Then no Call-ID may return.
        """
        self.address = address
        self.port = free_port(address)
        self._log = folder / f"{name}.log"
        self._errors = folder / f"{name}.err"
        scenario = folder / f"{name}.xml"
        text = (_SCENARIOS / "callee.xml").read_text()
        for before, after in changes:
            assert before in text, before
            text = text.replace(before, after)
        scenario.write_text(text)
        again = ("-deadcall_wait", 60_000 if remembers else 0)
        self.process = _sipp(
            scenario, address, self.port, "-trace_logs", "-log_file", self._log, *again, errors=self._errors
        )

    def seen(self) -> list[Seen]:
        """All calls that arrived so far."""
        return (
            [Seen(*line.split(" ")) for line in self._log.read_text().splitlines()] if self._log.exists() else []
        )

    def stop(self) -> None:
        """Stop the vendor. Fail if an unexpected message arrived in a call."""
        self.process.kill()
        self.process.wait(PATIENCE)
        errors = self._errors.read_text() if self._errors.exists() else ""
        # A busy machine repeats messages of finished calls. For SIPp they are new calls without an INVITE.
        repeats = r"Aborting call on (an unexpected (BYE|CANCEL)|[^\n]*while expecting 'INVITE' \(index 0\))"
        assert "Aborting" not in re.sub(repeats, "", errors), errors


class Callers:
    """Calls of one kind from one address, made by one SIPp process."""

    def __init__(
        self,
        folder: Path,
        to: tuple[str, int],
        kind: str,
        source: str,
        calls: Iterable[tuple[str, ...]],
        *changes: tuple[str, str],
        seconds: float = 0.1,
        length: float = 0.3,
    ) -> None:
        """Place a call for each tuple of shown and dialled numbers, all within about ``seconds``.

        ``kind`` is the name of a scenario. A code in its place is the reject that the calls must get. The
        reason may follow the code. ``changes`` replace texts of the scenario.
        """
        rows = list(calls)
        port = free_port(source)
        name = f"{kind.replace(' ', '-')}-{source}-{port}"
        text = _rejected(*kind.split()) if kind[0].isdigit() else (_SCENARIOS / f"{kind}.xml").read_text()
        for before, after in changes:
            text = text.replace(before, after)
        scenario = folder / f"{name}.xml"
        scenario.write_text(text)
        numbers = folder / f"{name}.csv"
        numbers.write_text("\n".join(["SEQUENTIAL", *map(";".join, rows), ""]))
        self._errors = folder / f"{name}.err"
        self._name = f"{kind} from {source}"
        self.process = _sipp(
            *(scenario, source, port, "{}:{}".format(*to), "-inf", numbers, "-m", len(rows), "-l", len(rows) + 1),
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


def _rejected(code: str, reason: str = "") -> str:
    """Return the scenario of a caller who must be rejected with this code, and with this reason and its cause."""
    text = (_SCENARIOS / "rejected.xml").read_text()
    if reason:
        first = f'<ereg regexp="SIP/2.0 {code} {reason}" search_in="msg" check_it="true" assign_to="first"/>'
        value = 'regexp="Q.850;cause=[0-9]+" search_in="hdr" header="Reason:" check_it="true"'
        cause = f'<ereg {value} assign_to="cause"/>'
        text = text.replace(
            '<recv response="CODE"/>', f'<recv response="CODE"><action>{first}{cause}</action></recv>'
        )
        text = text.replace("</scenario>", '<Reference variables="first,cause"/></scenario>')
    return text.replace("CODE", code)


def _sipp(scenario: Path, address: str, port: int, *words: object, errors: Path) -> subprocess.Popen[bytes]:
    own = ("-sf", scenario, "-i", address, "-p", port, "-nostdin", "-trace_err", "-error_file", errors)
    calm = ("-watchdog_interval", 3_600_000)  # a busy machine must not make SIPp give up
    return subprocess.Popen(
        [program("sipp", "sip-tester"), *map(str, (*own, *calm, *words))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
