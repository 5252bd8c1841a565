"""The errors of HTTP: one shape of body for all of them, and the meaning of each status (interfaces.md 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from identengine.errors import IdentengineError, quoted
from identengine.wire.jsonrpc.messages import Field, Trouble


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an error: what is wrong with the request, and what is expected instead."""

    status: int
    """HTTP status of the answer."""
    message: str
    """Text for people."""
    code: int | None = None
    """JSON-RPC error code of the same request, if it has one (interfaces.md 3)."""
    field: str | None = None
    """Name of the wrong parameter."""
    value: Any = msgspec.UNSET  # JSON of any kind, as the client sent it
    """Value of the wrong parameter. Absent if it is long or secret."""


class ProblemError(IdentengineError):
    """An exception that answers a request with a :class:`Problem`."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.headers = dict(headers or {})


RETRY = {"Retry-After": "1"}
"""The delay before the next try, in seconds. A decider is usually replaced within this time."""
NO_TOKEN = "expected a bearer token (Authorization: Bearer …). The tokens are in the server's config."  # noqa: S105
UNKNOWN_TOKEN = "unknown bearer token"  # noqa: S105
NOT_HTTP = "expected HTTP/1.1 (RFC 9112)"
NO_VERSION = "expected HTTP/1.1 or HTTP/1.0"
NO_CODING = "expected no Transfer-Encoding other than chunked"
NO_PATH = "no such path. See /openapi.json for all paths."
NO_OBJECT = "expected the parameters as a JSON object, {} for no parameters"
FAULT = "internal error. The server's log has the details."


def wrong_method(method: str) -> str:
    """Return the message for a path that does not have this HTTP method."""
    return f"this path has no method {method}. See /openapi.json for the methods of each path."


def too_large(most_bytes: int) -> str:
    """Return the message for a request that is larger than ``[limits] message_bytes``."""
    return f"expected a request of at most {most_bytes} bytes ([limits] message_bytes)"


def too_slow(seconds: float) -> str:
    """Return the message for a request that did not arrive in time."""
    return f"expected the whole request within {seconds:.0f} s"


def target_too_long(most: int) -> str:
    """Return the message for a request whose path with its query has more than ``most`` bytes."""
    return f"expected a path and query of at most {most} bytes"


def head_too_long(most_fields: int, most: int) -> str:
    """Return the message for a request with more header fields, or more bytes before its body."""
    return f"expected at most {most_fields} header fields, and at most {most} bytes before the body"


def wrong_role(name: str, role: str, needed: str) -> str:
    """Return the message for a token of another role."""
    return f"expected a token with the role {needed}, got the token of {quoted(name)}, whose role is {role}"


def unavailable(message: str, code: int | None = None) -> ProblemError:
    """Return the error for a request that the client should repeat after a moment."""
    return ProblemError(Problem(503, message, code), RETRY)


_STATUS = {-32700: 400, -32600: 400, -32602: 400, -32001: 503, -32002: 503}


def of_trouble(trouble: Trouble) -> ProblemError:
    """Return a JSON-RPC error as an HTTP error: 400 if the client has to change the request, else 500 or 503."""
    status = _STATUS.get(trouble.code, 500)
    data = trouble.data if isinstance(trouble.data, Field) else Field("")
    problem = Problem(status, trouble.message, trouble.code, data.field or None, data.value)
    return ProblemError(problem, RETRY if status == 503 else None)


class Status(NamedTuple):
    """The meaning of one HTTP status, for the description of the API."""

    meaning: str
    example: Problem
    headers: Mapping[str, str]
    """The headers that come with the status, each with its meaning."""


AWAY = "the decider is not available. Repeat the request."
STATUSES: dict[int, Status] = {
    400: Status(
        "The request is not HTTP or ambiguous, the body is not a JSON object, or a parameter cannot be used.",
        Problem(400, NO_OBJECT),
        {},
    ),
    401: Status(
        "The request has no bearer token, or the token does not count: it is unknown, or that of a switch with "
        "other addresses.",
        Problem(401, UNKNOWN_TOKEN),
        {"WWW-Authenticate": "The scheme that the server expects (RFC 6750)."},
    ),
    403: Status(
        "The token has another role.",
        Problem(403, wrong_role("noc", "read", "switch")),
        {},
    ),
    404: Status("The path does not exist.", Problem(404, NO_PATH), {}),
    405: Status(
        "The path does not have this HTTP method.",
        Problem(405, wrong_method("DELETE")),
        {"Allow": "The methods that the path has."},
    ),
    408: Status(
        "The request did not arrive in time. The server closes the connection.", Problem(408, too_slow(20)), {}
    ),
    413: Status("The request is larger than `[limits] message_bytes`.", Problem(413, too_large(65536)), {}),
    414: Status(
        "The path is too long. The server closes the connection.", Problem(414, target_too_long(8192)), {}
    ),
    431: Status(
        "The header fields are too many or too long. The server closes the connection.",
        Problem(431, head_too_long(100, 16384)),
        {},
    ),
    500: Status("The program failed. The server's log has the details.", Problem(500, FAULT), {}),
    501: Status(
        "The request has another Transfer-Encoding than `chunked`. The server closes the connection.",
        Problem(501, NO_CODING),
        {},
    ),
    503: Status(
        "The decider is being replaced or is overloaded, or there are too many connections. Repeat the request.",
        Problem(503, AWAY),
        {"Retry-After": "Seconds until the request should be repeated."},
    ),
    505: Status(
        "The request has another version of HTTP than 1.1 or 1.0. The server closes the connection.",
        Problem(505, NO_VERSION),
        {},
    ),
}
"""Each status of an error that a path can answer."""
