"""The counter file: its content, and its replacement when it is damaged."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import msgspec
import pytest
from support.thorough import times

from identengine.calls.backend import Deferred, LegResult
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.engine.requests import EngineAnswer, EngineRequest
from identengine.errors import StoreError
from identengine.identify.explain import Explanation
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import CallList, CallRequest, Decision, Direction, Interface, Request
from identengine.stats.file import SIZE, CounterFile, Tables, read
from identengine.stats.heavyhitters import Counts, HeavyHitters
from identengine.stats.malformed import SWITCHES, MalformedCounts
from identengine.stats.registry import CELLS, MALFORMED, PLACE, REGISTRY
from identengine.stats.tally import KEEP, Tally

OPTIONS = IdentifyOptions()
SERIES = {known.name: known.series for known in REGISTRY}
AREAS = (16384, 16384 + (SIZE - 16384) // 2)


class Warnings(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def warned() -> Warnings:
    return Warnings()


def test_numbers_outlive_the_process_that_wrote_them(tmp_path: Path, warned: Warnings) -> None:
    with CounterFile(tmp_path, warned) as first:
        first.cells[PLACE["accepted"]] += 3
        first.write_tables(Tables(Counts({"10.0.0.1": 4}, 2), {"sbc1": {-32602: 5}}))
        # Another process reads the file while it is mapped here.
        assert read(tmp_path).values["accepted"] == 3
        began = first.cells[PLACE["began"]]
    with CounterFile(tmp_path, warned) as second:
        assert second.cells[PLACE["accepted"]] == 3
        assert second.cells[PLACE["began"]] == began
        assert second.tables() == Tables(Counts({"10.0.0.1": 4}, 2), {"sbc1": {-32602: 5}})
    assert read(tmp_path).addresses == Counts({"10.0.0.1": 4}, 2)
    assert read(tmp_path).malformed == {"sbc1": {-32602: 5}}
    assert warned == []


def test_the_file_is_whole_and_private(tmp_path: Path, warned: Warnings) -> None:
    CounterFile(tmp_path, warned).close()
    found = (tmp_path / "counters").stat()
    assert (found.st_mode & 0o777, found.st_size) == (0o600, SIZE)
    assert found.st_blocks * 512 >= SIZE, "a hole would cause SIGBUS on a full tmpfs"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "damaged"),
        (b"not counters" * 100, "damaged"),
        (b"\0" * SIZE, "damaged"),
        (b"x" * (SIZE + 1), "damaged"),
        (None, f"damaged: expected {SIZE} bytes, got 1000"),
        (b"identengine/cnt\n" + b"\2\0\0\0" + b"0" * (SIZE - 20), "another version"),
    ],
)
def test_a_file_that_is_none_is_replaced(tmp_path: Path, warned: Warnings, raw: bytes | None, why: str) -> None:
    path = tmp_path / "counters"
    with CounterFile(tmp_path, warned) as old:
        old.cells[PLACE["accepted"]] = 7
        other = tmp_path / "spoilt"
        other.write_bytes(path.read_bytes()[:1000] if raw is None else raw)
        other.replace(path)  # the old file stays mapped here
        with pytest.raises(StoreError, match="cannot read the counters"):
            read(tmp_path)
        with CounterFile(tmp_path, warned) as new:
            assert new.cells[PLACE["accepted"]] == 0
            new.cells[PLACE["accepted"]] = 1
        assert old.cells[PLACE["accepted"]] == 7
    assert read(tmp_path).values["accepted"] == 1
    (said,) = warned
    assert "the counters start again from zero" in said
    assert why in said


def test_no_file_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no server has run"):
        read(tmp_path)


def test_where_no_file_can_be_is_an_error(tmp_path: Path, warned: Warnings) -> None:
    (tmp_path / "counters").mkdir()
    with pytest.raises(StoreError, match="cannot create the counters"):
        CounterFile(tmp_path, warned)


@pytest.mark.parametrize("spoilt", [(0,), (1,), (0, 1)])
def test_a_torn_copy_of_the_addresses_is_passed_over(
    tmp_path: Path, warned: Warnings, spoilt: tuple[int, ...]
) -> None:
    with CounterFile(tmp_path, warned) as file:
        for count in range(1, 5):
            file.write_tables(Tables(Counts({"10.0.0.1": count})))
    path = tmp_path / "counters"
    raw = bytearray(path.read_bytes())
    for place in spoilt:
        raw[AREAS[place] + 20] ^= 0xFF
    path.write_bytes(raw)
    # The fourth copy went to the first area, the third to the second.
    wanted = {(0,): {"10.0.0.1": 3}, (1,): {"10.0.0.1": 4}, (0, 1): {}}[spoilt]
    assert read(tmp_path).addresses.counts == wanted
    with CounterFile(tmp_path, warned) as again:
        assert again.tables().addresses.counts == wanted
        again.write_tables(Tables(Counts({"10.0.0.1": 9})))
    assert read(tmp_path).addresses.counts == {"10.0.0.1": 9}
    assert warned == []


def test_the_largest_copy_fits(tmp_path: Path, warned: Warnings) -> None:
    longest = Counts({f"2001:db8:1234:5678:9abc:def0:1234:{n:04x}": 2**63 + n for n in range(2 * KEEP)}, 2**63)
    malformed = MalformedCounts()
    for n in range(SWITCHES + 10):
        for code in MALFORMED:
            malformed.add(f"{n:03}".ljust(100, "\U0001f600"), code, 2**40)
    with CounterFile(tmp_path, warned) as file:
        file.write_tables(Tables(longest, malformed.counts()))
    assert read(tmp_path).addresses == longest
    assert read(tmp_path).malformed == malformed.counts()


def test_malformed_messages_are_counted_by_switch_in_bounded_memory() -> None:
    tally, counted = tallied()
    tally.malformed("sbc1", -32602)
    tally.malformed("sbc1", -32602, 3)
    tally.malformed("sbc1", -32700)
    tally.malformed(None, -32600)
    assert tally.malformed_counts.counts() == {"sbc1": {-32602: 4, -32700: 1}, "unknown": {-32600: 1}}
    names = (
        "malformed_bad_params",
        "malformed_parse_error",
        "malformed_invalid_request",
        "malformed_unknown_method",
    )
    assert [counted[name] for name in names] == [4, 1, 1, 0]
    again = MalformedCounts(tally.malformed_counts.counts())
    for n in range(2 * SWITCHES):
        again.add(f"switch {n}", -32601)
    again.add("sbc1", -32602)
    again.add(None, -32600)
    found = again.counts()
    assert len(found) == SWITCHES + 1
    assert found["sbc1"] == {-32602: 5, -32700: 1}
    assert found["unknown"] == {-32600: 2}
    assert sum(by_code.get(-32601, 0) for by_code in found.values()) == 2 * SWITCHES


# ---- counting


def tallied() -> tuple[Tally, dict[str, int]]:
    class Named(dict[str, int]):
        def __missing__(self, name: str) -> int:
            place = PLACE[name]
            return sum(cells[place : place + len(SERIES[name])])

    cells = array("Q", bytes(8 * CELLS))
    return Tally(cells, HeavyHitters(KEEP)), Named()


def ask(method: str = "authorize", **fields: object) -> EngineRequest:
    request = CallList() if method == "sync" else CallRequest(**fields)  # type: ignore[arg-type]  # of a test
    return EngineRequest(method, request, OPTIONS, Asker("sw", "sw"))  # type: ignore[arg-type]  # the same


def of(one: EngineRequest, interface: Interface) -> EngineRequest:
    return msgspec.structs.replace(one, asker=Asker("sw", "sw", interface))


def test_each_kind_of_answer_is_counted() -> None:
    tally, counted = tallied()
    rejected = Decision(accepted=False, reason=Reason.UNKNOWN_SOURCE)
    said: list[tuple[EngineRequest, EngineAnswer]] = [
        (ask(), Decision(accepted=True)),
        (ask(), Decision(accepted=True, unreserved=True)),
        (ask(src_ip="10.0.0.9"), rejected),
        (ask("identify", src_ip="10.0.0.9"), rejected),
        (ask("explain"), Explanation(decision=rejected)),
        (ask("start"), LegResult(True)),
        (ask("start"), LegResult(True, unknown=True)),
        (ask("update"), LegResult(True, overcommit=True)),
        (ask("update"), LegResult(True, unknown=True)),
        (ask("stop"), LegResult(True, freed=2)),
        (ask("stop"), LegResult(True, unknown=True, freed=0)),
        (ask("stop"), BadParameter("call_id", None, "the id of a call")),
        (ask("sync"), LegResult(True, missing=3, freed=4)),
        (ask("switch_up"), LegResult(True, freed=5)),
    ]
    tally.count([one for one, _ in said], [answer for _, answer in said])
    wanted = {
        "requests_authorize": 3,
        "requests_identify": 1,
        "requests_explain": 1,
        "requests_start": 2,
        "requests_update": 2,
        "requests_stop": 3,
        "requests_sync": 1,
        "requests_switch_up": 1,
        "accepted": 2,
        "unreserved": 1,
        "rejected_unknown_source": 1,
        "unknown_starts": 1,
        "unknown_updates": 1,
        "unknown_stops": 1,
        "overcommits": 1,
        "wrong_parameters": 1,
        "freed_by_stop": 2,
        "freed_by_sync": 4,
        "freed_by_switch": 5,
        "missing_calls": 3,
    }
    assert {known.name: counted[known.name] for known in REGISTRY if counted[known.name]} == wanted
    assert tally.addresses.counts().counts == {"10.0.0.9": 1}


def test_an_answer_that_takes_its_time_is_counted_once_and_when_it_is_there() -> None:
    tally, counted = tallied()
    later = Deferred()
    tally.count([ask("switch_down"), ask("switch_down")], [later, later])
    tally.count([ask("switch_down")], [later])
    assert (counted["requests_switch_down"], counted["freed_by_switch"]) == (3, 0)
    later.finish(LegResult(True, freed=7))
    assert counted["freed_by_switch"] == 7


def test_an_address_counts_once_however_it_is_written_and_what_is_none_takes_no_room() -> None:
    tally, _ = tallied()
    rejected = Decision(accepted=False, reason=Reason.NOT_READY)
    sources = (
        "10.0.0.1",
        "::ffff:10.0.0.1",
        " 10.0.0.1 ",
        "2001:DB8::1",
        "2001:db8:0::1",
        " " * 1000 + "\t::FFFF:10.0.0.1\n",
        "0:0:0:0:0:ffff:10.0.0.1",
        "0000:0000:0000:0000:0000:FFFF:010a:0000",
        "x" * 60000,
        "\x1b[2J",
        None,
    )
    for source in sources:
        tally.count([ask(src_ip=source)], [rejected])
    assert tally.addresses.counts().counts == {"10.0.0.1": 5, "2001:db8::1": 2, "1.10.0.0": 1}


def series(tally: Tally) -> dict[tuple[str, ...], int]:
    """Return all nonzero counts of requests, accepted calls and rejected calls, by family and labels."""
    return {
        (known.family or "", *labels): count
        for known in REGISTRY
        if known.family in ("requests_total", "accepted_total", "rejected_total")
        for place, labels in enumerate(known.series, PLACE[known.name])
        if (count := tally._cells[place])
    }


def test_counted_by_interface_direction_and_reason() -> None:
    tally, counted = tallied()
    out, rejected = Direction.TERMINATION, Reason.UNKNOWN_SOURCE
    tally.count(
        [ask(), ask(), ask(), ask("stop")],
        [
            Decision(accepted=True, direction=Direction.ORIGINATION),
            Decision(accepted=True, direction=out),
            Decision(accepted=True, direction=out, unreserved=True),
            LegResult(True, freed=1),
        ],
    )
    over_http = [of(one, "http") for one in (ask(), ask(direction="termination"), ask(direction="up"))]
    tally.count(
        over_http,
        [
            Decision(accepted=False, reason=rejected, direction=Direction.ORIGINATION),
            Decision(accepted=False, reason=Reason.NOT_READY),
            Decision(accepted=False, reason=Reason.INVALID_REQUEST),
        ],
    )
    assert series(tally) == {
        ("requests_total", "udp", "authorize"): 3,
        ("requests_total", "udp", "stop"): 1,
        ("requests_total", "http", "authorize"): 3,
        ("accepted_total", "udp", "origination"): 1,
        ("accepted_total", "udp", "termination"): 2,
        ("rejected_total", "http", "origination", "unknown_source"): 1,
        ("rejected_total", "http", "termination", "not_ready"): 1,
        ("rejected_total", "http", "unknown", "invalid_request"): 1,
    }
    assert (counted["requests_authorize"], counted["accepted"], counted["unreserved"]) == (6, 3, 1)


def test_a_batch_of_several_interfaces() -> None:
    tally, _ = tallied()
    interfaces: list[Interface] = ["tcp", "tls", "tcp", "radius", "tcp"]
    asks = [of(ask(), interface) for interface in interfaces]
    tally.count(asks, [Decision(accepted=True, direction=Direction.ORIGINATION)] * 5)
    tally.count([], [])
    assert series(tally) == {
        (family, interface, more): count
        for family, more in (("requests_total", "authorize"), ("accepted_total", "origination"))
        for interface, count in (("tcp", 3), ("tls", 1), ("radius", 1))
    }


def test_what_is_shed() -> None:
    tally, counted = tallied()
    overload = Decision(accepted=False, reason=Reason.OVERLOAD)
    tally.shed(of(ask(), "tls"), overload)
    tally.shed(of(ask("start"), "tcp"), Explanation(decision=overload))
    names = ("messages_shed_tls", "messages_shed_tcp", "rejected_overload", "requests_start")
    assert [counted[name] for name in names] == [1, 1, 1, 1]


def test_every_reason_has_a_counter() -> None:
    tally, counted = tallied()
    for reason in Reason:
        tally.count([ask()], [Decision(accepted=False, reason=reason)])
    assert all(counted[f"rejected_{reason}"] == 1 for reason in Reason)


def test_a_fault_in_counting_is_no_fault_of_the_decision() -> None:
    class Broken:
        def count(self, *_: object) -> None:
            raise RuntimeError("no counting today")

        shed = usual = count

    engine = Engine(tally=Broken())
    assert engine.authorize(Request(), OPTIONS).reason == Reason.NOT_READY
    assert len(engine.faults) == 1


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


MANY = times(1_000_000, 200_000)


def test_very_many_forged_addresses_take_no_memory_and_hide_nobody() -> None:
    tally, counted = tallied()
    rejected = [Decision(accepted=False, reason=Reason.UNKNOWN_SOURCE)] * 100
    known, before = "192.0.2.1", 0
    for block in range(MANY // 100):
        asks = [ask(src_ip=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(block * 100, block * 100 + 99)]
        asks.append(ask(src_ip=known))
        tally.count(asks, rejected)
        if block == 100:
            before = resident()
    assert resident() - before < 4 << 20
    found = tally.addresses.counts()
    assert len(found.counts) <= 2 * KEEP
    assert found.floor <= MANY // (KEEP + 1)
    ((first, count),) = found.largest(1)
    assert first == known
    assert count <= MANY // 100 <= count + found.floor
    assert counted["rejected_unknown_source"] == MANY
