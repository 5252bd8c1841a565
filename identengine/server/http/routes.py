"""The paths of HTTP and the role that each of them needs (interfaces.md 6)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import litestar
import msgspec
from litestar import Litestar, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.types import (
    ASGIApp,
    ControllerRouterHandler,
    Guard,
    HTTPReceiveMessage,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)

from identengine.log.events import HTTP_FAULT
from identengine.server.http.bodies import BodyError, read
from identengine.server.http.deciderclient import DeciderClient
from identengine.server.http.openapi import document
from identengine.server.http.problems import (
    FAULT,
    NO_OBJECT,
    NO_PATH,
    Problem,
    ProblemError,
    too_large,
    wrong_method,
)
from identengine.server.http.roles import Role, Roles
from identengine.server.http.statuscache import Health, Readiness, StatusCache
from identengine.stats.metrics import CONTENT_TYPE, exposition
from identengine.wire.jsonrpc.methods import METHODS, MethodSpec

Http: TypeAlias = litestar.Request[Any, Any, State]
_GONE = "gone"
"""Key in the state of a request: True if the client has disconnected."""


class Services(NamedTuple):
    """The objects that handlers use."""

    roles: Roles
    decider: DeciderClient
    status_cache: StatusCache
    calls: Path
    """Folder of the set of calls."""
    on_malformed: Callable[[str, Problem], None]
    """Function that is called with the switch and the problem of each request with a malformed body."""


def _needs(role: Role) -> Guard:
    """Return a guard that admits callers with a role and stores the caller in the state of the request."""

    def guard(connection: ASGIConnection[Any, Any, Any, State], _: BaseRouteHandler) -> None:
        roles: Roles = connection.app.state.services.roles
        host = connection.client.host if connection.client else ""
        source = roles.source(host, connection.headers.getall("x-forwarded-for", []))
        given = connection.headers.get("authorization")
        if given is not None:  # the framework decodes headers as Latin-1, but a token is UTF-8
            given = given.encode("latin-1").decode(errors="surrogateescape")
        connection.state.caller = roles.caller(given, source, role)

    return guard


def _route(spec: MethodSpec) -> ControllerRouterHandler:
    """Return the route of a method. The body holds the parameters, the answer is the result."""

    async def handle(request: Http) -> Response[msgspec.Raw]:
        services: Services = request.app.state.services
        params = read(await request.body(), spec.name, spec.params) if spec.has_params else None
        result = await services.decider.ask(request.state.caller.name, spec.name, params)
        return Response(result, media_type="application/json")

    return post(f"/{spec.name}", name=spec.name, status_code=200)(handle)


@get("/healthz")
async def healthz() -> Health:
    """Report that this process is alive."""
    return Health()


@get("/readyz")
async def readyz(request: Http) -> Response[Readiness]:
    """Report whether calls may be sent here."""
    services: Services = request.app.state.services
    readiness = await services.status_cache.readiness()
    return Response(readiness, status_code=200 if readiness.ready else 503)


@get("/metrics", guards=[_needs("read")], media_type="text/plain")
async def metrics(request: Http) -> Response[str]:
    """Return the metrics in the text format of Prometheus."""
    services: Services = request.app.state.services
    status, accounts, clients = await services.status_cache.everything()
    text = exposition(services.calls, status, accounts, clients)
    return Response(text.decode(), media_type="text/plain", headers={"Content-Type": CONTENT_TYPE})


@get("/openapi.json")
async def openapi() -> Response[msgspec.Raw]:
    """Return the description of the API."""
    return Response(msgspec.Raw(document()), media_type="application/json")


_METHODS = Router(
    "/v1",
    route_handlers=[_route(spec) for spec in METHODS.values() if not spec.connection_only],
    guards=[_needs("switch")],
)


def application(services: Services, most_bytes: int) -> ASGIApp:
    """Return the application. A request body may have ``most_bytes``."""
    litestar_app = Litestar(
        [_METHODS, healthz, readyz, metrics, openapi],
        state=State({"services": services}),
        request_max_body_size=most_bytes,
        openapi_config=None,
        logging_config=None,
        exception_handlers={
            ProblemError: _on_problem,
            HTTPException: _on_misuse(most_bytes),
            Exception: _on_fault,
        },
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            event = await receive()
            if event["type"] == "http.disconnect":
                scope["state"][_GONE] = True
            return event

        # Every path with GET has HEAD (RFC 9110, 9.1). uvicorn keeps the original scope and sends no body then.
        seen = cast("Scope", {**scope, "method": "GET"}) if scope.get("method") == "HEAD" else scope
        await litestar_app(seen, watched, send)

    return answer


def _answer(problem: Problem, headers: dict[str, str]) -> Response[Problem]:
    return Response(problem, status_code=problem.status, headers=headers, media_type="application/json")


def _on_problem(request: Http, error: ProblemError) -> Response[Problem]:
    if isinstance(error, BodyError):
        _count_malformed(request, error.problem)
    return _answer(error.problem, error.headers)


def _on_misuse(most_bytes: int) -> Callable[[Http, HTTPException], Response[Problem]]:
    """Return the handler of the framework's errors, which answers them in the shape of all errors."""

    def handle(request: Http, error: HTTPException) -> Response[Problem]:
        if error.status_code >= 500:
            return _on_fault(request, error)
        message = {
            400: NO_OBJECT,
            404: NO_PATH,
            405: wrong_method(request.method),
            413: too_large(most_bytes),
        }.get(error.status_code, error.detail)
        problem = Problem(error.status_code, message)
        if error.status_code in (400, 413):
            _count_malformed(request, problem)
        return _answer(problem, dict(error.headers or {}))

    return handle


def _count_malformed(request: Http, problem: Problem) -> None:
    caller = request.state.get("caller")
    if caller is not None and caller.role == "switch":
        services: Services = request.app.state.services
        services.on_malformed(caller.name, problem)


def _on_fault(request: Http, error: Exception) -> Response[Problem]:
    if not request.scope["state"].get(_GONE):  # the framework raises an error if a client disconnects
        HTTP_FAULT.tell(error)
    return _answer(Problem(500, FAULT), {})
