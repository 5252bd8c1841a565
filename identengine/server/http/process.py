"""The life of the process for HTTP: the supervisor forks it, hears that it lives, and replaces it when it dies.

SIGTERM and SIGINT: what is asked by now is answered. The supervisor sends a new config: tokens, switches, limits
and proxies count at once, and the files of the certificate are read again. Whatever happens here, the process that
decides goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate

import msgspec
import uvloop
from litestar.types import Receive, Scope, Send
from uvicorn.config import Config as UvicornConfig

from identengine.config.schema import Config
from identengine.errors import ConfigError
from identengine.log import handlers
from identengine.log.events import CERTIFICATES_UNUSABLE, CONFIG_PROBLEM, HTTP_ENDS
from identengine.log.rejects import RejectLog
from identengine.net.sockets import ASK
from identengine.net.tcp.tls import context_of
from identengine.net.unix import at_folder
from identengine.server.http.acceptor import Acceptor, Refusal
from identengine.server.http.deciderclient import DeciderClient
from identengine.server.http.roles import Roles, is_loopback
from identengine.server.http.routes import Services, application
from identengine.server.http.statuscache import StatusCache
from identengine.server.link import READY, ChildEnd, Duty, name_process
from identengine.wire.operator import Counted

END_SECONDS = 4.0
"""How long requests that are under way have to end."""
COUNT_SECONDS = 1.0
"""Between two times at which the decider, who writes the counters, is told what was refused here."""
LAST_COUNT_SECONDS = 0.5
"""How long that may take at the end."""
DATE_SECONDS = 0.5
"""Between two looks at the clock for the header that tells the date."""
_COUNTED: dict[str, Counted] = {
    "unknown_peer": "connections_refused_unknown_peer",
    "too_many": "connections_refused_too_many",
    "too_many_of_switch": "connections_refused_too_many_of_switch",
}
_FILES = 256
"""Files that a process has open besides its connections, at most."""


def serve_http(config: Config, duty: Duty) -> int:
    """Serve HTTP until SIGTERM or SIGINT; returns the exit status. 1: the certificate cannot be used."""
    duty.sockets.close_deciders()
    handlers.set_up(config.log)
    name_process("ident-http")
    try:
        return uvloop.run(_HttpProcess(config, duty).serve())
    except ConfigError as error:
        for problem in error.problems:
            CONFIG_PROBLEM.tell(what=problem)
        return 1
    finally:
        handlers.finish()


class _HttpProcess:
    """One run of the process."""

    _acceptor: Acceptor

    def __init__(self, config: Config, duty: Duty) -> None:
        self._config = config
        assert duty.sockets.http is not None  # noqa: S101 - else there is no such process
        self._socket = duty.sockets.http
        self._link = ChildEnd(duty, READY)
        self._stop = asyncio.Event()
        self._decider = DeciderClient(self._connect, config.limits.message_bytes)
        self._status_cache = StatusCache(config.calls.path)
        self._uncounted: Counter[Counted] = Counter()
        """What the decider was not told yet."""

    async def serve(self) -> int:
        with self._link.attend(end=self._stop.set, orphaned=self._on_orphaned, reconfigure=self._reconfigure):
            self._open_acceptor()
            works = self._link.beat(), self._keep_date(), self._count()
            background = [asyncio.create_task(work) for work in works]
            await self._stop.wait()
            await self._end(background)
        return 0

    def _open_acceptor(self) -> None:
        """Let connections in from now on."""
        loop = asyncio.get_running_loop()
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
        self._acceptor = Acceptor(self._socket, self._settings, self._config.limits, self._context(self._config))
        self._acceptor.on_refused = self._on_refused
        self._apply(self._config)
        self._acceptor.open()

    async def _end(self, background: list[asyncio.Task[None]]) -> None:
        """Answer what is asked by now, and tell the decider what there is to count."""
        self._status_cache.draining = True
        await self._acceptor.close(END_SECONDS)
        for task in background:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_COUNT_SECONDS):
                await self._tell_counts()
        self._decider.close()
        self._refused.write()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by the application that is in force."""
        await self._application(scope, receive, send)

    def _apply(self, config: Config) -> None:
        """Go by this config from now on."""
        self._config = config
        limits = config.limits
        roles = Roles(config, self._on_wrong_token)
        self._decider.most_bytes = limits.message_bytes
        services = Services(roles, self._decider, self._status_cache, config.calls.path)
        self._application = application(services, limits.message_bytes)
        acceptor = self._acceptor
        acceptor.limits = limits
        self._settings.timeout_keep_alive = limits.idle_seconds
        acceptor.shares = roles.is_proxy
        endpoint = config.listen.http
        clear = acceptor.context is None and endpoint is not None and not is_loopback(endpoint.host)
        acceptor.admits = (lambda host: roles.is_proxy(host) or is_loopback(host)) if clear else (lambda _: True)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(limits.connections + _FILES, hard)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    def _reconfigure(self, config: Config) -> None:
        """Go by another config from now on, and read the certificate again."""
        handlers.set_up(config.log)
        try:
            self._acceptor.context = self._context(config)
        except ConfigError as error:
            CERTIFICATES_UNUSABLE.tell(what=str(error))
        self._apply(config)

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
        if told and await self._status_cache.count(told):
            self._uncounted -= told

    def _on_orphaned(self) -> None:
        """End, as the supervisor is there no more, so that another can start."""
        HTTP_ENDS.tell()
        self._stop.set()

    async def _keep_date(self) -> None:
        """Tell connections what time it is."""
        while True:
            self._acceptor.state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
            await asyncio.sleep(DATE_SECONDS)
