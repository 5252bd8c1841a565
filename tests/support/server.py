"""A real server process for tests: on free loopback ports, with its own store, ended by its pid."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from support import HOST
from support.processes import children, name_of, runs
from support.switch import TCP, UDP, Switch, Wire, request
from support.waiting import PATIENCE, wait_for

PATIENT = """\
import identengine.server.decider.process as decider
from identengine.__main__ import main

decider.REPLACEMENT_WAIT = 60.0
main()
"""
"""Program of a server whose deciders wait for their book, however slow the machine is."""


class Server:
    """A running ``identengine serve``."""

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        ready: bool = True,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        patient: bool = False,
        program: str | None = None,
    ) -> None:
        """Start a server of ``folder/store``. ``config`` follows the [store] and [listen] sections.

        A free port replaces a default of [listen] that ``config`` does not set. ``options`` are options of
        ``serve``, ``env`` adds to the environment. With ``patient``, a replacement decider reads its sockets only
        once it has a book, not after a second without one. Tests of answers by the book need that. ``program`` is
        Python code that runs instead of ``identengine``.
        """
        self.folder = folder
        self.store = folder / "store"
        self.config = folder / "identengine.toml"
        self.write_config(config)
        self._log = folder / "server.log"
        code = PATIENT if patient else program
        started = ["-m", "identengine"] if code is None else ["-c", code]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *started, "serve", "--config", str(self.config), *options],
                env=os.environ | (env or {}),
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read_lines, daemon=True)
        self._reader.start()
        self.ports: dict[str, int] = {}
        if ready:
            try:
                self.wait_for_line("READY")
            except BaseException:
                self.kill()
                raise
            for line in self.lines:
                if line.startswith("listening "):
                    _, kind, endpoint = line.split()
                    self.ports[kind] = int(endpoint.rpartition(":")[2])

    def write_config(self, config: str) -> None:
        """Write the config, for a start or a SIGHUP.

        Datagrams may wait long, since the machine of a test may be slow. Tests of their age set a limit
        themselves.
        """
        if "datagram_age_ms" not in config:
            before, limits, after = config.partition("[limits]\n")
            age = "datagram_age_ms = 60000\n"
            config = f"{before}{limits}{age}{after}" if limits else f"{config}\n[limits]\n{age}"
        calls = "" if "[calls]" in config else '[calls]\npath = "calls"\nmax_legs = 1000\n'
        self.config.write_text(f'[store]\npath = "store"\n{calls}{_on_free_ports(config)}\n')

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put("")

    def wait_for_line(self, wanted: str) -> None:
        """Wait until the server prints ``wanted`` on standard output."""
        while wanted not in self.lines:
            line = self._queue.get(timeout=PATIENCE)
            assert line, f"the server ended: {self.log}"
            self.lines.append(line)

    @property
    def log(self) -> str:
        """Everything that the server wrote to standard error."""
        return self._log.read_text()

    def logged(self, text: str) -> None:
        """Wait until the log contains ``text``."""
        try:
            wait_for(lambda: text in self.log)
        except AssertionError:
            raise AssertionError(f"{text!r} is not in the log:\n{self.log}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    @property
    def decider(self) -> int:
        """Pid of the decider. Wait for it."""
        return self._child("ident-decider")

    @property
    def standby(self) -> int:
        """Pid of the standby. Wait for it."""
        return self._child("ident-standby")

    @property
    def http(self) -> int:
        """Pid of the HTTP process. Wait for it."""
        return self._child("ident-http")

    def _child(self, name: str) -> int:
        def find() -> int:
            return next((pid for pid in children(self.process.pid) if name_of(pid) == name), 0)

        found = wait_for(find)
        assert isinstance(found, int)
        return found

    def kill(self) -> None:
        """Kill all its processes with SIGKILL. Return once none of them runs."""
        self.process.send_signal(signal.SIGSTOP)  # so that it starts no others
        orphans = children(self.process.pid)
        for pid in orphans:  # the supervisor first, so that no process can report its end to it
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        assert self.ended() == -signal.SIGKILL
        wait_for(lambda: not any(map(runs, orphans)))

    def stop(self) -> int:
        """Drain the server and return its exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait until the server ends. Return its exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def switch(
        self, wire: Wire = TCP, tls: ssl.SSLContext | None = None, address: str = HOST, seconds: float = PATIENCE
    ) -> Switch:
        """Return a new switch that is connected from ``address``."""
        return Switch.connect(self.ports[wire.transport], wire, tls, address, seconds=seconds)

    def udp(self) -> Switch:
        """Return a new switch that sends JSON datagrams."""
        return self.switch(UDP)

    def tcp(self) -> Switch:
        """Return a new switch that sends JSON over a TCP connection."""
        return self.switch(TCP)

    def ask_udp(self, message: bytes) -> Any:
        """Send one datagram. Return its answer, decoded."""
        return self._ask(UDP, message)

    def ask_tcp(self, message: bytes) -> Any:
        """Send one message over a new connection. Return its answer, decoded."""
        return self._ask(TCP, message)

    def _ask(self, wire: Wire, message: bytes) -> Any:
        with self.switch(wire) as switch:
            switch.send(message)
            return switch.answers(1)[0]

    def authorize(self, **params: object) -> Any:
        """Return the result of ``authorize`` over UDP."""
        return self.ask_udp(request("authorize", **params))["result"]

    def version(self) -> int | None:
        """Return the version of the book that the server uses."""
        found = self.ask_udp(request("ping"))["result"]["version"]
        assert found is None or isinstance(found, int)
        return found


def _on_free_ports(config: str) -> str:
    """Return a config without the default ports, which another server may have."""
    before, listen, after = config.partition("[listen]\n")
    present = re.findall(r"^\s*(\w+) *=", after.partition("\n[")[0], re.M)
    free = [f'{name} = ["{HOST}:0"]\n' for name in ("udp", "tcp") if name not in present]
    return f"{before}{listen}{''.join(free)}{after}" if listen else f"[listen]\n{''.join(free)}{config}"


@contextlib.contextmanager
def serving(folder: Path, config: str = "", *, patient: bool = False) -> Iterator[Server]:
    """Serve ``folder/store`` during the block. Fail if the server does not end cleanly."""
    server = Server(folder, config, patient=patient)
    try:
        yield server
    finally:
        status = server.stop()
    assert status == 0, server.log
