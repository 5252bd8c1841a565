"""What there is under which path, and who may (interfaces.md 6). The web console will be more of this."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import litestar
import msgspec
from litestar import Litestar, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import JSONBody
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
from identengine.server.http.bodies import NO_BODY, Body, BodyError, describe
from identengine.server.http.deciderclient import DeciderClient
from identengine.server.http.problems import Problem, ProblemError
from identengine.server.http.roles import Role, Roles
from identengine.server.http.statuscache import Readiness, StatusCache
from identengine.stats.metrics import CONTENT_TYPE, exposition
from identengine.wire.jsonrpc.messages import NoParams
from identengine.wire.jsonrpc.methods import METHODS, MethodSpec
from identengine.wire.jsonrpc.responder import PROGRAM

Http: TypeAlias = litestar.Request[Any, Any, State]
_GONE = "gone"
"""In the state of a request: its client has left."""


class Services(NamedTuple):
    """What answers need."""

    roles: Roles
    decider: DeciderClient
    status_cache: StatusCache
    calls: Path
    """The folder of the set of calls."""
    on_malformed: Callable[[str, Problem], None]
    """Called for each request of a switch whose body is malformed: the switch, and the problem."""


def _needs(role: Role) -> Guard:
    """Let those in who have a role; who it is stands in the state of the request then."""

    def guard(connection: ASGIConnection[Any, Any, Any, State], _: BaseRouteHandler) -> None:
        roles: Roles = connection.app.state.services.roles
        host = connection.client.host if connection.client else ""
        source = roles.source(host, connection.headers.getall("x-forwarded-for", []))
        given = connection.headers.get("authorization")
        if given is not None:  # headers are bytes, and a token is UTF-8
            given = given.encode("latin-1").decode(errors="surrogateescape")
        connection.state.caller = roles.caller(given, source, role)

    return guard


def _problem(description: str) -> ResponseSpec:
    return ResponseSpec(Problem, generate_examples=False, description=description)


_REFUSED = {
    401: _problem("No bearer token, or none that the server knows."),
    403: _problem("A token of another role, or not from this address."),
}
_DECISIONS = _REFUSED | {
    413: _problem("The request is larger than [limits] message_bytes."),
    500: _problem("The server made a mistake; its log has more."),
    503: _problem("Not now: the process that decides is away, or there is too much. Ask again."),
}
_WITH_BODY = _DECISIONS | {400: _problem("The body cannot be used; field and message say what is wanted.")}


async def _ask(request: Http, params: msgspec.Struct | None) -> Response[Any]:
    services: Services = request.app.state.services
    method = request.route_handler.name or ""
    result = await services.decider.ask(request.state.caller.name, method, params)
    return Response(result, media_type="application/json")


_of: Any = {"answer": Response, "data": JSONBody, "dto": Body}
"""What is generic over a method's types, which are known at run time only."""


def _route(spec: MethodSpec) -> ControllerRouterHandler:
    """Return the route of a method: its parameters are the body, its result is the answer."""

    async def ask(request: Http) -> Any:
        return await _ask(request, None)

    async def ask_with(request: Http, data: Any) -> Any:
        return await _ask(request, data)

    bare = spec.params is NoParams
    handler: Callable[..., Any] = ask if bare else ask_with
    handler.__name__, handler.__doc__ = spec.name, spec.summary  # both are in the description of the API
    handler.__annotations__ = {"request": Http, "return": _of["answer"][spec.result]}
    if bare:
        return post(f"/{spec.name}", name=spec.name, status_code=200, responses=_DECISIONS)(handler)
    handler.__annotations__["data"] = _of["data"][spec.params]
    dto = _of["dto"][spec.params]
    path = f"/{spec.name}"
    return post(path, name=spec.name, dto=dto, return_dto=None, status_code=200, responses=_WITH_BODY)(handler)


class Health(msgspec.Struct, frozen=True):
    """That the process lives that answers HTTP."""

    alive: bool = True


@get("/healthz", tags=["server"])
async def healthz() -> Health:
    """Whether the process lives; what it can do now, `/readyz` says."""
    return Health()


