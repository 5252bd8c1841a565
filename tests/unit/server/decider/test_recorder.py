"""The recorder of a decider (engine.md 8.8)."""

from __future__ import annotations

from pathlib import Path

from unit.wire.jsonrpc.harness import Forgetful

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.config.schema import RecordConfig
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.requests import EngineRequest
from identengine.identify import builder
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, IdentBy, Request
from identengine.record.reader import RecordReader
from identengine.server.decider.recorder import Recorder

OPTIONS = IdentifyOptions()
FULL = Account(id=17, client_id=1, name="A", ident_by=IdentBy.IP, ident=("10.0.0.5",), orig_capacity=0)


def test_a_request_that_is_shed_leaves_the_limits_of_its_batch(tmp_path: Path) -> None:
    calls = Calls(Settings(), Forgetful())
    engine = Engine(calls=calls)
    engine.take_up(builder.build(OPTIONS, 7, bytes(32), [Client(id=1, name="one")], [FULL], []))
    recorder = Recorder(engine, calls, RecordConfig(path=tmp_path / "record"), lambda _seconds, _work: None)
    full, late = (
        EngineRequest(
            "authorize", Request(call_id=one, src_ip="10.0.0.5", dst_number="44"), OPTIONS, Asker("sbc1", "s")
        )
        for one in ("full", "late")
    )
    engine.begin(1000.0)
    engine.answer(full)
    engine.shed(late)
    engine.end()
    engine.count()
    recorder.close()
    found = {one.request.call_id: one for one in RecordReader(tmp_path / "record").newest()}
    assert found["late"].decision.reason == "overload"
    assert [one.level for one in found["full"].limits] == ["account", "client", "global"]
    assert not found["late"].limits
