"""The load generator: a small C program that spins on a core of its own, so that it is not the bottleneck.

:func:`write` writes a file of requests, :func:`run` sends them and returns what became of them. Only addresses of
127.0.0.0/8 and ::1 are asked, and each run is bounded in count and in time.

A record of the file, big endian: ``u16 lane | u16 length of payload | u32 source IPv4 (0: any) | u16 length of
expected | expected | payload``. Requests are sent in the order of the file, and from its begin again; those of one
lane go by the same socket or connection. An answer that lacks the bytes of ``expected`` is wrong.
"""

from __future__ import annotations

import fcntl
import struct
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import msgspec

_HERE = Path(__file__).parent
_BUILT = _HERE / "build"
_SOURCES = {
    "generate": ("generate.c", "options.c", "requests.c", "scores.c", "channel.c", "udp.c", "tcp.c"),
    "echo": ("echo.c",),
}
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")
_HEAD = struct.Struct(">HHIH")
_WRONG = 2


class Record(NamedTuple):
    """One request, and what its answer must hold (empty: any answer is right)."""

    payload: bytes
    expected: bytes = b""
    source: str | None = None
    """An address of 127.0.0.0/8 that the datagram comes from."""
    lane: int = 0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask. One of ``id_at``, ``marker`` and ``in_order`` tells which request an answer is to."""

    count: int
    """Most requests that are sent."""
    seconds: float = 60.0
    """For so long at most they are sent."""
    timeout: float = 1.0
    """Seconds after which an answer is lost."""
    channels: int = 4
    """Sockets, or connections."""
    outstanding: int = 64
    """So many are under way at once, over all channels; where a rate is given, any number."""
    rate: float | None = None
    """Open loop: so many a second, and latency counts from when a request was due."""
    cpu: int | None = None
    id_at: int | None = None
    """Where the generator writes a number into the request, big endian."""
    id_bytes: int = 4
    answer_id_at: int | None = None
    """Where that is in the answer, if elsewhere."""
    marker: str | None = None
    """8 hex digits behind this text are the number, in request and answer."""
    in_order: bool = False
    framing: str | None = None
    """Of TCP: ``prefix`` (u32 length) or ``resp``."""
    random_at: int | None = None
    random_bytes: int = 16
    """Bytes that are fresh in each request."""
    unchecked: bool = False
    """Whether any answer is right: of a server that only sends back what it got."""


class Percentiles(msgspec.Struct, frozen=True):
    """Microseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Wrong(msgspec.Struct, frozen=True):
    """A wrong answer: the place of the request in the file, and bytes as Latin-1 text."""

    request: int
    expected: str
    answer: str


class Result(msgspec.Struct, frozen=True):
    """What became of a run."""

    rate: float
    """Answers a second, from the first request to the last answer."""
    seconds: float
    sent: int
    answered: int
    lost: int
    """No answer came in time."""
    late: int
    """Of the lost ones, those that were answered after all."""
    unexpected: int
    wrong: int
    latency: Percentiles
    lateness: Percentiles
    """How late the generator itself was against its schedule; only where a rate was given."""
    busy: float
    """Part of the time in which the generator had something to send or to read; above 0.9 it is the bottleneck."""
    preempted: int
    """How often something else took its core."""
    histogram: list[tuple[float, int]]
    """Latency: upper end in microseconds, and how many."""
    first_wrong: list[Wrong]


class WrongAnswersError(Exception):
    """At least one answer was wrong; ``result`` has the first of them."""

    def __init__(self, result: Result) -> None:
        lines = (
            f"  request {one.request}: {one.expected!r} is not in {one.answer!r}" for one in result.first_wrong
        )
        super().__init__("\n".join((f"{result.wrong} of {result.answered} answers are wrong:", *lines)))
        self.result = result


def write(path: Path, records: Iterable[Record]) -> int:
    """Write a file of requests; returns how many."""
    count = 0
    with path.open("wb") as file:
        for payload, expected, source, lane in records:
            address = int(IPv4Address(source)) if source else 0
            file.write(_HEAD.pack(lane & 0xFFFF, len(payload), address, len(expected)))
            file.write(expected)
            file.write(payload)
            count += 1
    return count


def run(target: str, requests: Path, options: Options) -> Result:
    """Send a file of requests to ``udp:127.0.0.1:4870`` or ``tcp:[::1]:4870``, say.

    Raises WrongAnswersError where an answer was wrong, OSError with the generator's own words where it cannot run.
    """
    command = [str(program("generate")), "--target", target, "--requests", str(requests), *_words(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - our own program
    if done.returncode not in (0, _WRONG):
        raise OSError(done.stderr.strip() or f"the generator ended with {done.returncode}")
    result = msgspec.json.decode(done.stdout, type=Result)
    if done.returncode == _WRONG:
        raise WrongAnswersError(result)
    return result


def program(name: str) -> Path:
    """Return the path of ``generate`` or ``echo``; it is compiled where its source is newer."""
    built = _BUILT / name
    _BUILT.mkdir(exist_ok=True)
    with (_BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        newest = max(path.stat().st_mtime for path in _HERE.glob("*.[ch]"))
        if not built.exists() or built.stat().st_mtime < newest:
            sources = [str(_HERE / source) for source in _SOURCES[name]]
            subprocess.run(["cc", *_FLAGS, "-o", str(built), *sources], check=True)  # noqa: S603, S607 - the system's
    return built


def _words(options: Options) -> list[str]:
    """Return the options as words of the command line, which has the same names."""
    words = []
    for name, value in msgspec.structs.asdict(options).items():
        if name == "framing":
            words += [f"--{value}"] if value else []
        elif value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words
