"""The paths of HTTP and the role that each of them needs (interfaces.md 6): a plain ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from identengine.errors import IdentengineError
from identengine.log.events import HTTP_FAULT
from identengine.server.http.bodies import BodyError, read
from identengine.server.http.connection import Connection
from identengine.server.http.deciderclient import DeciderClient
from identengine.server.http.openapi import document
from identengine.server.http.problems import FAULT, NO_PATH, Problem, ProblemError, too_large, wrong_method
from identengine.server.http.roles import Caller, Role, Roles, Source
from identengine.server.http.statuscache import Health, StatusCache
from identengine.stats.metrics import CONTENT_TYPE, exposition
from identengine.wire.jsonrpc.methods import METHODS, MethodSpec

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON = "application/json"


class Services(NamedTuple):
    """The objects that handlers use."""

    roles: Roles
    decider: DeciderClient
    status_cache: StatusCache
    calls: Path
    """Folder of the set of calls."""
    on_malformed: Callable[[str, Problem], None]
    """Function that is called with the switch and the problem of each request with a malformed body."""


class Answer(NamedTuple):
    """The answer to a request."""

    body: bytes
    status: int = 200
    media_type: str = _JSON
    headers: Mapping[str, str] = {}


class _DisconnectedError(IdentengineError):
    """The client has disconnected before its request had arrived."""


class _Request:
    """A request whose body has not been read."""

    def __init__(self, scope: Scope, receive: Receive, services: Services, most_bytes: int) -> None:
        self.services = services
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._most_bytes = most_bytes
        self._connection: Connection = scope["state"]["connection"]
        host = scope["client"][0] if scope["client"] else ""
        forwarded = [value.decode("latin-1") for value in self._all(b"x-forwarded-for")]
        self._source: Source = services.roles.source(host, forwarded)
        self._connection.serve(self._source.host)

    def _all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self._headers if key == name]

    def caller(self, role: Role) -> Caller:
        """Return the caller, who needs a role. Raise ProblemError (401, 403) if it is refused."""
        given = self._all(b"authorization")
        text = given[0].decode(errors="surrogateescape") if given else None
        caller = self.services.roles.caller(text, self._source, role)
        if text is not None:
            self._connection.prove()
        return caller

    async def body(self) -> bytes:
        """Return the body. Raise ProblemError (413) if it is too large."""
        lengths = self._all(b"content-length")
        if lengths and int(lengths[0]) > self._most_bytes:
            raise BodyError(Problem(413, too_large(self._most_bytes)))
        body, more = bytearray(), True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise _DisconnectedError
            body += event["body"]
            if len(body) > self._most_bytes:
                raise BodyError(Problem(413, too_large(self._most_bytes)))
            more = event["more_body"]
        return bytes(body)


Handler: TypeAlias = Callable[[_Request], Awaitable[Answer]]


def _method(spec: MethodSpec) -> Handler:
    """Return the handler of a method. The body holds the parameters, the answer is the result."""

    async def handle(request: _Request) -> Answer:
        caller = request.caller("switch")
        try:
            params = read(await request.body(), spec.name, spec.params) if spec.has_params else None
        except BodyError as error:
            request.services.on_malformed(caller.name, error.problem)
            raise
        return Answer(bytes(await request.services.decider.ask(caller.name, spec.name, params)))

    return handle


_ALIVE = Answer(msgspec.json.encode(Health()))


async def _healthz(_: _Request) -> Answer:
    """Report that this process is alive."""
    return _ALIVE


async def _readyz(request: _Request) -> Answer:
    """Report whether calls may be sent here."""
    readiness = await request.services.status_cache.readiness()
    return Answer(msgspec.json.encode(readiness), 200 if readiness.ready else 503)


async def _metrics(request: _Request) -> Answer:
    """Return the metrics in the text format of Prometheus."""
    request.caller("read")
    status, accounts, clients = await request.services.status_cache.everything()
    return Answer(exposition(request.services.calls, status, accounts, clients), media_type=CONTENT_TYPE)


async def _openapi(_: _Request) -> Answer:
    """Return the description of the API."""
    return Answer(document())


PATHS: dict[str, tuple[str, Handler]] = {
    "/healthz": ("GET", _healthz),
    "/readyz": ("GET", _readyz),
    "/metrics": ("GET", _metrics),
    "/openapi.json": ("GET", _openapi),
    **{f"/v1/{spec.name}": ("POST", _method(spec)) for spec in METHODS.values() if not spec.connection_only},
}
"""Each path, with its HTTP method and its handler. Every path with GET has HEAD (RFC 9110, 9.1)."""


def application(services: Services, most_bytes: int) -> Application:
    """Return the application. A request body may have ``most_bytes``."""
    document()  # made now, so that no request waits for it

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await _answer(scope, _Request(scope, receive, services, most_bytes))
        except ProblemError as error:
            answer = _of_problem(error)
        except _DisconnectedError:
            return
        except Exception as error:
            HTTP_FAULT.tell(error)
            answer = _of_problem(ProblemError(Problem(500, FAULT)))
        headers = {"content-type": answer.media_type, "content-length": str(len(answer.body)), **answer.headers}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    return application


async def _answer(scope: Scope, request: _Request) -> Answer:
    """Return the answer to a request. Raise ProblemError if there is none."""
    found = PATHS.get(scope["path"])
    if found is None:
        raise ProblemError(Problem(404, NO_PATH))
    method, handler = found
    if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
        allowed = "GET, HEAD" if method == "GET" else method
        raise ProblemError(Problem(405, wrong_method(scope["method"])), {"allow": allowed})
    return await handler(request)


def _of_problem(error: ProblemError) -> Answer:
    return Answer(msgspec.json.encode(error.problem), error.problem.status, _JSON, error.headers)
