"""The HTTP process. The supervisor forks it, checks that it is alive, and replaces it if it dies.

On SIGTERM or SIGINT it answers the requests that have arrived, then exits. When the supervisor sends a new config,
its tokens, switches, limits and proxies apply at once, and the certificate is read again. A failure of this
process does not affect the decider.
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
from typing import cast

import msgspec
import uvloop
from uvicorn.config import Config as UvicornConfig

from identengine.config.schema import Config
from identengine.errors import ConfigError
from identengine.log import handlers
from identengine.log.events import CERTIFICATES_UNUSABLE, CONFIG_PROBLEM, HTTP_ENDS
from identengine.log.rejects import RejectLog
from identengine.net.sockets import ASK
from identengine.net.tcp.tls import context_of
from identengine.net.unix import at_folder, peer_of
from identengine.server.http.acceptor import Acceptor
from identengine.server.http.admission import Refusal
from identengine.server.http.deciderclient import DeciderClient
from identengine.server.http.problems import Problem
from identengine.server.http.roles import Roles, is_loopback
from identengine.server.http.routes import Receive, Scope, Send, Services, application
from identengine.server.http.statuscache import StatusCache
from identengine.server.link import READY, ChildEnd, Duty, name_process
from identengine.wire.codes import BAD_PARAMS, PARSE_ERROR
from identengine.wire.jsonrpc.codec import JSON
from identengine.wire.operator import Counted, MalformedCode, MalformedCount

END_SECONDS = 4.0
"""The time in which pending requests are answered during a drain, in seconds."""
COUNT_SECONDS = 1.0
"""The interval between two reports of refused clients to the decider, which keeps the counters, in seconds."""
LAST_COUNT_SECONDS = 0.5
"""The time limit of the last report, in seconds."""
DATE_SECONDS = 0.5
"""The interval between two updates of the Date header, in seconds."""
_COUNTED: dict[str, Counted] = {
    "unknown_peer": "connections_refused_unknown_peer",
    "too_many": "connections_refused_too_many",
    "too_many_of_switch": "connections_refused_too_many_of_switch",
}
_FILES = 256
"""The maximum number of open files of the process, without its connections."""


def serve_http(config: Config, duty: Duty) -> int:
    """Serve HTTP until SIGTERM or SIGINT. Return the exit status: 1 if the certificate cannot be used."""
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
    """The state of the HTTP process."""

    _acceptor: Acceptor

    def __init__(self, config: Config, duty: Duty) -> None:
        self._config = config
        assert duty.sockets.http is not None  # noqa: S101 - without it this process is not started
        self._socket = duty.sockets.http
        self._link = ChildEnd(duty, READY)
        self._stop = asyncio.Event()
        self._decider = DeciderClient(self._connect, config.limits.message_bytes)
        self._status_cache = StatusCache(config.calls.path)
        self._uncounted: Counter[Counted] = Counter()
        """Refusals that were not reported to the decider yet."""
        self._malformed: Counter[tuple[str, MalformedCode]] = Counter()
        """Malformed requests that were not reported to the decider yet, by switch and code."""

    async def serve(self) -> int:
        with self._link.attend(end=self._stop.set, orphaned=self._on_orphaned, reconfigure=self._reconfigure):
            self._open_acceptor()
            works = self._link.beat(), self._keep_date(), self._count()
            background = [asyncio.create_task(work) for work in works]
            await self._stop.wait()
            await self._end(background)
        return 0

    def _open_acceptor(self) -> None:
        """Begin to accept connections."""
        loop = asyncio.get_running_loop()
        self._refused, self._malformed_log = (
            RejectLog(lambda write: loop.call_later(1.0, write)) for _ in range(2)
        )
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
        self._acceptor.admission.on_refused = self._on_refused
        self._apply(self._config)
        self._acceptor.open()

    async def _end(self, background: list[asyncio.Task[None]]) -> None:
        """Answer the requests that have arrived, and report the last refusals to the decider."""
        self._status_cache.draining = True
        await self._acceptor.close(END_SECONDS)
        for task in background:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_COUNT_SECONDS):
                await self._report_counts()
        self._decider.close()
        self._refused.write()
        self._malformed_log.write()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by the current application, which a new config replaces."""
        await self._application(scope, receive, send)

    def _apply(self, config: Config) -> None:
        """Apply a config."""
        self._config = config
        limits = config.limits
        roles = Roles(config, self._on_wrong_token)
        self._decider.most_bytes = limits.message_bytes
        services = Services(roles, self._decider, self._status_cache, config.calls.path, self._on_malformed)
        self._application = application(services, limits.message_bytes)
        acceptor = self._acceptor
        acceptor.admission.limits = limits
        acceptor.admission.shares = roles.is_proxy
        endpoint = config.listen.http
        clear = acceptor.context is None and endpoint is not None and not is_loopback(endpoint.host)
        acceptor.admits = (lambda host: roles.is_proxy(host) or is_loopback(host)) if clear else (lambda _: True)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(limits.connections + _FILES, hard)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    def _reconfigure(self, config: Config) -> None:
        """Apply a new config, and read the certificate again."""
        handlers.set_up(config.log)
        try:
            self._acceptor.context = self._context(config)
        except ConfigError as error:
            CERTIFICATES_UNUSABLE.tell(what=str(error))
        self._apply(config)

    def _context(self, config: Config) -> ssl.SSLContext | None:
        """Return the TLS context, or None for HTTP in clear. No client needs a certificate: tokens suffice."""
        if not config.http.tls:
            return None
        return context_of(msgspec.structs.replace(config.tls, client_ca=None))

    async def _connect(
        self, protocol: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Connect to the decider."""
        folder = self._config.calls.path
        with at_folder(folder, ASK) as name:
            transport, made = await asyncio.get_running_loop().create_unix_connection(protocol, name)
        try:
            peer_of(transport.get_extra_info("socket")).require_server(folder)
        except OSError:
            transport.abort()
            raise
        return transport, made

    def _on_refused(self, host: str, refusal: Refusal) -> None:
        self._refused.note(host, f"HTTP: {refusal.said}")
        self._uncounted[_COUNTED[refusal.counted]] += 1

    def _on_wrong_token(self, host: str, why: str) -> None:
        self._refused.note(host, why)
        self._uncounted["wrong_tokens"] += 1

    def _on_malformed(self, switch: str, problem: Problem) -> None:
        # Without a code the framework refused the body: it is too large, or not an object.
        code = problem.code or (PARSE_ERROR if problem.status == 413 else BAD_PARAMS)
        value = None if problem.value is msgspec.UNSET else JSON.shown(bytes(problem.value))
        self._malformed_log.malformed(switch, None, code, problem.message, problem.field, value)
        self._malformed[switch, cast("MalformedCode", code)] += 1

    async def _count(self) -> None:
        """Report refusals and malformed requests to the decider at intervals."""
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            await self._report_counts()

    async def _report_counts(self) -> None:
        refused, malformed = self._uncounted.copy(), self._malformed.copy()
        rows = [MalformedCount(switch, code, count) for (switch, code), count in malformed.items()]
        if (refused or rows) and await self._status_cache.count(refused, rows):
            self._uncounted -= refused
            self._malformed -= malformed

    def _on_orphaned(self) -> None:
        """Stop, since the supervisor has died, so that another one can start."""
        HTTP_ENDS.tell()
        self._stop.set()

    async def _keep_date(self) -> None:
        """Keep the Date header of answers current."""
        while True:
            self._acceptor.state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
            await asyncio.sleep(DATE_SECONDS)
