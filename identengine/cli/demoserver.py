"""The work behind ``identengine demo``: the book in ``data/``, a real server, and requests with known answers.

Rule: nothing here prints; :mod:`identengine.cli.demo` does. Each request in ``data/requests.jsonl`` has its
expected answer, so that the demo detects a wrong one. The messages in ``data/calls.jsonl`` are the life of a few
calls at a limit, in order. They free all slots that they reserve.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from identengine.book.importer import import_book
from identengine.book.report import ImportReport
from identengine.calls.backend import LegResult
from identengine.errors import IdentengineError, quoted
from identengine.errors import expected as expected_text
from identengine.model.records import Decision
from identengine.store.vault import Vault, default_key_file
from identengine.store.versions import Store
from identengine.wire.jsonrpc.messages import Pong, RequestMessage, ResponseMessage
from identengine.wire.jsonrpc.methods import METHODS

HOST = "127.0.0.1"
START_SECONDS = 20.0
ANSWER_SECONDS = 5.0
STOP_SECONDS = 10.0
LOG_LINES = 12

CONFIG = """\
# The config of the demo. A tie between two clients is rejected here, so that the demo can show it.
[store]
path = "store"
[calls]
path = "calls"
max_legs = 1000
[identify]
strict_ambiguity = true
[listen]
udp = ["{host}:{port}"]
tcp = ["{host}:{port}"]
"""

_PR_SET_PDEATHSIG = 1

Transport = Literal["UDP", "TCP"]


class DemoError(IdentengineError):
    """The demo cannot run."""


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of the demo and its expected answer."""

    title: str
    short: str | None = None
    """Title on the first screen. Empty: the request continues the case above. None: only ``--all`` shows it."""
    method: Literal["authorize", "identify", "start", "stop"]
    params: dict[str, msgspec.Raw]
    expect: msgspec.Raw


class Outcome(msgspec.Struct, frozen=True):
    """The answer to a request. ``wrong`` lists the differences from the expected answer."""

    sample: Sample
    decision: Decision | LegResult
    """A LegResult for ``start`` and ``stop``."""
    wrong: tuple[str, ...]


_decode = msgspec.json.Decoder(ResponseMessage).decode


def data_folder() -> Path:
    """Return the folder with the demo's book and requests, from the source or from the installed package.

    Raise DemoError if it is missing.
    """
    source = Path(__file__).resolve().parents[2] / "data"
    for folder in (source, Path(sysconfig.get_path("data")) / "share" / "identengine"):
        if (folder / "requests.jsonl").is_file():
            return folder
    raise DemoError(
        f"the demo's book is missing ({source}). It is part of the source:"
        " clone the repository and run `python -m identengine demo` there."
    )


def samples() -> list[Sample]:
    """Return the independent requests of the demo."""
    return _samples("requests.jsonl")


def calls() -> list[Sample]:
    """Return the messages about calls at a limit. Their order matters."""
    return _samples("calls.jsonl")


def _samples(name: str) -> list[Sample]:
    decode = msgspec.json.Decoder(Sample).decode
    return [decode(line) for line in (data_folder() / name).read_bytes().splitlines() if line.strip()]


def prepare(folder: Path, port: int) -> tuple[Path, ImportReport]:
    """Create a store with the demo's book, and a config. Return the config and the report of the import."""
    store = folder / "store"
    vault = Vault.from_file(default_key_file(store), create=True)
    with Store.open(store, create=True) as opened:
        report = import_book(opened, vault, data_folder() / "book", who="demo")
    config = folder / "identengine.toml"
    config.write_text(CONFIG.format(host=HOST, port=port))
    return config, report


def free_port(wanted: int) -> int:
    """Return ``wanted`` if it is free for UDP and TCP, otherwise a port that is."""
    for _ in range(100):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tcp.bind((HOST, wanted))
                udp.bind((HOST, tcp.getsockname()[1]))
            except OSError:
                wanted = 0
            else:
                port: int = tcp.getsockname()[1]
                return port
    raise DemoError("the demo found no free port")


