"""Redis 7: a Lua script finds the account and takes a slot of its limit; the end of the call frees it.

The set-up follows common practice. A field of a hash holds all tech prefixes of an exact key, the longest first.
That is a third faster than a field for each length. The calls of an account are a number in another hash.
``authorize`` is one EVALSHA. A ``stop`` is one HINCRBY -1 by the caller, who remembers the account. There is no
call id: a call that is authorized or stopped twice goes unnoticed, and the slot of a caller that died is never
freed. The second form takes and frees the slot in one script. Nothing is written to disk.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterable, Iterator
from io import BufferedReader
from itertools import groupby
from pathlib import Path

from benchmarks.generator import Options
from benchmarks.messages import pipelined
from benchmarks.peers import Case, Entry, MissingError, Peer, Served, entries
from benchmarks.peers.asking import Ask, by_generator
from benchmarks.peers.processes import find, free_port, running, version
from benchmarks.switches import resp
from benchmarks.workload import Workload, order

_FIND_AND_TAKE = """\
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known then return false end
local number = ARGV[2]
for prefix, account, limit in string.gmatch(known, '([^=|]*)=(%d+),(%d+)') do
    if string.sub(number, 1, #prefix) == prefix then
        if redis.call('HINCRBY', KEYS[2], account, 1) > tonumber(limit) then
            redis.call('HINCRBY', KEYS[2], account, -1)
            return 'full'
        end
        GIVE_BACK
        return account
    end
end
return false
"""
CONNECTIONS, PIPELINED = 50, 16
"""Connections of a client, and its requests in flight on each. The engine is asked in the same way."""
_BOOK, _LIVE = "book", "live"
_PATIENCE = 20.0
"""Time limit of a reply, in seconds. TCP loses none."""
_OPTIONS = Options(count=1, in_order=True, framing="resp", timeout=_PATIENCE)
_BOTH = "slot taken and given back in one request"
_CAVEATS = ("exact keys only", "counts calls without knowing them: no call ids, no leases")


@contextlib.contextmanager
def _serve(folder: Path, workload: Workload) -> Iterator[Served]:
    program = find("redis-server")
    if program is None:
        raise MissingError(PEER.packages)
    port = free_port(socket.SOCK_STREAM)
    options = ("--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder)
    with (
        running([program, *map(str, options)], folder / "log", lambda: _pongs(port)) as pid,
        _Client(port) as client,
    ):
        client.all(_told(entries(workload)))
        take, both = _load_scripts(client)
        pairs = _pairs(workload, take)
        single = _asks(workload, both)

        def case(name: str, asks: list[Ask], requests_a_call: int, flying: int, *caveats: str) -> Case:
            made = by_generator(
                f"Redis Lua, {name}, {CONNECTIONS} connections x {flying}",
                pid,
                f"tcp:127.0.0.1:{port}",
                pipelined(_OPTIONS, CONNECTIONS, flying),
                folder,
                asks,
                answer=client.answer,
                account=_account,
                requests_a_call=requests_a_call,
                caveats=(*_CAVEATS, *caveats),
            )

            def check() -> int:
                count = made.check()
                client.one("DEL", _LIVE)  # the last calls were not stopped
                return count

            return made._replace(check=check)

        yield Served(
            version(program, "--version"),
            pid,
            (
                case("EVALSHA authorize and HINCRBY stop", pairs, 2, PIPELINED),
                case("EVALSHA authorize and HINCRBY stop", pairs, 2, 1),
                case("one script takes and gives back", single, 1, PIPELINED, _BOTH),
            ),
        )


class _Client:
    """A connection that sends one command at a time, or many at once."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._said: BufferedReader = self._socket.makefile("rb")

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._said.close()
        self._socket.close()

    def one(self, *words: str) -> str:
        """Return the reply to one command. Raise RuntimeError if it is an error."""
        self._socket.sendall(resp(*words))
        said = self._reply()
        if said.startswith(b"-"):
            raise RuntimeError(said.decode())
        return said.rpartition(b"\r\n")[0].rpartition(b"\r\n")[2].decode()

    def all(self, commands: Iterable[bytes]) -> None:
        """Send many commands whose replies are integers."""
        for some in _chunks(commands):
            self._socket.sendall(b"".join(some))
            for _ in some:
                if not self._said.readline().startswith(b":"):
                    raise RuntimeError("Redis rejected a part of the book")

    def answer(self, ask: Ask) -> bytes:
        """Return the whole reply to one request."""
        self._socket.sendall(ask.payload)
        return self._reply()

    def _reply(self) -> bytes:
        line = self._said.readline()
        if line.startswith(b"$") and (length := int(line[1:])) >= 0:
            line += self._said.read(length + 2)
        return line


def _chunks(commands: Iterable[bytes]) -> Iterator[list[bytes]]:
    for _, some in groupby(enumerate(commands), key=lambda numbered: numbered[0] // 1000):
        yield [command for _, command in some]


def _pongs(port: int) -> bool:
    with _Client(port) as client:
        return client.one("PING") == "+PONG"


def _told(known: list[Entry]) -> Iterator[bytes]:
    for key, some in groupby(known, key=lambda entry: entry.key):
        yield resp(
            "HSET", _BOOK, key, "|".join(f"{one.tech_prefix}={one.account_id},{one.capacity}" for one in some)
        )


def _load_scripts(client: _Client) -> tuple[str, str]:
    """Load the script that takes a slot and the one that also frees it. Return their hashes."""
    take = client.one("SCRIPT", "LOAD", _FIND_AND_TAKE.replace("GIVE_BACK", ""))
    give_back = "redis.call('HINCRBY', KEYS[2], account, -1)"
    return take, client.one("SCRIPT", "LOAD", _FIND_AND_TAKE.replace("GIVE_BACK", give_back))


def _asks(workload: Workload, script: str) -> list[Ask]:
    """Return the request for each call of the workload."""
    return [
        Ask(
            resp("EVALSHA", script, "2", _BOOK, _LIVE, call.key, call.request.dst_number or ""),
            call.account_id,
            b"\r\n%d\r\n" % call.account_id,
            lane=place,
        )
        for place, call in enumerate(workload.calls)
    ]


def _pairs(workload: Workload, script: str) -> list[Ask]:
    """Return two requests for each call in the order of the workload, both on the same connection."""
    begins = _asks(workload, script)
    return [
        Ask(resp("HINCRBY", _LIVE, str(step.call.account_id), "-1"), None, b":", step.place)
        if step.method == "stop"
        else begins[step.place]
        for step in order(workload.calls)
    ]


def _account(answer: bytes) -> int | None:
    """Return the account that a reply names, or None as for a stop."""
    found = re.fullmatch(rb"\$\d+\r\n(\d+)\r\n", answer)
    return int(found[1]) if found else None


PEER = Peer("Redis", "redis-server", _serve)
