"""The record of decisions as a reader finds it, also damaged or half written."""

from __future__ import annotations

from pathlib import Path

import pytest

from identengine.errors import RecordError
from identengine.model.records import Decision, Direction
from identengine.record.conditions import RecordFilter
from identengine.record.entry import Body, CredentialUse, LimitUse, encode
from identengine.record.reader import RecordReader
from identengine.record.segments import FORMAT, HEADER, MAGIC, MARK, frame, header, segment_path

REJECT = Decision(
    accepted=False, direction=Direction.ORIGINATION, version=3, reason="unknown_source", sip_code=403
)


def body(call_id: str | None = "c1", decision: Decision | bytes = REJECT, **fields: object) -> Body:
    plain: dict[str, object] = dict.fromkeys(Body.__struct_fields__) | {
        "switch": "sbc1",
        "interface": "udp",
        "masked": False,
        "src_ip": "192.0.2.7",
        "src_number": "493012345",
        "dst_number": "+44 20 7946",
    }
    return Body(**(plain | fields | {"call_id": call_id, "decision": decision}))  # type: ignore[arg-type]  # of the tests


def framed(one: Body, at: float = 100.0) -> bytes:
    encoded = encode(one)
    return frame(at, encoded) + encoded


def written(folder: Path, number: int, *content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = segment_path(folder, number)
    path.write_bytes(header() + b"".join(content))
    return path


def ids(folder: Path, **wanted: object) -> list[str | None]:
    found = RecordReader(folder).newest(RecordFilter(**wanted))  # type: ignore[arg-type]  # of the tests
    return [one.request.call_id for one in found]


def test_the_newest_entry_is_first_in_the_order_of_writing(tmp_path: Path) -> None:
    written(tmp_path, 2, framed(body("c3"), 50.0), framed(body("c4"), 40.0))
    written(tmp_path, 1, framed(body("c1"), 100.0), framed(body("c2"), 200.0))
    assert ids(tmp_path) == ["c4", "c3", "c2", "c1"]
    assert RecordReader(tmp_path).oldest_at() == 100.0


def test_an_entry_returns_what_was_written(tmp_path: Path) -> None:
    limits = (
        LimitUse("account", 17, "orig_capacity", 10, 10, True),
        LimitUse("global", None, "g", 11, None, False),
    )
    credential = CredentialUse(("digest",), True, 17)
    written(tmp_path, 1, framed(body(credential=credential, limits=limits, leg_id="l", src_port=5060), 7.5))
    (found,) = RecordReader(tmp_path).newest()
    assert (found.at, found.switch, found.interface) == (7.5, "sbc1", "udp")
    assert (found.request.leg_id, found.request.src_port, found.request.password) == ("l", 5060, None)
    assert (found.decision, found.credential, found.limits) == (REJECT, credential, limits)


@pytest.mark.parametrize("answer", [b'{"accepted":true,"account_id":17}', b"\x81\xa8accepted\xc3"])
def test_the_answer_of_an_accepted_call_is_decoded(tmp_path: Path, answer: bytes) -> None:
    written(tmp_path, 1, framed(body(decision=answer)))
    (found,) = RecordReader(tmp_path).newest()
    assert found.decision.accepted
    assert ids(tmp_path, accepted=False) == []


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ({"since": 100.0}, True),
        ({"since": 100.1}, False),
        ({"until": 100.0}, False),
        ({"switch": "sbc1"}, True),
        ({"switch": "sbc"}, False),
        ({"address": "192.0.2.7"}, True),
        ({"address": "192.0.2.0/24"}, True),
        ({"address": "::ffff:192.0.2.7"}, True),
        ({"address": "192.0.2.6/31"}, True),
        ({"address": "192.0.2.8/29"}, False),
        ({"address": "2001:db8::/32"}, False),
        ({"address": "0.0.0.0/0"}, True),
        ({"address": "192.0.3.0/24"}, False),
        ({"number": "44207946"}, True),
        ({"number": "+49 30 123 45"}, True),
        ({"number": "4420794"}, False),
        ({"reason": "unknown_source"}, True),
        ({"reason": "no_did"}, False),
        ({"account_id": 17}, False),
        ({"client_id": 1}, False),
        ({"accepted": False, "switch": "sbc1"}, True),
    ],
)
def test_filters(tmp_path: Path, wanted: dict[str, object], holds: bool) -> None:
    written(tmp_path, 1, framed(body()))
    assert bool(ids(tmp_path, **wanted)) is holds


def test_a_masked_number_is_found_by_the_digits_that_are_left(tmp_path: Path) -> None:
    written(tmp_path, 1, framed(body(masked=True, src_number="49301****", dst_number=None)))
    assert ids(tmp_path, number="493012345") == ["c1"]
    assert ids(tmp_path, number="493112345") == []


def test_a_call_is_found_by_its_id_in_the_order_of_its_decisions(tmp_path: Path) -> None:
    written(tmp_path, 1, framed(body("c1"), 1.0), framed(body("c11"), 2.0), framed(body("x", name="c1"), 3.0))
    written(tmp_path, 2, framed(body("c1"), 4.0), framed(body(None), 5.0))
    assert [one.at for one in RecordReader(tmp_path).of_call("c1")] == [1.0, 4.0]
    assert RecordReader(tmp_path).of_call("") == []


def test_a_torn_last_entry_is_skipped(tmp_path: Path) -> None:
    whole, torn = framed(body("c1")), framed(body("c2"))
    for size in range(1, len(torn)):
        written(tmp_path, 1, whole, torn[:size])
        assert ids(tmp_path) == ["c1"]
        assert RecordReader(tmp_path).of_call("c2") == []


def test_entries_behind_damage_are_read(tmp_path: Path) -> None:
    first, second, third = (framed(body(f"c{number}")) for number in (1, 2, 3))
    for place in range(len(second)):
        damaged = second[:place] + bytes((second[place] ^ 0x55,)) + second[place + 1 :]
        written(tmp_path, 1, first, damaged, third)
        assert ids(tmp_path) == ["c3", "c1"]
        assert [one.request.call_id for one in RecordReader(tmp_path).of_call("c3")] == ["c3"]
        assert RecordReader(tmp_path).of_call("c2") == []


def test_a_mark_in_an_entry_is_no_entry(tmp_path: Path) -> None:
    answer = b"\x82\xa8accepted\xc3\xa1x\xc4\x04" + MARK
    written(tmp_path, 1, framed(body("c1", answer)), framed(body("c2")))
    assert ids(tmp_path) == ["c2", "c1"]
    assert len(RecordReader(tmp_path).of_call("c1")) == 1


def test_damage_is_counted(tmp_path: Path) -> None:
    encoded = framed(body())
    written(tmp_path, 1, encoded[:-1] + b"\0", encoded)
    segment_path(tmp_path, 2).write_bytes(b"of another program, and long enough")
    segment_path(tmp_path, 3).write_bytes(b"")
    reader = RecordReader(tmp_path)
    assert len(list(reader.newest())) == 1
    assert reader.damaged == 2


def test_an_absent_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no record of decisions"):
        list(RecordReader(tmp_path / "x").newest())


def test_a_newer_format_is_an_error(tmp_path: Path) -> None:
    segment_path(tmp_path, 1).write_bytes(HEADER.pack(MAGIC, FORMAT + 1))
    with pytest.raises(RecordError, match="Use a newer identengine"):
        list(RecordReader(tmp_path).newest())
