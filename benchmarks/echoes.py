"""Servers that send back what they receive: the limits of the machine, and of Python on it.

``python -m benchmarks.echoes uvloop|batched|uvloop-tcp`` serves on a free port of 127.0.0.1, prints the port, and
stops when its standard input closes. A fourth one, ``c``, is a small program next to the generator.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import uvloop

from benchmarks import generator, machine
from benchmarks.served import Program
from identengine.net.udp.mmsg import batched

HOST = "127.0.0.1"
LABELS = {
    "c": "echo in C, recvmmsg and sendmmsg",
    "batched": "echo in Python, recvmmsg and sendmmsg",
    "uvloop": "bare uvloop UDP echo",
    "uvloop-tcp": "bare uvloop TCP echo",
}


class Echo(NamedTuple):
    """A running echo server."""

    pid: int
    port: int


@contextmanager
def echoing(kind: str, python: Path = Path(sys.executable)) -> Iterator[Echo]:
    """Run an echo server on the server's core during the block."""
    program = Program(python, module=("benchmarks.echoes", kind))
    command = program.command
    if kind == "c":
        command = [str(generator.program("echo"))]
    with machine.on_core(machine.cores()[1]):
        process = subprocess.Popen(  # noqa: S603 - ours
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=program.tree,
            env=program.environment,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Echo(process.pid, int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._send = cast(
            asyncio.DatagramTransport, transport
        ).sendto  # transports of uvloop do not derive from this class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._send(data, addr)


class _Stream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.WriteTransport, transport).write

    def data_received(self, data: bytes) -> None:
        self._write(data)


async def _serve(kind: str) -> None:
    loop = asyncio.get_running_loop()
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "uvloop-tcp" else socket.SOCK_DGRAM)
    bound.bind((HOST, 0))
    bound.setblocking(False)
    port = bound.getsockname()[1]  # uvloop takes ownership of the socket
    if kind == "uvloop":
        await loop.create_datagram_endpoint(_Datagrams, sock=bound)
    elif kind == "uvloop-tcp":
        await loop.create_server(_Stream, sock=bound)
    else:
        batch = batched(bound, 65536)
        loop.add_reader(bound, lambda: batch.send(batch.receive()))
    print(port, flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
