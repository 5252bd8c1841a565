#!/usr/bin/env python3
"""A RADIUS client for Sippy's B2BUA. FreeRADIUS' radclient sends the packets.

Sippy starts it several times. It writes a request to standard input: AUTH or ACCT, lines ``Name="value"``, and an
empty line. The client answers with lines ``Name = 'value'``, a line with 0 (accept), 1 (reject) or 2 (no answer),
and an empty line. Sippy never reads its standard error, so it logs to syslog.

A rule: Sippy decodes %0A and %22 of numbers that callers dial, and writes them as they are. So a caller can write
lines of a request. A request with more or other lines than Sippy's own is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import syslog
import threading
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ACCEPT, REJECT, NO_ANSWER = 0, 1, 2
STOP_SECONDS = 7200
"""How long a Stop is repeated: the lease of a call without updates."""
REPORT_SECONDS = 50
"""How long a Start or Alive is repeated. Another process may deliver the Stop before. After a Stop, the engine
ignores a Start for 60 s alone. The next Alive replaces a packet that was not delivered."""
WAITING_PACKETS = 10_000
LINGER_SECONDS = 5
"""How long the client delivers its last packets after Sippy has exited."""
NUMBER = re.compile(r"[0-9A-Za-z*#+.()-]*")
ATTRIBUTE = re.compile(r'([A-Za-z0-9-]+)="(.*)"')
REPLY = re.compile(r'\t([A-Za-z0-9-]+) = "?(.*?)"?')
BY_ADDRESS = {"User-Name", "Password"}
BY_DIGEST = {"User-Name"} | {
    f"Digest-{field}" for field in ("Realm", "Nonce", "Method", "URI", "Algorithm", "User-Name", "Response")
}
CALL = {"Calling-Station-Id", "Called-Station-Id", "call-id", "h323-remote-address", "h323-session-protocol"}
ACCOUNTING = {"User-Name", "Acct-Session-Id", "Acct-Status-Type", "h323-call-origin"}


class Complaints:
    """Lines for syslog, at most one a second."""

    def __init__(self) -> None:
        """Write the first line at once."""
        self._last = float("-inf")

    def __call__(self, text: str) -> None:
        """Write a line, unless another one was written within the second."""
        if time.monotonic() - self._last >= 1:
            self._last = time.monotonic()
            syslog.syslog(syslog.LOG_WARNING, text)


complain = Complaints()


class DamagedError(Exception):
    """A request that Sippy did not write alone, or that RADIUS cannot carry."""


@dataclass(frozen=True)
class Config:
    """The config, as radiusclient.toml explains it."""

    servers: list[str]
    secret_file: str
    dictionary: str
    timeout: int
    tries: int
    rest: float
    attributes: dict[str, str] = field(default_factory=dict)
    routes: dict[str, list[str]] = field(default_factory=dict)


class Reply(NamedTuple):
    """A reply of an engine: its code for Sippy, and its attributes."""

    code: int
    attributes: list[tuple[str, str]]

    @property
    def decided(self) -> bool:
        """False if the engine rejected the call because of its own state."""
        return not {("Reply-Message", "not_ready"), ("Reply-Message", "overload")} & set(self.attributes)


class Request:
    """A request of Sippy."""

    def __init__(self, data: bytes) -> None:
        """Read the lines of a request. Raise DamagedError if a caller has written one of them."""
        first, *lines = data.decode("utf-8", "surrogateescape").split("\n")
        if first not in ("AUTH", "ACCT"):
            raise DamagedError(f"expected AUTH or ACCT, got {first!r}")
        self.kind = first.lower()
        self.attributes: list[tuple[str, str]] = []
        self.named: dict[str, str] = {}
        for line in lines:
            found = ATTRIBUTE.fullmatch(line)
            if found is None:
                raise DamagedError(f"not an attribute: {line!r}")
            self._add(*found.groups())
        self._check()

    def _add(self, name: str, value: str) -> None:
        room = 247 if name.startswith(("Cisco-", "h323-")) else 253
        if len(value.encode("utf-8", "surrogateescape")) > room:
            raise DamagedError(f"{name} is longer than {room} bytes")
        inner, _, rest = value.partition("=") if room == 247 else (name, "", value)
        if inner in self.named:
            raise DamagedError(f"two values of {inner}")
        self.named[inner] = rest
        self.attributes.append(("User-Password" if name == "Password" else name, value))

    def _check(self) -> None:
        names = set(self.named)
        if self.kind == "acct":
            if not names >= CALL | ACCOUNTING or "Password" in names:
                raise DamagedError("not the attributes of an Accounting-Request")
        elif names not in (CALL | BY_ADDRESS, CALL | BY_DIGEST):
            raise DamagedError("not the attributes of an Access-Request")
        if not NUMBER.fullmatch(self.named["Called-Station-Id"]):
            raise DamagedError(f"not a number: {self.named['Called-Station-Id']!r}")


class Engine:
    """A RADIUS server, and the accounting packets that it has not answered yet."""

    def __init__(self, address: str, config: Config) -> None:
        """Read an address of the config."""
        host, *ports = address.rsplit(":", 2) if address.count(":") in (2, 9) else [address]
        auth, acct = ports or ("1812", "1813")
        self._ports = {"auth": f"{host}:{auth}", "acct": f"{host}:{acct}"}
        self._command = [
            "radclient",
            "-x",
            "-S",
            config.secret_file,
            "-d",
            "/nonexistent",
            "-D",
            config.dictionary,
        ]
        self._command += ["-t", str(config.timeout), "-r", str(config.tries)]
        self._waiting: queue.Queue[tuple[float, str]] = queue.Queue(WAITING_PACKETS)
        self.rests_until = 0.0

    def start(self) -> None:
        """Deliver accounting packets from now on."""
        threading.Thread(target=self._deliver, daemon=True).start()

    def record(self, packet: str, seconds: float) -> None:
        """Deliver an accounting packet within some seconds. If too many are in the queue, drop the oldest."""
        while True:
            try:
                return self._waiting.put_nowait((time.monotonic() + seconds, packet))
            except queue.Full:  # calls must not wait for an engine that is away
                with contextlib.suppress(queue.Empty):
                    self._waiting.get_nowait()
                    self._drop()

    def _drop(self) -> None:
        complain("an accounting packet was not delivered")
        self._waiting.task_done()

    def drain(self, deadline: float) -> None:
        """Wait until the queue is empty or the time has come."""
        while self._waiting.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.05)

    def ask(self, kind: str, packet: str) -> Reply | None:
        """Send a packet. Return the reply, or None if none arrived."""
        done = subprocess.run(  # noqa: S603 -- the words are the config's; what callers send is its input
            [*self._command, self._ports[kind], kind],
            input=packet,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
        )
        _, received, reply = done.stdout.rpartition("Received ")
        if not received:
            if "No reply" not in done.stdout + done.stderr:
                complain(ascii(done.stderr.strip()))
            return None
        attributes = [plain(*found.groups()) for line in reply.split("\n") if (found := REPLY.fullmatch(line))]
        if kind == "auth" and "Message-Authenticator" not in dict(attributes):
            # radclient verifies the attribute if there is one. Without it, an accept can be forged.
            complain("a reply without Message-Authenticator was dropped (CVE-2024-3596)")
            return None
        return Reply(REJECT if reply.startswith("Access-Reject") else ACCEPT, attributes)

    def _deliver(self) -> None:
        while True:
            until, packet = self._waiting.get()
            while time.monotonic() < until:
                if self.ask("acct", packet) is not None:
                    self._waiting.task_done()
                    break
                time.sleep(0.5)
            else:
                self._drop()


class Client:
    """The engines and routes of the config."""

    def __init__(self, config: Config) -> None:
        """Read the config."""
        self.engines = [Engine(server, config) for server in config.servers]
        self._config = config
        self._own = list(config.attributes.items())

    def answer(self, request: Request) -> Reply:
        """Return the answer to a request of Sippy."""
        packet = written(request.attributes + self._own)
        if request.kind == "acct":
            seconds = STOP_SECONDS if request.named["Acct-Status-Type"] == "Stop" else REPORT_SECONDS
            for engine in self.engines:
                engine.record(packet, seconds)
            return Reply(ACCEPT, [])
        reply = self._ask(packet + ", Message-Authenticator = 0x00")
        if reply is None or reply.code != ACCEPT:
            return reply or Reply(NO_ANSWER, [])
        return Reply(ACCEPT, reply.attributes + self._orders(dict(avpairs(reply)), request))

    def _ask(self, packet: str) -> Reply | None:
        """Return the reply of an engine. An engine that starts is asked again, as long as a silent one."""
        until = time.monotonic() + self._config.timeout * self._config.tries
        while True:
            reply = self._ask_each(packet)
            if reply is None or reply.decided or time.monotonic() > until:
                return reply
            time.sleep(self._config.timeout)

    def _ask_each(self, packet: str) -> Reply | None:
        undecided = None
        now = time.monotonic()
        for engine in sorted(self.engines, key=lambda engine: engine.rests_until > now):
            reply = engine.ask("auth", packet)
            if reply is None:
                engine.rests_until = time.monotonic() + self._config.rest
            elif reply.decided:
                return reply
            else:
                undecided = reply
        return undecided

    def _orders(self, accepted: dict[str, str], request: Request) -> list[tuple[str, str]]:
        """Return the caller's number and the routes in the words of Sippy."""
        called = accepted.get("xpgk-dst-number-out", request.named["Called-Station-Id"])
        routes = self._config.routes
        plan = routes.get(accepted.get("routing-plan", ""), routes.get("default", []))
        orders = [f"CLI:{accepted['xpgk-src-number-out']}"] if "xpgk-src-number-out" in accepted else []
        # Accounting of the vendor's side gets the vendor's address as User-Name, not the caller's.
        orders += [f"Routing:{called}@{route};bill-to={host(route)}" for route in plan]
        return [("Cisco-AVPair", f"h323-ivr-in={order}") for order in orders]

    def announce(self, status: str) -> int:
        """Send Accounting-On or Accounting-Off to all engines. Return the exit status."""
        # The engine takes a second one with the same session for a repeat (RFC 2866, section 5.5: it is unique).
        session = ("Acct-Session-Id", f"{time.time():.6f}")
        packet = written([("Acct-Status-Type", status), session, *self._own])
        replies = [engine.ask("acct", packet) for engine in self.engines]
        return 0 if all(replies) else 1


