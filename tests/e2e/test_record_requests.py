"""The requests of the record that are hostile, odd or large (engine.md 8.8)."""

from __future__ import annotations

from pathlib import Path

from e2e import test_record
from e2e.test_record import ALL, CONFIG, UNKNOWN, counted, recorded
from support.server import serving
from support.switch import request

from identengine.record.reader import RecordReader
from identengine.record.segments import segments

folder = test_record.folder
"""The fixture."""


def test_the_password_of_a_uri_is_not_recorded(folder: Path) -> None:
    uri = "sip:4930:pw-secret@h;user=phone"
    fields: list[dict[str, object]] = [
        {"src_number": f'"A" <{uri}>', "dst_number": "SIPS:44:pw-secret@h"},
        {"dst_number": "sip:44%20:pw-secret@h", "name": f"<{uri}>, <{uri}>"},
        {"dst_number": "4", "src_ip": uri},
        {"dst_number": "4", "gateway": uri, "call_id": uri, "leg_id": uri, "protocol": uri},
        {"dst_number": "4", "direction": "termination", "account_id": uri},
        {"dst_number": "4", "digest": {"username": uri, "response": "0"}},
        {"dst_number": "sip:44:" + "pw-secret" * 200 + "@h"},
    ]
    for config in (ALL, ALL + "mask_numbers = true\n"):
        with serving(folder, config) as server, server.tcp() as tcp:
            tcp.send(*(request("authorize", n, **{**UNKNOWN, **each}) for n, each in enumerate(fields)))
            tcp.answers(len(fields))
    found = recorded(folder, 2 * len(fields))
    assert found[0].request.src_number == '"A" <sip:4930@h;user=phone>'
    assert found[0].request.dst_number == "SIPS:44@h"
    assert found[2].decision.value == "sip:4930@h;user=phone"
    assert len(RecordReader(folder / "store.record").of_call(uri)) == 2
    raw = b"".join(one.path.read_bytes() for one in segments(folder / "store.record"))
    assert b"secret" not in raw


def test_a_long_uri_keeps_its_number(folder: Path) -> None:
    long = "y" * 2000
    with serving(folder, ALL) as server, server.tcp() as tcp:
        numbers = {"dst_number": f"<sip:+44@h;x={long}>", "src_number": f"tel:55;x={long};phone-context=+49"}
        tcp.send(request("authorize", 1, src_ip="10.0.0.1", **numbers))
        tcp.answers(1)
        (entry,) = recorded(folder, 1)
    assert (entry.decision.dst_number, entry.decision.src_number) == ("44", "4955")
    assert (entry.request.dst_number, entry.request.src_number) == ("44", "4955")


def test_an_integer_of_any_size_is_recorded(folder: Path) -> None:
    with serving(folder, CONFIG) as server, server.tcp() as tcp:
        for number in (2**63, 2**64, -(2**63) - 1, 10**300):
            tcp.send(request("authorize", 1, src_port=number, **UNKNOWN))
            tcp.send(request("authorize", 2, direction="termination", account_id=number, dst_number="4"))
        tcp.answers(8)
        found = recorded(folder, 8)
        assert counted(folder, "decisions_unrecorded") == 0
    assert [found[2].request.src_port, found[3].request.account_id] == [str(2**64)] * 2


def test_texts_are_bounded(folder: Path) -> None:
    long = "x" * 10_000
    with serving(folder, CONFIG) as server, server.tcp() as tcp:
        tcp.send(request("authorize", 1, call_id=long, src_ip=long, dst_number="4", gateway="\u00fc" * 900))
        tcp.answers(1)
        (entry,) = recorded(folder, 1)
    assert (entry.decision.field, len(entry.decision.value or "")) == ("src_ip", 256)
    assert (len(entry.request.call_id or ""), entry.request.gateway) == (256, "\u00fc" * 256)
    assert RecordReader(folder / "store.record").of_call(long) == [entry]
