"""What HTTP answers where it does not answer what was asked: one shape of body for all of it (interfaces.md 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from identengine.errors import IdentengineError
from identengine.wire.jsonrpc.messages import Field, Trouble


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong, and what would be right."""

    status: int
    """The status of HTTP."""
    message: str
    code: int | None = None
    """The error of JSON-RPC that the same request would be answered with (interfaces.md 3), where there is one."""
    field: str | None = None
    """Which parameter is wrong."""
    value: Any = msgspec.UNSET  # JSON of any kind, as it came
    """Its value, unless that is long or secret."""


class ProblemError(IdentengineError):
    """A request ends with a :class:`Problem`."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.headers = dict(headers or {})


RETRY = {"Retry-After": "1"}
"""Seconds; a decider is replaced sooner, as a rule."""


def unavailable(message: str, code: int | None = None) -> ProblemError:
    """Return what says that the same request may be answered in a moment."""
    return ProblemError(Problem(503, message, code), RETRY)


_STATUS = {-32700: 400, -32600: 400, -32602: 400, -32001: 503, -32002: 503}


def of_trouble(trouble: Trouble) -> ProblemError:
    """Return an error of JSON-RPC as HTTP says it; what is not the client's fault is 500 or 503."""
    status = _STATUS.get(trouble.code, 500)
    data = trouble.data if isinstance(trouble.data, Field) else Field("")
    problem = Problem(status, trouble.message, trouble.code, data.field or None, data.value)
    return ProblemError(problem, RETRY if status == 503 else None)