@get(
    "/readyz",
    tags=["server"],
    responses={503: ResponseSpec(Readiness, generate_examples=False, description="Not now; reasons says why.")},
)
async def readyz(request: Http) -> Response[Readiness]:
    """Whether calls should be sent here: a book is loaded, calls are open, the store is well, nothing ends."""
    services: Services = request.app.state.services
    readiness = await services.status_cache.readiness()
    return Response(readiness, status_code=200 if readiness.ready else 503)


@get(
    "/metrics",
    tags=["server"],
    guards=[_needs("read")],
    security=[{"bearer": []}],
    media_type="text/plain",
    responses=_REFUSED | {500: _DECISIONS[500]},
)
async def metrics(request: Http) -> Response[str]:
    """Return the metrics in the text format of Prometheus."""
    services: Services = request.app.state.services
    status, accounts, clients = await services.status_cache.everything()
    text = exposition(services.calls, status, accounts, clients)
    return Response(text.decode(), media_type="text/plain", headers={"Content-Type": CONTENT_TYPE})


_DECIDING = Router(
    "/v1",
    route_handlers=[_route(spec) for spec in METHODS.values() if not spec.connection_only],
    guards=[_needs("switch")],
    security=[{"bearer": []}],
    tags=["switch"],
)
_ALL: list[ControllerRouterHandler] = [_DECIDING, healthz, readyz, metrics]
_DOCUMENT = OpenAPIConfig(
    title="identengine",
    version=PROGRAM.partition(" ")[2] or "0",
    description="The engine that a telephone switch asks, for every call: whose is it, and may it pass?",
    components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
    use_handler_docstrings=True,
    operation_id_creator=lambda handler, *_: handler.name or handler.handler_name,
)


@cache
def document() -> bytes:
    """Return the description of the API (OpenAPI) as JSON."""
    described = Litestar(_ALL, openapi_config=_DOCUMENT, logging_config=None).openapi_schema
    describe(described)
    return msgspec.json.encode(described.to_schema())


@get("/openapi.json", tags=["server"])
async def openapi() -> Response[msgspec.Raw]:
    """Return this description of the API."""
    return Response(msgspec.Raw(document()), media_type="application/json")


def application(services: Services, most_bytes: int) -> ASGIApp:
    """Return the application; ``most_bytes``: of the body of a request."""
    litestar_app = Litestar(
        [*_ALL, openapi],
        state=State({"services": services}),
        request_max_body_size=most_bytes,
        openapi_config=None,
        logging_config=None,
        exception_handlers={ProblemError: _refuse, HTTPException: _misuse, Exception: _fault},
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def hear() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            event = await receive()
            if event["type"] == "http.disconnect":
                scope["state"][_GONE] = True
            return event

        # What has GET has HEAD (RFC 9110, 9.1); uvicorn, whose scope stays as it is, sends no body then.
        asked = cast("Scope", {**scope, "method": "GET"}) if scope.get("method") == "HEAD" else scope
        await litestar_app(asked, hear, send)

    return answer


def _answer(problem: Problem, headers: dict[str, str]) -> Response[Problem]:
    return Response(problem, status_code=problem.status, headers=headers, media_type="application/json")


def _refuse(request: Http, error: ProblemError) -> Response[Problem]:
    if isinstance(error, BodyError):
        _count_malformed(request, error.problem)
    return _answer(error.problem, error.headers)


def _misuse(request: Http, error: HTTPException) -> Response[Problem]:
    """Say in our own way what the framework found to be wrong."""
    if error.status_code >= 500:
        return _fault(request, error)
    message = {
        400: NO_BODY,
        404: "there is no such path; /openapi.json says what there is",
        405: f"{request.method} is not for this path; /openapi.json says what is",
        413: "the request is too large: see [limits] message_bytes",
    }.get(error.status_code, error.detail)
    problem = Problem(error.status_code, message)
    if error.status_code in (400, 413):
        _count_malformed(request, problem)
    return _answer(problem, dict(error.headers or {}))


def _count_malformed(request: Http, problem: Problem) -> None:
    caller = request.state.get("caller")
    if caller is not None and caller.role == "switch":
        services: Services = request.app.state.services
        services.on_malformed(caller.name, problem)


def _fault(request: Http, error: Exception) -> Response[Problem]:
    if not request.scope["state"].get(_GONE):  # the framework takes a client that leaves for a fault
        HTTP_FAULT.tell(error)
    return _answer(Problem(500, "the server made a mistake; its log has more"), {})
