"""The usual way: the calls without a candidate that it rejects, and those that it leaves to the general way."""

from __future__ import annotations

import pytest

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, RoomLeft
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.identify import builder
from identengine.identify.template import packed
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Decision, IdentBy
from identengine.model.usual import UsualRequest

OPTIONS = IdentifyOptions()
ACCOUNTS = [
    Account(id=1, client_id=1, name="a", ident_by=IdentBy.IP, ident=("192.0.2.1",), tech_prefix="77"),
    Account(id=2, client_id=1, name="b", ident_by=IdentBy.IP, ident=("198.51.100.0/24",), orig_enabled=False),
]


class Unlimited:
    """A mirror that stores nothing."""

    room_left = RoomLeft.AMPLE
    generation = 0

    def write(self, changes: Changes) -> None:
        pass

    def complete(self) -> None:
        pass


@pytest.fixture
def engine() -> Engine:
    engine = Engine(calls=Calls(Settings(), Unlimited()))
    engine.take_up(builder.build(OPTIONS, 1, bytes(32), [Client(id=1, name="c")], ACCOUNTS, []))
    engine.begin(1.0)
    return engine


def usually(engine: Engine, address: str, dialled: str) -> object:
    """Return the answer of the usual way to a call from an address."""
    asked = UsualRequest(call_id="c", src_ip=address, dst_number=dialled)
    return engine.usual.authorize(asked, Asker("sbc1", "s"), OPTIONS, packed)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("203.0.113.9", "unknown_source"),
        ("192.0.2.1", "tech_prefix_mismatch"),
        ("198.51.100.7", "account_disabled"),
    ],
)
def test_calls_without_a_candidate_are_rejected(engine: Engine, address: str, reason: str) -> None:
    for _ in range(2):  # the second time, the address is the last one that was looked up
        answer = usually(engine, address, "44171")
        assert isinstance(answer, Decision)
        assert answer.reason == reason


@pytest.mark.parametrize(
    ("address", "number"),
    [("203.0.113.9", "44-171"), (" ", "44171")],
    ids=["other notation of the number", "blank address"],
)
def test_unclear_calls_are_left_to_the_general_way(engine: Engine, address: str, number: str) -> None:
    assert usually(engine, address, number) is None


def test_an_unusable_address_is_rejected_with_its_field(engine: Engine) -> None:
    answer = usually(engine, "203.0.113", "44171")
    assert isinstance(answer, Decision)
    assert (answer.reason, answer.field, answer.value) == ("invalid_request", "src_ip", "203.0.113")