@contextmanager
def serving(config: Path, port: int, version: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server as a process. Yield it when it serves ``version`` of the book, and stop it at the end."""
    log = config.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program and our own file
            [sys.executable, "-m", "identengine", "serve", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only the demo, which then stops the server cleanly
            preexec_fn=partial(_end_with, os.getpid()),  # noqa: PLW1509 - the demo has no threads
        )
    try:
        _wait(process, port, version, log)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with(parent: int) -> None:
    """Let this process drain and exit if the demo is killed (Linux). The store is not removed then."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the demo was killed a moment ago
        os.kill(os.getpid(), signal.SIGTERM)


def ask_udp(port: int, asked: Sequence[Sample]) -> list[Outcome]:
    """Send one request a datagram, and wait for each answer."""
    outcomes = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(ANSWER_SECONDS)
        peer.connect((HOST, port))
        for number, sample in enumerate(asked):
            peer.send(_message(number, sample))
            try:
                answer = peer.recv(65536)
            except TimeoutError:
                raise DemoError(f"no answer over UDP within {ANSWER_SECONDS:g} s to: {sample.title}") from None
            outcomes.append(_outcome(sample, answer))
    return outcomes


def ask_tcp(port: int, asked: Sequence[Sample]) -> list[Outcome]:
    """Send all requests at once on one connection. Answers may arrive in any order."""
    answers: dict[int | str | None, bytes] = {}
    with socket.create_connection((HOST, port), timeout=ANSWER_SECONDS) as peer:
        peer.sendall(b"\n".join(_message(number, sample) for number, sample in enumerate(asked)) + b"\n")
        with peer.makefile("rb") as lines:
            while len(answers) < len(asked):
                try:
                    line = lines.readline()
                except TimeoutError:
                    line = b""
                if not line:
                    raise DemoError(f"{len(asked) - len(answers)} of {len(asked)} requests over TCP got no answer")
                answers[_decode(line).id] = line
    return [_outcome(sample, answers[number]) for number, sample in enumerate(asked)]


def ask_by_hand(port: int) -> str:
    """Return a shell command, in lines of under 80 columns, that sends one request and prints its answer."""
    python = "python3" if shutil.which("python3") else shlex.quote(sys.executable)
    return f"""\
  echo '{{"jsonrpc": "2.0", "id": 1, "method": "authorize", "params":
    {{"src_ip": "192.0.2.10", "dst_number": "77#442079460123"}}}}' |
    {python} -c 'import socket, sys; s = socket.create_connection(("{HOST}",
    {port})); s.sendall(sys.stdin.buffer.read()); print(s.makefile().readline())'"""


def _message(number: int, sample: Sample) -> bytes:
    # Both transports use the same call id, so that Src Policy chooses the same number.
    call_id = msgspec.Raw(msgspec.json.encode(f"demo-{number}"))
    params = {"call_id": call_id} | sample.params
    return msgspec.json.encode(RequestMessage(sample.method, number, params))


def _outcome(sample: Sample, answer: bytes) -> Outcome:
    reply = _decode(answer)
    if not reply.result:
        raise DemoError(f"{sample.title}: unexpected answer: {answer.decode(errors='replace').strip()}")
    decision = msgspec.json.decode(reply.result, type=METHODS[sample.method].result)
    assert isinstance(decision, Decision | LegResult)  # noqa: S101 - a sample has one of four methods
    return Outcome(sample, decision, tuple(differences(sample, decision)))


def differences(sample: Sample, decision: Decision | LegResult) -> Iterator[str]:
    """Yield the differences between a decision and the sample's expectations. Other fields are not compared."""
    expected: dict[str, object] = msgspec.json.decode(sample.expect)
    for name, value in expected.items():
        found = getattr(decision, name)
        if found != value:
            yield f"{name}: {expected_text(quoted(value), found)}"


def _pinged(line: bytes) -> int | None:
    return msgspec.json.decode(_decode(line).result, type=Pong).version


def _wait(process: subprocess.Popen[bytes], port: int, version: int, log: Path) -> None:
    """Wait until the server answers a ping with ``version``. Raise DemoError if it does not."""
    until = time.monotonic() + START_SECONDS
    ping = msgspec.json.encode(RequestMessage("ping", 0)) + b"\n"
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with socket.create_connection((HOST, port), timeout=1) as peer, peer.makefile("rb") as lines:
                peer.sendall(ping)
                line = lines.readline()
            if line and _pinged(line) == version:
                return
        except OSError:
            pass  # the server does not listen yet
        time.sleep(0.02)
    last = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    raise DemoError(
        "\n".join(["the server did not start. End of its log:" if last else "the server did not start", *last])
    )
