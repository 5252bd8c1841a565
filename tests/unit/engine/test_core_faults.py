"""A fault at any line of the engine: a rejected call holds no slot, and an accepted call has one (engine.md 7)."""

from __future__ import annotations

from pathlib import Path

from support.faults import at_every_line

from identengine.calls.backend import (
    EncodedDecision,
    LegSelector,
    Settings,
    in_parts,
)
from identengine.calls.journal import Journal
from identengine.calls.legs import call_key
from identengine.calls.memory import Calls
from identengine.calls.overview import (
    LegFilter,
)
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.requests import EngineRequest
from identengine.identify import builder
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, CallRequest, Client, Decision, IdentBy, Request

OPTIONS, ASKER = IdentifyOptions(), Asker("sbc1", "s")
ACCOUNT = Account(id=17, client_id=1, name="A", ident_by=IdentBy.IP, ident=("10.0.0.5",), orig_capacity=2)
CALLS = ("a", "b", "c", "d", "e")


def asks() -> list[EngineRequest]:
    """Return five authorizations, of which the limit admits two at a time, and a stop."""
    requests = [Request(call_id=one, src_ip="10.0.0.5", dst_number="44") for one in CALLS]
    batch = [EngineRequest("authorize", request, OPTIONS, ASKER) for request in requests]
    stop = EngineRequest("stop", CallRequest(call_id="a"), OPTIONS, ASKER)
    return [*batch[:3], stop, *batch[3:]]


def test_a_fault_at_any_line_of_the_engine(tmp_path: Path) -> None:
    book = builder.build(OPTIONS, 7, bytes(32), [Client(id=1, name="one")], [ACCOUNT], [])
    with Journal(tmp_path, 10, 10, lambda why: None) as journal:
        now = 1000.0
        for injector in at_every_line(MemoryError, "engine", "calls", "identify"):
            calls = Calls(Settings(), journal)
            engine = Engine(calls=calls)
            engine.take_up(book)
            now += 1000
            answers = injector.run(lambda engine=engine, now=now: engine.decide(asks(), now))  # type: ignore[misc]
            while calls.work(now + 0.1):
                pass
            held = [
                bool(calls.matching(LegSelector(call_key("s", one), None, None), LegFilter())) for one in CALLS
            ]
            where = injector.raised_in
            assert sum(held) == calls.gauges().held <= 2, where
            if isinstance(answers, list):
                accepted = [
                    isinstance(one, Decision | EncodedDecision) and in_parts(one).accepted
                    for position, one in enumerate(answers)
                    if position != 3
                ]
                assert held[0] <= accepted[0], where  # the stop after it may have failed
                assert held[1:] == accepted[1:], where
            else:  # no call of the batch was answered, and a repetition is
                again = engine.decide(asks(), now + 1)
                assert isinstance(again[1], Decision | EncodedDecision)
                assert in_parts(again[1]).accepted, where
            for one in CALLS:
                engine.decide([EngineRequest("stop", CallRequest(call_id=one), OPTIONS, ASKER)], now + 2)
            assert calls.gauges().held == 0, where
