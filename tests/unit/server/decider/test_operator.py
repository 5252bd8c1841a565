"""Requests of operators that hold wrong numbers."""

from __future__ import annotations

from typing import Literal

import pytest
from unit.wire.jsonrpc.harness import Forgetful

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.engine.core import Engine
from identengine.server.decider.operator import OperatorService
from identengine.wire.operator import (
    LegPage,
    LegsRequest,
    OperatorFailure,
    OperatorReply,
    OperatorRequest,
    Status,
    Usage,
    UsageRequest,
)


def answer(request: OperatorRequest) -> OperatorReply:
    def status() -> Status:
        raise NotImplementedError

    calls = Calls(Settings(max_legs=10), Forgetful())
    return OperatorService(Engine(), calls, list, status, lambda *_: None).answer(request, 1.0)


@pytest.mark.parametrize("cursor", [-1, 2**63 - 1, 2**63, 2**64, 10**4000])
@pytest.mark.parametrize("of", ["accounts", "clients"])
def test_a_cursor_that_no_answer_can_hold(cursor: int, of: Literal["accounts", "clients"]) -> None:
    for request in (LegsRequest(cursor=cursor), UsageRequest(of, cursor)):
        found = answer(request)
        assert isinstance(found, OperatorFailure)
        assert found.message.startswith("cursor")


@pytest.mark.parametrize("cursor", [0, 1, 2**32])
def test_a_cursor_behind_the_last_page(cursor: int) -> None:
    assert answer(LegsRequest(cursor=cursor)) == LegPage((), None)
    assert answer(UsageRequest("clients", cursor)) == Usage((), None)
