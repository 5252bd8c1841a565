"""The demo behind ``identengine demo``: the book in ``data/``, a real server, and requests with known answers.

Nothing here prints; :mod:`identengine.cli.demo` shows it. The requests of ``data/requests.jsonl`` name what
each is to be answered, so that the demo notices when it is not. Those of ``data/calls.jsonl`` are the life of a
few calls at a limit, one after another, and free all that they hold.
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
from identengine.errors import IdentengineError
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
    """The demo cannot be shown."""


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of the demo and what it is to be answered."""

    title: str
    short: str | None = None
    """Title on the first screen. Empty: the request continues the case above. None: only ``--all`` shows it."""
    method: Literal["authorize", "identify", "start", "stop"]
    params: dict[str, msgspec.Raw]
    expect: msgspec.Raw


class Outcome(msgspec.Struct, frozen=True):
    """What a request was answered; ``wrong`` says where that is not what was expected."""

    sample: Sample
    decision: Decision | LegResult
    """A LegResult for ``start`` and ``stop``."""
    wrong: tuple[str, ...]


_decode = msgspec.json.Decoder(ResponseMessage).decode


def data_folder() -> Path:
    """Return the folder with the demo's book and requests: the source's, or the one installed with the package.

    Raises DemoError, saying where to get it.
    """
    source = Path(__file__).resolve().parents[2] / "data"
    for folder in (source, Path(sysconfig.get_path("data")) / "share" / "identengine"):
        if (folder / "requests.jsonl").is_file():
            return folder
    raise DemoError(
        f"the demo's book is not there ({source}); it comes with the source:"
        " clone the repository and run `python -m identengine demo` in it"
    )


def samples() -> list[Sample]:
    """Return the requests that the demo sends, each for itself."""
    return _samples("requests.jsonl")


def calls() -> list[Sample]:
    """Return what the demo says of calls at a limit; the order matters."""
    return _samples("calls.jsonl")


def _samples(name: str) -> list[Sample]:
    decode = msgspec.json.Decoder(Sample).decode
    return [decode(line) for line in (data_folder() / name).read_bytes().splitlines() if line.strip()]


def prepare(folder: Path, port: int) -> tuple[Path, ImportReport]:
    """Make a store of the demo's book in ``folder``, and a config; return the config and how the import went."""
    store = folder / "store"
    vault = Vault.from_file(default_key_file(store), create=True)
    with Store.open(store, create=True) as opened:
        report = import_book(opened, vault, data_folder() / "book", who="demo")
    config = folder / "identengine.toml"
    config.write_text(CONFIG.format(host=HOST, port=port))
    return config, report


def free_port(wanted: int) -> int:
    """Return ``wanted`` if UDP and TCP are free there, else a port that is."""
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
    raise DemoError("no port is free for the demo")


@contextmanager
def serving(config: Path, port: int, version: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server as a process of its own, from when it has ``version`` of the book on; stop it at the end."""
    log = config.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program and our own file
            [sys.executable, "-m", "identengine", "serve", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops it in order
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
    """Let this process drain and end when the demo is killed (Linux); its store stays behind then."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was killed a moment ago
        os.kill(os.getpid(), signal.SIGTERM)


def ask_udp(port: int, asked: Sequence[Sample]) -> list[Outcome]:
    """Ask one request a datagram, and wait for each answer."""
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
    """Ask all requests on one connection at once; answers may come in any order."""
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
    # The call id is the same over UDP and TCP, so that both choose the same number where Src Policy replaces it.
    call_id = msgspec.Raw(msgspec.json.encode(f"demo-{number}"))
    params = {"call_id": call_id} | sample.params
    return msgspec.json.encode(RequestMessage(sample.method, number, params))


def _outcome(sample: Sample, answer: bytes) -> Outcome:
    reply = _decode(answer)
    if not reply.result:
        raise DemoError(f"{sample.title}: the server answered {answer.decode(errors='replace').strip()}")
    decision = msgspec.json.decode(reply.result, type=METHODS[sample.method].result)
    assert isinstance(decision, Decision | LegResult)  # noqa: S101 - a sample has one of four methods
    return Outcome(sample, decision, tuple(differences(sample, decision)))


def differences(sample: Sample, decision: Decision | LegResult) -> Iterator[str]:
    """Yield where a decision is not what the sample expects; what it does not name may be anything."""
    expected: dict[str, object] = msgspec.json.decode(sample.expect)
    for name, value in expected.items():
        found = getattr(decision, name)
        if found != value:
            yield f"{name} is {found}, expected was {value}"


def _pinged(line: bytes) -> int | None:
    return msgspec.json.decode(_decode(line).result, type=Pong).version


def _wait(process: subprocess.Popen[bytes], port: int, version: int, log: Path) -> None:
    """Wait until the server answers a ping with ``version``."""
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
            pass  # it does not listen yet
        time.sleep(0.02)
    last = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    raise DemoError(
        "\n".join(["the server did not come up; its log ends:" if last else "the server did not come up", *last])
    )
