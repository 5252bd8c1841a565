"""A relay between a client and a server over UDP that drops requests on demand."""

from __future__ import annotations

import select
import socket
import threading
from typing import Self

HOST = "127.0.0.1"


class Relay:
    """A context manager that forwards datagrams to a server, each client through its own socket."""

    def __init__(self, port: int, every: int = 0) -> None:
        """Forward to ``port`` on loopback. Drop each ``every``-th request unless that is 0."""
        self.dropped: list[bytes] = []
        self._server = (HOST, port)
        self._every = every
        self.count = 0
        """Number of requests that arrived."""
        self._drop = 0
        self._front = socket.socket(type=socket.SOCK_DGRAM)
        self._front.bind((HOST, 0))
        self.port: int = self._front.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.close()
        self._thread.join()
        self._front.close()
        self._woken.close()

    def drop(self, count: int) -> None:
        """Drop the next ``count`` requests."""
        self._drop = count

    def _run(self) -> None:
        backs: dict[socket.socket, tuple[str, int]] = {}
        by_client: dict[tuple[str, int], socket.socket] = {}
        while True:
            ready, _, _ = select.select([self._woken, self._front, *backs], [], [])
            if self._woken in ready:
                break
            for one in ready:
                if one is not self._front:
                    self._front.sendto(one.recv(65536), backs[one])
                    continue
                data, client = one.recvfrom(65536)
                self.count += 1
                if self._drop or (self._every and self.count % self._every == 0):
                    self._drop = max(0, self._drop - 1)
                    self.dropped.append(data)
                    continue
                if client not in by_client:
                    by_client[client] = back = socket.socket(type=socket.SOCK_DGRAM)
                    back.connect(self._server)
                    backs[back] = client
                by_client[client].send(data)
        for back in backs:
            back.close()
