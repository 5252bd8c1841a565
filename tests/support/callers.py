"""Callers and vendors: SIPp with the scenarios of tests/support/sipp, on loopback.

Each has its own loopback address, so that their ports cannot collide.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from support.ports import free_port
from support.programs import program
from support.waiting import PATIENCE

_SCENARIOS = Path(__file__).parent / "sipp"


class Vendor:
    """A vendor: SIPp with callee.xml."""

    def __init__(self, folder: Path, address: str, *changes: tuple[str, str]) -> None:
        """Start the vendor. ``changes`` replace text of its scenario."""
        self.port = free_port(address)
        self.address = address
        self._log = folder / f"vendor-{address}.log"
        self._errors = folder / f"vendor-{address}.err"
        scenario = _scenario(folder, "callee", changes)
        logs = ("-trace_logs", "-log_file", self._log)
        self.process = _sipp(scenario, address, self.port, *logs, errors=self._errors)

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
        to: str,
        kind: str,
        source: str,
        numbers: Iterable[tuple[str, str]],
        *changes: tuple[str, str],
        seconds: float = 0.1,
        length: float = 0.3,
    ) -> None:
        """Place a call to a switch for each pair of (shown, dialled), all within about ``seconds``.

        ``kind`` is the name of a scenario, or the code with which the calls must be rejected. ``changes`` replace
        text of the scenario. A call that is answered lasts for ``length`` seconds.
        """
        rows = list(numbers)
        port = free_port(source)
        self._name = f"{kind} from {source}"
        self._errors = folder / f"{kind}-{source}-{port}.err"
        given = self._errors.with_suffix(".csv")
        given.write_text("\n".join(["SEQUENTIAL", *map(";".join, rows), ""]))
        scenario = _scenario(folder, "rejected" if kind.isdigit() else kind, [("CODE", kind), *changes])
        self.process = _sipp(
            *(scenario, source, port, to, "-inf", given, "-m", len(rows), "-l", len(rows) + 1),
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


def _scenario(folder: Path, name: str, changes: Iterable[tuple[str, str]]) -> Path:
    text = (_SCENARIOS / f"{name}.xml").read_text()
    for before, after in changes:
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