def avpairs(reply: Reply) -> list[tuple[str, str]]:
    """Return names and values of the Cisco-AVPairs of a reply."""
    pairs = (value.partition("=") for name, value in reply.attributes if name == "Cisco-AVPair")
    return [(name, value) for name, _, value in pairs]


def host(route: str) -> str:
    """Return the host of a route."""
    address = route.partition(";")[0]
    return address.rpartition(":")[0] if re.search(r":\d+$", address) else address


def plain(name: str, value: str) -> tuple[str, str]:
    """Return an attribute of a reply without radclient's escapes, on one line."""
    return name, re.sub(r"\\(.)", r"\1", value).replace("'", "")


def written(attributes: list[tuple[str, str]]) -> str:
    """Return attributes in the form that radclient reads. In single quotes it expands nothing."""
    quoted = ((name, value.replace("\\", "\\\\").replace("'", "\\'")) for name, value in attributes)
    return ", ".join(f"{name} = '{value}'" for name, value in quoted)


def read_request() -> bytes | None:
    """Return the bytes that Sippy has written, without the empty line after them, or None at the end."""
    data = b""
    while not data.endswith(b"\n\n"):
        chunk = os.read(0, 1 << 20)
        if not chunk:
            return None
        data += chunk
    return data[:-2]


def serve(client: Client) -> None:
    """Answer Sippy until it exits."""
    while (data := read_request()) is not None:
        try:
            # Sippy waits for the answer before it writes again. So an empty line within is a caller's work.
            reply = client.answer(Request(data))
        except DamagedError as fault:
            complain(f"request refused: {fault}")
            reply = Reply(NO_ANSWER, [])
        lines = [f"{name} = '{value}'" for name, value in reply.attributes]
        answer = "\n".join([*lines, str(reply.code), "", ""])
        sys.stdout.buffer.write(answer.encode("utf-8", "surrogateescape"))
        sys.stdout.flush()


def main() -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-f", dest="config", metavar="FILE", required=True, help="config")
    parser.add_argument("-s", action="store_true", help="serve Sippy, which passes this option")
    parser.add_argument("--announce", choices=["Accounting-On", "Accounting-Off"], help="send this and exit")
    given = parser.parse_args()
    client = Client(Config(**tomllib.loads(Path(given.config).read_text(encoding="utf-8"))))
    if given.announce:
        return client.announce(given.announce)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # the last packets of Sippy are still to be delivered
    for engine in client.engines:
        engine.start()
    serve(client)
    deadline = time.monotonic() + LINGER_SECONDS
    for engine in client.engines:
        engine.drain(deadline)
    return 0


if __name__ == "__main__":
    sys.exit(main())
