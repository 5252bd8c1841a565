"""The time without answers after the decider is killed (kill -9), with and without a standby.

``python -m benchmarks.failover [--accounts N] [--legs N …] [--standby

--no-standby] [--rounds N]``. A real server with a book of N accounts holds calls. It is asked over UDP, one
datagram a millisecond, whether it answers or not. Then its decider is killed. The program measures the time until
the next answer of any kind, and until the next decision by the book (``not_ready`` is not one). A datagram without
any answer is lost. After each kill, a limit with one free slot proves that the calls are still counted.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks import books, machine, served
from identengine.model.records import Account, Client, IdentBy

ACCOUNTS = 10_000
LEGS = (1_000, 100_000)
ROUNDS = 3
SOUND = 10.5
"""Age of a decider when it is killed, in seconds. A younger one is replaced only after a pause."""
_PATIENCE = 300.0
_CALLER = "198.51.100.77"


class Figures(NamedTuple):
    """Result of one round: seconds to the next answer and to the next decision, datagrams sent and lost."""

    answer: float
    decision: float
    sent: int
    lost: int


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--legs", type=int, nargs="*", default=LEGS)
    parser.add_argument("--standby", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "store"
        made = books.make(given.accounts)
        request = made.requests["single"][0][0]
        served.store(store, _with_caller(made))
        del made
        message = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
        print(machine.interpreter())
        print(f"{'accounts':>10}{'legs':>9}{'standby':>9}{'next answer s':>22}{'next decision s':>22}{'lost':>12}")
        for standby in (False, True) if given.standby is None else (given.standby,):
            for legs in given.legs:
                found = _measure(store, legs, message, given.rounds, standby=standby)
                print(f"{given.accounts:>10}{legs:>9}{'yes' if standby else 'no':>9}", end="")
                for times in ([one.answer for one in found], [one.decision for one in found]):
                    print(f"{f'{median(times):.3f} (max {max(times):.3f})':>22}", end="")
                print(f"{sum(one.lost for one in found):>5} of {sum(one.sent for one in found)}", flush=True)


def _with_caller(made: books.Book) -> books.Book:
    """Return the book with an account without a limit of its own, which makes the calls."""
    client = Client(id=9_000_000, name="caller")
    account = Account(id=client.id, client_id=client.id, name="caller", ident_by=IdentBy.IP, ident=(_CALLER,))
    return made._replace(clients=[*made.clients, client], accounts=[*made.accounts, account])


def _measure(store: Path, legs: int, params: dict[str, object], rounds: int, *, standby: bool) -> list[Figures]:
    calls = Path(tempfile.mkdtemp(prefix="identengine-failover-", dir="/dev/shm"))
    port = _free_port()
    config = calls / "identengine.toml"
    config.write_text(
        f'[store]\npath = "{store}"\n[calls]\npath = "{calls}"\n'
        f"max_legs = {legs + 1000}\nglobal_capacity = {legs + 1}\n[listen]\n"
        f'udp = ["127.0.0.1:{port}"]\ntcp = ["127.0.0.1:{port}"]\nstandby = {str(standby).lower()}\n'
    )
    command = [sys.executable, "-m", "identengine", "serve", "--config", str(config)]
    log = (calls / "log").open("w+")
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server:  # noqa: S603
            try:
                served.ready(server)
                _hold(port, legs)
                figures = []
                for number in range(rounds):
                    # Each decider and each standby logs once that it has loaded the book.
                    _wait_until_said(calls / "log", "is in use", number + (2 if standby else 1))
                    figures.append(_round(server.pid, port, params))
                    _check_count(port, legs)
                return figures
            finally:
                server.send_signal(signal.SIGTERM)
    finally:
        log.close()
        shutil.rmtree(calls)


def _round(supervisor: int, port: int, params: dict[str, object]) -> Figures:
    """Kill the decider once, and keep asking until the book answers again."""
    decider = _decider(supervisor)
    time.sleep(SOUND)
    sent: dict[int, float] = {}
    answered: set[int] = set()
    answer = decision = killed = 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20
        )  # requests that waited are answered all at once
        udp.connect(("127.0.0.1", port))
        end = time.perf_counter() + _PATIENCE
        quiet = 0.0
        number = 0
        while not quiet or time.perf_counter() < quiet:
            now = time.perf_counter()
            if now > end:
                raise AssertionError("the server did not recover")
            if number == 100:
                os.kill(decider, signal.SIGKILL)
                killed = time.perf_counter()
            if not quiet:
                udp.send(_message("identify", number, params))
                sent[number] = now
                number += 1
            while select.select([udp], [], [], 0.001)[0]:
                reply = json.loads(udp.recv(2048))
                arrived = time.perf_counter()
                answered.add(reply["id"])
                if killed and sent[reply["id"]] > killed:
                    answer = answer or arrived - killed
                    if reply["result"].get("reason") != "not_ready":
                        decision = decision or arrived - killed
                        quiet = quiet or arrived + 0.5
    return Figures(answer, decision, len(sent), len(sent) - len(answered))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as some:
        return int(some.getsockname()[1])


def _hold(port: int, legs: int) -> None:
    """Make the server hold ``legs`` active calls."""
    with socket.create_connection(("127.0.0.1", port)) as tcp:
        said = tcp.makefile("rb")
        for first in range(0, legs, 100):
            some = range(first, min(first + 100, legs))
            call = {"interval": 80_000, "src_ip": _CALLER, "dst_number": "44"}
            tcp.sendall(b"".join(_message("update", n, {"call_id": f"held {n}", **call}) for n in some))
            for _ in some:
                if json.loads(said.readline())["result"] != {"ok": True}:
                    raise AssertionError("a call is not held")


def _check_count(port: int, legs: int) -> None:
    """Check that exactly one more call is accepted."""
    with socket.create_connection(("127.0.0.1", port)) as tcp:
        said = tcp.makefile("rb")
        call = {"src_ip": _CALLER, "dst_number": "44"}
        tcp.sendall(_message("authorize", 1, {"call_id": "last", **call}))
        tcp.sendall(_message("authorize", 2, {"call_id": "one more", **call}))
        tcp.sendall(_message("stop", 3, {"call_id": "last"}))
        last, more, stopped = (json.loads(said.readline())["result"] for _ in range(3))
        if not last["accepted"] or more.get("reason") != "global_capacity" or stopped["freed"] != 1:
            raise AssertionError(f"the calls are not {legs} any more: {last}, {more}, {stopped}")


def _message(method: str, number: int, params: dict[str, object]) -> bytes:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return msgspec.json.encode(message) + b"\n"


def _decider(supervisor: int) -> int:
    """Return the pid of the decider."""
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text().strip() == "ident-decider":
            return int(child)
    raise AssertionError("no process decides")


def _wait_until_said(log: Path, what: str, times: int) -> None:
    end = time.perf_counter() + _PATIENCE
    while log.read_text().count(what) < times:
        if time.perf_counter() > end:
            raise AssertionError(f"{what!r} was not logged {times} times:\n{log.read_text()}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
