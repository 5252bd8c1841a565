"""Corners of batches: roll-backs of mixed reads, faults in usual messages, counts, and the cost of many stops."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import msgspec
from support.faults import at_every_line
from unit.wire.jsonrpc.harness import ACCOUNTS, CLIENT, GOOD, OPTIONS, VISITOR, Forgetful, call

from identengine.calls.backend import Settings
from identengine.calls.memory import Calls
from identengine.calls.mirror import Changes, MirrorFullError
from identengine.config.schema import Switch
from identengine.config.secret import Secret
from identengine.engine.core import Engine
from identengine.identify.builder import build
from identengine.model.addresses import parse_network
from identengine.net.access import Peers
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.registry import CELLS, PLACE, REGISTRY
from identengine.stats.tally import KEEP, Tally
from identengine.wire.jsonrpc.codec import JSON
from identengine.wire.jsonrpc.responder import Responder

REJECTED = {"src_ip": "10.0.0.200", "dst_number": "44171"}


class Full(Forgetful):
    """A mirror that stores nothing while it is full."""

    full = True

    def write(self, changes: Changes) -> None:
        if self.full and changes.rows:
            raise MirrorFullError


class Served:
    """A responder with a tally, over a mirror that may be full."""

    def __init__(self, *, full: bool = True) -> None:
        self.mirror = Full()
        self.mirror.full = full
        self.calls = Calls(Settings(max_legs=100), self.mirror)
        self.cells = [0] * CELLS
        self.engine = Engine(calls=self.calls, tally=Tally(self.cells, HeavyHitters(KEEP)))
        self.engine.take_up(build(OPTIONS, 7, bytes(32), [CLIENT], ACCOUNTS, []))
        self.wrong: list[str] = []
        self.rejected: list[str | None] = []
        self.sizes: list[int] = []
        self.responder = Responder(
            self.engine,
            lambda: 1.0,
            lambda _, __, decision: self.rejected.append(decision.reason),
            on_wrong_token=self.wrong.append,
            on_decided=lambda _, count: self.sizes.append(count),
        )

    def counted(self) -> dict[str, int]:
        """Return the counters of authorizations that are not 0."""
        found: Counter[str] = Counter()
        for known in REGISTRY:
            if known.name.startswith(("requests_authorize", "accepted", "rejected_")):
                for place in range(len(known.series)):
                    found[known.name] += self.cells[PLACE[known.name] + place]
        return {name: count for name, count in found.items() if count}


def authorize(call_id: str, **more: Any) -> bytes:
    return JSON.encode(call(params={**GOOD, "call_id": call_id, **more}, id=call_id))


def reasons(answers: list[bytes]) -> list[str | None]:
    return [json.loads(one)["result"].get("reason") for one in answers]


def test_a_batch_with_a_broken_stream_can_be_rolled_back() -> None:
    served = Served()
    served.responder.begin()
    first, _ = served.responder.stream(JSON, [authorize("a")], VISITOR)
    _, is_broken = served.responder.stream(JSON, [b"{not json", authorize("b"), authorize("c")], VISITOR)
    served.responder.end()
    assert is_broken
    assert reasons(first) == ["overload"]
    assert served.calls.gauges().held == 0


def test_a_reject_of_a_call_stays_if_a_later_admission_of_it_is_rolled_back() -> None:
    served = Served()
    answers, _ = served.responder.datagrams(
        [JSON.encode(call(params=REJECTED | {"call_id": "a"}, id=1)), authorize("a")], [VISITOR] * 2
    )
    assert reasons(answers) == ["unknown_source", "overload"]
    assert served.rejected == ["unknown_source", "overload"]


def test_a_reject_before_a_rolled_back_admission_lowers_no_counter() -> None:
    served = Served()
    served.responder.datagrams(
        [JSON.encode(call(params=REJECTED | {"call_id": "a"}, id=1)), authorize("a")], [VISITOR] * 2
    )
    assert served.counted() == {"requests_authorize": 2, "rejected_unknown_source": 1, "rejected_overload": 1}


def test_a_rolled_back_call_and_its_retransmission_are_both_counted_as_rejected() -> None:
    served = Served()
    answers, _ = served.responder.datagrams([authorize("a", src_port="5060")] * 2, [VISITOR] * 2)
    assert reasons(answers) == ["overload", "overload"]
    assert served.counted() == {"requests_authorize": 2, "rejected_overload": 2}


def test_both_directions_of_rolled_back_calls_are_counted() -> None:
    served = Served()
    term = {"direction": "termination", "account_id": 4, "src_ip": None, "dst_number": "44", "call_id": "t"}
    account = msgspec.structs.replace(ACCOUNTS[0], id=4, name="vendor", ident=("10.0.0.44",), term_enabled=True)
    served.engine.take_up(build(OPTIONS, 7, bytes(32), [CLIENT], [*ACCOUNTS, account], []))
    odd = authorize("o", dst_number="4-4")  # usual by its shape, but decided by the general way
    answers, _ = served.responder.datagrams([odd, JSON.encode(call(params=term, id=2))], [VISITOR] * 2)
    assert reasons(answers) == ["overload", "overload"]
    assert served.counted() == {"requests_authorize": 2, "rejected_overload": 2}


def test_a_rolled_back_call_counts_as_turned_away() -> None:
    served = Served()
    served.responder.datagrams([authorize("a")], [VISITOR])
    assert served.calls.gauges().turned_away == 1


def test_an_array_that_stops_and_starts_many_calls_takes_linear_time() -> None:
    served = Served(full=False)

    def seconds(count: int) -> float:
        stops = [JSON.encode(call("stop", params={"call_id": f"{n}"})) for n in range(count)]
        starts = [JSON.encode(call("start", params={"call_id": f"s{n}", "dst_number": "4"})) for n in range(count)]
        served.responder.begin()
        served.responder.stream(JSON, stops, VISITOR)
        began = time.process_time()
        served.responder.stream(JSON, starts, VISITOR)
        took = time.process_time() - began
        served.responder.end()
        return took

    seconds(100)
    assert seconds(4000) < 8 * seconds(1000), "16 times, if the time is quadratic"


def test_a_wrong_token_is_reported_once_if_its_batch_is_rolled_back() -> None:
    served = Served()
    networks = (parse_network("127.0.0.1")[0],)
    one = Switch(name="one", scope="one", networks=networks)
    two = Switch(name="two", scope="two", networks=networks, token=Secret("token of two"))
    session = Peers([one, two], OPTIONS).find("127.0.0.1")
    assert session is not None
    wrong = authorize("b", token="wrong")
    served.responder.datagrams([authorize("a"), wrong], [session] * 2)
    assert served.wrong == ["127.0.0.1"]


def test_a_rolled_back_call_is_rejected_if_its_connection_changes_its_switch_afterwards() -> None:
    served = Served()
    networks = (parse_network("127.0.0.1")[0],)
    one = Switch(name="one", scope="one", networks=networks)
    two = Switch(name="two", scope="two", networks=networks, token=Secret("token of two"))
    session = Peers([one, two], OPTIONS, "tcp").meet("127.0.0.1")
    assert session is not None
    auth = JSON.encode(call("auth", params={"token": "token of two"}, id=2))
    answers, _ = served.responder.stream(JSON, [authorize("a"), auth], session)
    assert served.calls.gauges().held == 0
    assert reasons(answers[:1]) == ["overload"]


def test_a_fault_in_a_usual_stop_frees_no_call_of_an_earlier_message() -> None:
    served = Served(full=False)

    def broken(call: str) -> None:
        raise MemoryError

    served.calls.stop_call = broken
    stop = JSON.encode(call("stop", params={"call_id": "b"}, id=2))
    answers, _ = served.responder.datagrams([authorize("a"), stop], [VISITOR] * 2)
    assert reasons(answers[:1]) == [None]
    assert served.calls.gauges().held == 1, "the accepted call has its slot"


def test_a_fault_at_any_line_of_the_usual_way() -> None:
    names = ("a", "b", "c")
    messages = [*(authorize(name) for name in names[:2]), JSON.encode(call("stop", params={"call_id": "a"}, id=2))]
    messages += [JSON.encode(call("start", params={"call_id": "b"}, id=3)), authorize("c"), authorize("c")]
    wrong = []
    for injector in at_every_line(MemoryError, "engine", "calls", "identify"):
        served = Served(full=False)
        served.responder.datagrams([authorize("warm")], [VISITOR])
        found = injector.run(lambda served=served: served.responder.datagrams(messages, [VISITOR] * 6))  # type: ignore[misc]
        served.responder.datagrams([JSON.encode(call("stop", params={"call_id": "warm"}, id=2))], [VISITOR])
        while served.calls.work(1.0):
            pass
        held = [served.calls.find(f"sbc1\0{name}", "o") is not None for name in names]
        if sum(held) != served.calls.gauges().held:
            wrong.append(f"{injector.raised_in}: {held} held, {served.calls.gauges().held} counted")
        if isinstance(found, tuple):
            passed = [json.loads(found[0][place])["result"].get("accepted") for place in (0, 1, 4, 5)]
            accepted = [passed[0], passed[1], passed[2] or passed[3]]
            if held[0] > accepted[0] or held[1:] != accepted[1:]:
                wrong.append(f"{injector.raised_in}: accepted {accepted}, held {held}")
    assert not wrong, "\n".join(wrong)


def test_the_kept_content_of_a_call_is_bounded() -> None:
    served = Served(full=False)
    answers, _ = served.responder.datagrams([authorize("a", name="x" * 20_000)], [VISITOR])
    assert reasons(answers) == [None]
    leg = served.calls.find("sbc1\0a", "o")
    assert leg is not None
    assert len(msgspec.msgpack.encode(leg.content)) <= 1024, "LEG_BYTES is the space of a leg in the mirror"


def test_the_size_of_a_batch_is_that_of_its_requests() -> None:
    served = Served(full=False)
    served.responder.begin()
    served.responder.end()
    assert served.sizes == [], "a batch without messages is not counted"
    served.responder.datagrams([b"[%b]" % b",".join(authorize(name) for name in "abc")], [VISITOR])
    assert served.sizes == [3]
