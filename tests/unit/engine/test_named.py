"""The legs that a usual message certainly names."""

from __future__ import annotations

from typing import Any

import pytest

from identengine.calls.backend import LegSelector
from identengine.calls.legs import call_key, leg_key
from identengine.engine.lifecycle import Asker
from identengine.engine.named import leg_of, named_legs, whole_call
from identengine.model.records import Direction
from identengine.model.usual import UsualCallRequest, UsualRequest

ASKER = Asker("sbc", "pair")
UNCERTAIN = ("", " ", "\t1", "ж")
"""Ids that are blank, begin with a blank, or are not ASCII."""


@pytest.mark.parametrize("leg_id", [None, "1"])
@pytest.mark.parametrize("direction", [None, *Direction])
def test_the_key_of_a_leg_is_that_of_the_general_way(direction: Direction | None, leg_id: str | None) -> None:
    asked = UsualRequest(direction=direction and direction.value, leg_id=leg_id)
    assert leg_of(asked) == leg_key(direction or Direction.ORIGINATION, leg_id)


@pytest.mark.parametrize("fields", [{"direction": " origination"}, *({"leg_id": each} for each in UNCERTAIN)])
def test_a_leg_that_is_not_certain_has_no_key(fields: dict[str, Any]) -> None:
    assert leg_of(UsualRequest(**fields)) is None
    assert named_legs(UsualCallRequest(call_id="c", **fields), ASKER) is None


@pytest.mark.parametrize("call_id", [None, *UNCERTAIN])
def test_a_call_that_is_not_certain_has_no_key(call_id: str | None) -> None:
    assert whole_call(UsualCallRequest(call_id=call_id), ASKER) is None
    assert named_legs(UsualCallRequest(call_id=call_id, leg_id="1"), ASKER) is None


def test_a_message_names_a_whole_call_or_some_of_its_legs() -> None:
    call = call_key("pair", "c")
    assert whole_call(UsualCallRequest(call_id="c"), ASKER) == call
    for direction, leg_id in ((Direction.TERMINATION, None), (None, "1"), (Direction.ORIGINATION, "1")):
        asked = UsualCallRequest(call_id="c", direction=direction and direction.value, leg_id=leg_id)
        assert whole_call(asked, ASKER) is None
        assert named_legs(asked, ASKER) == LegSelector(call, direction, leg_id)
