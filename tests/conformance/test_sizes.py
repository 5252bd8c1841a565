"""Answers that are too large for a datagram (interfaces.md 3): split, cut or shortened, but only over UDP."""

from __future__ import annotations

from conformance.served import all_of
from conformance.steps import TO, from_ip
from support.switch import Switch, call

DATAGRAM = 1400


def test_an_array_whose_answer_needs_several_datagrams(switch: Switch) -> None:
    many = [call("authorize" if n % 3 else "ping", n, **from_ip("1")) for n in range(90)]
    switch.send(many)
    assert [answer["id"] for answer in all_of(switch, 90)] == list(range(90))
    if switch.wire.transport == "udp":
        assert max(switch.answer_bytes) <= DATAGRAM
        assert len(switch.answer_bytes) > 3
    else:
        assert len(switch.answer_bytes) == 1


def test_explanations_are_cut_over_udp_alone(switch: Switch) -> None:
    whole = switch.exchange("explain", {"src_ip": "10.0.9.9"} | TO)["result"]
    if switch.wire.transport == "udp":
        assert switch.answer_bytes[0] <= DATAGRAM
        assert whole["cut"] is True
        assert 3 < len(whole["candidates"]) < 60
    else:
        assert whole["cut"] is False
        assert len(whole["candidates"]) == 60
    assert whole["decision"]["reason"] == "tech_prefix_mismatch"


def test_a_value_given_back_that_fits_no_datagram(switch: Switch) -> None:
    result = switch.exchange("authorize", {"src_ip": "9" * 2000} | TO)["result"]
    assert (result["reason"], result["field"]) == ("invalid_request", "src_ip")
    assert (len(result["value"]) < 100) == (switch.wire.transport == "udp")
