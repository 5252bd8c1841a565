"""radclient, the client program of FreeRADIUS, which encodes requests and verifies replies on its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from support import HOST
from support.programs import program

SECRET = "9f3b1c77d0a4e852"
PACKAGES = "freeradius-utils"
SIGNED = ("Message-Authenticator", "0x00")
"""The attribute that makes radclient add a Message-Authenticator."""
_RECEIVED = re.compile(r"^Received ([\w-]+) Id \d+ .* length (\d+)\n((?:\t.*\n)*)", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^\t([\w-]+) = (.*)$", re.MULTILINE)


class Reply(NamedTuple):
    """A reply that radclient has verified."""

    code: str
    """The name of its code, such as ``Access-Accept``."""
    size: int
    """Size of the packet, in bytes."""
    attributes: list[tuple[str, str]]
    """Names and values in order. Values have no quotes."""

    def values(self, name: str) -> list[str]:
        """Return the values of an attribute."""
        return [value for each, value in self.attributes if each == name]

    @property
    def pairs(self) -> dict[str, str]:
        """The pairs of the Cisco-AVPair attributes."""
        return {name: value for name, _, value in (pair.partition("=") for pair in self.values("Cisco-AVPair"))}

    @property
    def reason(self) -> str | None:
        """The reason of a reject."""
        return next(iter(self.values("Reply-Message")), None)


class Sent(NamedTuple):
    """A run of radclient."""

    replies: list[Reply]
    output: str


def send(
    port: int,
    kind: str,
    *attributes: tuple[str, object],
    secret: str = SECRET,
    source: str = HOST,
    seconds: float = 5.0,
    retries: int = 2,
) -> Sent:
    """Send a request of a kind (``auth``, ``acct``, ``status``) to a port of this machine."""
    return send_all(port, kind, [attributes], secret=secret, source=source, seconds=seconds, retries=retries)


def send_all(
    port: int,
    kind: str,
    requests: Iterable[Iterable[tuple[str, object]]],
    *,
    secret: str = SECRET,
    source: str = HOST,
    seconds: float = 5.0,
    retries: int = 2,
    together: int = 1,
) -> Sent:
    """Send requests, ``together`` of them at a time. A reply that is not authentic is no reply."""
    packets = [[("Packet-Src-IP-Address", source), *request] for request in requests]
    command = [program("radclient", PACKAGES), "-x", "-t", str(seconds), "-r", str(retries), "-p", str(together)]
    ran = subprocess.run(
        [*command, f"{HOST}:{port}", kind, secret],
        input="\n".join("".join(f"{name} = {_written(value)}\n" for name, value in one) for one in packets),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = ran.stdout + ran.stderr
    replies = [
        Reply(code, int(size), [(name, value.strip('"')) for name, value in _ATTRIBUTE.findall(lines)])
        for code, size, lines in _RECEIVED.findall(ran.stdout)
    ]
    return Sent(replies, output)


def ask(port: int, kind: str, *attributes: tuple[str, object], secret: str = SECRET, source: str = HOST) -> Reply:
    """Send a request that must get a reply. Return the reply."""
    sent = send(port, kind, *attributes, secret=secret, source=source)
    assert len(sent.replies) == 1, sent.output
    return sent.replies[0]


def _written(value: object) -> str:
    text = str(value)
    return (
        text
        if isinstance(value, int) or re.fullmatch(r"0x[0-9a-f]+|[A-Z][A-Za-z-]+|[\d.]+", text)
        else f'"{text}"'
    )
