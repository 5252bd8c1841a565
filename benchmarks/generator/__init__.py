"""The load generator: a small C program that spins on a core of its own, so that it is not the bottleneck.

:func:`write` writes a file of requests, :func:`run` sends them and returns the result. Only addresses of
127.0.0.0/8 and ::1 are allowed, and each run is bounded in count and in time.

A record of the file is big endian: ``u16 lane, u16 length of payload, u32 source IPv4 (0: any), u16 length of
expected, expected, payload``. Requests are sent in the order of the file, then from its beginning again. Requests
of one lane use the same socket or connection. An answer is wrong if it does not contain the bytes of ``expected``.
So the order of the file decides how long each call is held (:class:`benchmarks.workload.Life`).
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
    "generate": (
        "generate.c",
        "options.c",
        "requests.c",
        "scores.c",
        "channel.c",
        "udp.c",
        "tcp.c",
        "radius.c",
        "md5.c",
    ),
    "echo": ("echo.c",),
}
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")
_HEAD = struct.Struct(">HHIH")
_WRONG = 2


class Record(NamedTuple):
    """One request, and the bytes that its answer must contain. Without bytes any answer is right."""

    payload: bytes
    expected: bytes = b""
    source: str | None = None
    """Source address of the datagram, within 127.0.0.0/8."""
    lane: int = 0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a run. One of ``id_at``, ``marker`` and ``in_order`` matches answers to requests."""

    count: int
    """Largest number of requests."""
    seconds: float = 60.0
    """Longest time of sending, in seconds."""
    timeout: float = 1.0
    """Time after which an answer is lost, in seconds."""
    channels: int = 4
    """Number of sockets or connections."""
    neighbours: int = 1
    """Number of lanes in a row that share a socket or connection, as the commands of one write do."""
    outstanding: int = 64
    """Number of requests in flight over all channels. It is unlimited if a rate is given."""
    rate: float | None = None
    """Requests per second (open loop). Latency then counts from the time a request was due."""
    cpu: int | None = None
    id_at: int | None = None
    """Offset in the request at which the generator writes its number, big endian."""
    id_bytes: int = 4
    answer_id_at: int | None = None
    """Offset of that number in the answer, if it differs."""
    marker: str | None = None
    """Text before the 8 hexadecimal digits that number the request, in request and answer."""
    in_order: bool = False
    framing: str | None = None
    """Framing over TCP: ``prefix`` (u32 length), ``resp``, or ``lines`` (a line end after each message)."""
    random_at: int | None = None
    random_bytes: int = 16
    """Number of bytes that are random in each request."""
    unchecked: bool = False
    """True if any answer is right, as that of an echo server."""
    radius: str | None = None
    """Secret of RADIUS. Requests are signed. An answer with a wrong authenticator is wrong.

    Each Access-Request has its Message-Authenticator as the first attribute, and so must its answer.
    """
    accounting: int | None = None
    """Port for the Accounting-Requests of RADIUS, if it differs from that of the target."""


class Percentiles(msgspec.Struct, frozen=True):
    """Percentiles in microseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Wrong(msgspec.Struct, frozen=True):
    """A wrong answer: the index of its request in the file, and its bytes as Latin-1 text."""

    request: int
    expected: str
    answer: str


class Result(msgspec.Struct, frozen=True):
    """The result of a run."""

    rate: float
    """Answers per second, from the first request to the last answer."""
    seconds: float
    sent: int
    answered: int
    lost: int
    """Requests without an answer in time."""
    late: int
    """Lost requests that were answered later."""
    unexpected: int
    wrong: int
    latency: Percentiles
    lateness: Percentiles
    """Delay of the generator against its own schedule, if a rate was given."""
    busy: float
    """Share of the time in which the generator sent or received. Above 0.9 it is the bottleneck."""
    preempted: int
    """Number of times that another process took its core."""
    histogram: list[tuple[float, int]]
    """Latencies as pairs of upper end in microseconds and count."""
    first_wrong: list[Wrong]


class WrongAnswersError(Exception):
    """At least one answer was wrong. ``result`` holds the first wrong ones."""

    def __init__(self, result: Result) -> None:
        lines = (
            f"  request {one.request}: {one.expected!r} is not in {one.answer!r}" for one in result.first_wrong
        )
        super().__init__("\n".join((f"{result.wrong} of {result.answered} answers are wrong:", *lines)))
        self.result = result


def write(path: Path, records: Iterable[Record]) -> int:
    """Write a file of requests. Return their number."""
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
    """Send a file of requests to a target such as ``udp:127.0.0.1:4870`` or ``tcp:[::1]:4870``.

    Raise WrongAnswersError if an answer was wrong, and OSError with the generator's message if it cannot run.
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
    """Return the path of ``generate`` or ``echo``. Compile it if its source is newer."""
    built = _BUILT / name
    _BUILT.mkdir(exist_ok=True)
    with (_BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in parallel
        newest = max(path.stat().st_mtime for path in _HERE.glob("*.[ch]"))
        if not built.exists() or built.stat().st_mtime < newest:
            sources = [str(_HERE / source) for source in _SOURCES[name]]
            subprocess.run(["cc", *_FLAGS, "-o", str(built), *sources], check=True)  # noqa: S603, S607 - the system's
    return built


def _words(options: Options) -> list[str]:
    """Return the options as arguments of the command line, which has the same names."""
    words = []
    for name, value in msgspec.structs.asdict(options).items():
        if name == "framing":
            words += [f"--{value}"] if value else []
        elif value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words
