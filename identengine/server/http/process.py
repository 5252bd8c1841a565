"""The life of the process for HTTP: the supervisor forks it, hears that it lives, and replaces it when it dies.

SIGTERM and SIGINT: what is asked by now is answered. SIGHUP reads the config again: tokens, switches, limits,
proxies, and the files of the certificate. Whatever happens here, the process that decides goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop
from litestar.types import Receive, Scope, Send
from uvicorn.config import Config as UvicornConfig

from identengine.config import schema as configuration
from identengine.config.schema import Config
from identengine.errors import ConfigError
from identengine.log import handlers as logsetup
from identengine.log.events import CERTIFICATES_UNUSABLE, CONFIG_PROBLEM, FRONT_ENDS, HTTP_REREAD
from identengine.log.rejects import RejectLog
from identengine.net.sockets import ASK
from identengine.net.tcp.tls import context_of
from identengine.net.unix import at_folder
from identengine.server.http.acceptor import Door, Refusal
from identengine.server.http.deciderclient import Links
from identengine.server.http.roles import Roles, is_loopback
from identengine.server.http.routes import Services, application
from identengine.server.http.statuscache import Watch
from identengine.wire.operator import Counted

END_SECONDS = 4.0
"""How long requests that are under way have to end."""
BEAT_SECONDS = 0.5
"""Between two signs of life to the supervisor."""
COUNT_SECONDS = 1.0
"""Between two times at which the decider, who writes the counters, is told what was refused here."""
LAST_COUNT_SECONDS = 0.5
"""How long that may take at the end."""
SERVING = b"r"
"""What it tells the supervisor as its sign of life."""
_COUNTED: dict[str, Counted] = {
    "unknown_peer": "connections_refused_unknown_peer",
    "too_many": "connections_refused_too_many",
    "too_many_of_switch": "connections_refused_too_many_of_switch",
}
_FILES = 256
"""Files that a process has open besides its connections, at most."""


class Duty(NamedTuple):
    """What the process gets from the supervisor that forks it."""

    http: socket.socket
    """Where clients connect: it listens, and does not block."""
    link: socket.socket
    """A stream socket that does not block; the supervisor has the other end."""
    mask: frozenset[int]
    """The signals to block once the process hears them."""


def front(config: Config, duty: Duty) -> int:
    """Serve HTTP until SIGTERM or SIGINT; returns the exit status. 1: the certificate cannot be used."""
    logsetup.set_up(config.log)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("ident-front", encoding="ascii")
    try:
        return uvloop.run(_Front(config, duty).serve())
    except ConfigError as error:
        for problem in error.problems:
            CONFIG_PROBLEM.tell(what=problem)
        return 1
    finally:
        logsetup.finish()


class _Front:
    """One run of the process."""

    _door: Door

    def __init__(self, config: Config, duty: Duty) -> None:
        self._config = config
        self._duty = duty
        self._stop = asyncio.Event()
        self._links = Links(self._connect, config.limits.message_bytes)
        self._watch = Watch(config.calls.path)
        self._uncounted: Counter[Counted] = Counter()
        """What the decider was not told yet."""

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_reader(self._duty.link, self._hear)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._duty.mask)  # what came since the fork is heard now
        self._refused = RejectLog(lambda write: loop.call_later(1.0, write))
        self._settings = UvicornConfig(
            self._app,
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._settings.load()
        self._door = Door(self._duty.http, self._settings, self._config.limits, self._context(self._config))
        self._door.on_refused = self._on_refused
        self._apply(self._config)
        self._door.open()
        background = [asyncio.create_task(self._beat()), asyncio.create_task(self._count())]
        await self._stop.wait()
        self._watch.draining = True
        await self._door.close(END_SECONDS)
        for task in background:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_COUNT_SECONDS):
                await self._tell_counts()
        self._links.close()
        self._refused.write()
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        return 0

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by the application that is in force."""
        await self._application(scope, receive, send)

    def _apply(self, config: Config) -> None:
        """Go by this config from now on."""
        self._config = config
        limits = config.limits
        roles = Roles(config, self._on_wrong_token)
        self._links.most_bytes = limits.message_bytes
        services = Services(roles, self._links, self._watch, config.calls.path)
        self._application = application(services, limits.message_bytes)
        door = self._door
        door.limits = limits
        self._settings.timeout_keep_alive = limits.idle_seconds
        door.shares = roles.is_proxy
        endpoint = config.listen.http
        clear = door.context is None and endpoint is not None and not is_loopback(endpoint.host)
        door.admits = (lambda host: roles.is_proxy(host) or is_loopback(host)) if clear else (lambda _: True)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(limits.connections + _FILES, hard)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    def _reload(self) -> None:
        """Read the config again; what is wrong with it, or cannot change, the process that decides says."""
        if self._config.source is None:
            return
        try:
            new = configuration.reread(self._config)[0]
        except ConfigError:
            return
        logsetup.set_up(new.log)
        try:
            self._door.context = self._context(new)
        except ConfigError as error:
            CERTIFICATES_UNUSABLE.tell(what=str(error))
        self._apply(new)
        HTTP_REREAD.tell()

    def _context(self, config: Config) -> ssl.SSLContext | None:
        """Return what TLS is spoken with, if it is. Tokens tell who comes, so that no certificate is asked for."""
        if not config.http.tls:
            return None
        return context_of(msgspec.structs.replace(config.tls, client_ca=None))

    async def _connect(
        self, protocol: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Connect to the process that decides."""
        with at_folder(self._config.calls.path, ASK) as name:
            return await asyncio.get_running_loop().create_unix_connection(protocol, name)

    def _on_refused(self, host: str, refusal: Refusal) -> None:
        self._refused.note(host, f"HTTP: {refusal.said}")
        self._uncounted[_COUNTED[refusal.counted]] += 1

    def _on_wrong_token(self, host: str, why: str) -> None:
        self._refused.note(host, why)
        self._uncounted["wrong_tokens"] += 1

    async def _count(self) -> None:
        """Tell the decider now and then what there is to count."""
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            await self._tell_counts()

    async def _tell_counts(self) -> None:
        told = self._uncounted.copy()
        if told and await self._watch.count(told):
            self._uncounted -= told

    def _hear(self) -> None:
        """End when the supervisor is there no more, so that another can start."""
        try:
            gone = not self._duty.link.recv(16)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            asyncio.get_running_loop().remove_reader(self._duty.link)
            FRONT_ENDS.tell()
            self._stop.set()

    async def _beat(self) -> None:
        """Tell the supervisor that the loop turns, and connections what time it is."""
        while True:
            with contextlib.suppress(OSError):  # it is full or gone
                self._duty.link.send(SERVING)
            self._door.state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
            await asyncio.sleep(BEAT_SECONDS)
