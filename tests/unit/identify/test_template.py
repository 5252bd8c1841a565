"""The answer as a template: any valid encoding of its halves gives the same answer (interfaces.md 3)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.calls.backend import EncodedDecision
from identengine.engine.core import Engine
from identengine.engine.requests import EngineRequest
from identengine.identify.builder import build
from identengine.identify.template import AnswerTemplate, CallHalf, encode, header_of
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Client, Decision, Direction, IdentBy, Request

CALL_FIELDS = CallHalf.__struct_fields__
TEXTS = st.text(max_size=300)
"""Numbers of members that need a header longer than one byte."""
OPTIONAL = st.none() | TEXTS
IDS = st.integers(1, 2**63 - 1)
DECISIONS = st.builds(
    Decision,
    accepted=st.just(True),
    account_id=IDS,
    account_name=TEXTS,
    client_id=IDS,
    client_name=TEXTS,
    direction=st.just(Direction.ORIGINATION),
    version=st.integers(1, 2**31),
    matched_by=st.sampled_from(["ip", "name", "ani"]),
    matched=OPTIONAL,
    ambiguous=st.booleans(),
    tech_prefix=OPTIONAL,
    src_number=OPTIONAL,
    src_rewritten=st.booleans(),
    dst_number=TEXTS,
    rate_table=OPTIONAL,
    routing_plan=OPTIONAL,
    tag=OPTIONAL,
    lease=st.none() | st.integers(1, 86_400),
    unreserved=st.sampled_from([None, True]),
)


def fixmap(count: int) -> bytes:
    return bytes((0x80 | count,))


def map16(count: int) -> bytes:
    return b"\xde" + count.to_bytes(2, "big")


def map32(count: int) -> bytes:
    return b"\xdf" + count.to_bytes(4, "big")


FORMS = {"fixmap": fixmap, "map16": map16, "map32": map32}


def halves(decision: Decision) -> tuple[bytes, bytes]:
    """Return a decision as two encoded halves, as the builder and the engine encode them."""
    account = msgspec.structs.replace(decision, **dict.fromkeys(CALL_FIELDS))
    call = CallHalf(*(getattr(decision, field) for field in CALL_FIELDS))
    return encode(account), encode(call)


def in_form(form: str, half: bytes, order: Any = None) -> bytes:
    """Return the same map with another header, and with its members in another order."""
    members = list(msgspec.msgpack.decode(half).items())
    if order is not None:
        order.shuffle(members)
    return FORMS[form](len(members)) + b"".join(
        msgspec.msgpack.encode(part) for member in members for part in member
    )


@given(DECISIONS, st.sampled_from(list(FORMS)), st.sampled_from(list(FORMS)), st.randoms())
def test_the_halves_make_the_whole_in_whatever_form_they_are_encoded(
    decision: Decision, account_form: str, call_form: str, order: Any
) -> None:
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(decision))
    account, call = halves(decision)
    for filled in (
        AnswerTemplate.of(account).fill(call),
        AnswerTemplate.of(in_form(account_form, account, order)).fill(in_form(call_form, call, order)),
    ):
        assert msgspec.msgpack.decode(filled) == plain
        assert msgspec.msgpack.decode(filled, type=Decision) == decision


def test_each_field_of_an_answer_is_of_one_half() -> None:
    fields = Decision.__struct_fields__
    assert set(CALL_FIELDS) <= set(fields)
    account = Account(
        id=17,
        client_id=4,
        name="A",
        ident_by=IdentBy.IP,
        ident=("10.0.0.5",),
        tech_prefix="1",
        orig_rate_table="r",
        orig_routing_plan="p",
        orig_tag="t",
    )
    book = build(IdentifyOptions(), 1, bytes(32), [Client(id=4, name="C")], [account], [])
    half = msgspec.msgpack.decode(map16(book.accounts[17].template.count) + book.accounts[17].template.members)
    assert not set(half) & set(CALL_FIELDS)
    of_termination, of_rejects = (
        {"host", "port", "protocol", "proxy"},
        {"reason", "sip_code", "q850", "field", "value"},
    )
    assert {*half, *CALL_FIELDS} == set(fields) - of_termination - of_rejects


def test_a_half_has_the_defaults_of_the_answer() -> None:
    """A half omits the same members as the whole answer. Members without a default are never None."""
    defaults = dict(
        zip(
            Decision.__struct_fields__[-len(Decision.__struct_defaults__) :],
            Decision.__struct_defaults__,
            strict=True,
        )
    )
    for field, default in zip(
        CALL_FIELDS[-len(CallHalf.__struct_defaults__) :], CallHalf.__struct_defaults__, strict=True
    ):
        assert defaults[field] is default


@pytest.mark.parametrize("form", FORMS)
def test_a_header_is_read_as_the_specification_has_it(form: str) -> None:
    for count in (0, 1, 15) if form == "fixmap" else (0, 1, 15, 16, 300, 65_535):
        encoded = FORMS[form](count) + b"\xa1a"
        assert header_of(encoded) == (count, len(encoded) - 2)


@pytest.mark.parametrize("half", [b"\x93\x01\x02\x03", b"\xc0", b"\xa1a", b"\xdc\x00\x01\x01", b"\x7f"])
def test_what_is_no_map_is_no_half(half: bytes) -> None:
    template = AnswerTemplate.of(b"\x80")
    with pytest.raises(ValueError, match=f"expected a map in MessagePack, got .* {half[0]:#04x}"):
        template.fill(half)
    with pytest.raises(ValueError, match="expected a map in MessagePack"):
        AnswerTemplate.of(half)


def test_a_call_that_is_accepted_has_a_filled_template_as_answer() -> None:
    account = Account(id=17, client_id=4, name="A", ident_by=IdentBy.IP, ident=("10.0.0.5",))
    engine = Engine()
    engine.take_up(build(IdentifyOptions(), 1, bytes(32), [Client(id=4, name="C")], [account], []))
    request = Request(src_ip="10.0.0.5", dst_number="44", src_number="33")
    (answer,) = engine.decide([EngineRequest("identify", request, IdentifyOptions())])
    assert isinstance(answer, EncodedDecision)
    assert answer.decision() == Decision(
        accepted=True,
        account_id=17,
        account_name="A",
        client_id=4,
        client_name="C",
        direction=Direction.ORIGINATION,
        version=1,
        matched_by="ip",
        matched="10.0.0.5",
        ambiguous=False,
        src_number="33",
        src_rewritten=False,
        dst_number="44",
    )
