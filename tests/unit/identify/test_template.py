"""The parts of an answer, joined: any parts make the decision that is encoded whole (interfaces.md 3)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from identengine.identify import template
from identengine.identify.template import MATCHES, AnswerPart, version_part
from identengine.model.records import Decision, Direction

TEXTS = st.text(max_size=300)
"""Values whose headers in MessagePack have one, two and three bytes."""
OPTIONAL = st.none() | TEXTS
IDS = st.integers(1, 2**63 - 1)
NUMBERS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
ACCOUNTS = st.builds(
    Decision,
    accepted=st.just(True),
    account_id=IDS,
    account_name=TEXTS,
    client_id=IDS,
    client_name=TEXTS,
    direction=st.sampled_from(Direction),
    tech_prefix=OPTIONAL,
    rate_table=OPTIONAL,
    routing_plan=OPTIONAL,
    tag=OPTIONAL,
    host=OPTIONAL,
    port=st.none() | st.integers(1, 65535),
    protocol=OPTIONAL,
    proxy=OPTIONAL,
)


@given(
    ACCOUNTS,
    st.integers(1, 2**31),
    st.sampled_from([{}, {"lease": 200}, {"unreserved": True}]),
    st.sampled_from(list(MATCHES)),
    st.booleans(),
    st.booleans(),
    OPTIONAL,
    NUMBERS,
    st.none() | NUMBERS,
)
def test_any_parts_make_the_whole_decision(
    account: Decision,
    version: int,
    last: dict[str, object],
    matched_by: str,
    ambiguous: bool,
    rewritten: bool,
    matched: str | None,
    dst: str,
    src: str | None,
) -> None:
    part, shared = AnswerPart.of(account), version_part(version, last)
    match = MATCHES[matched_by][ambiguous][rewritten]
    number = None if src is None else src.encode()
    expected = msgspec.structs.replace(
        account,
        version=version,
        matched_by=matched_by,
        ambiguous=ambiguous,
        src_rewritten=rewritten,
        matched=matched,
        dst_number=dst,
        src_number=src,
        **last,
    )
    for _ in range(2):  # the second time the JSON of the parts is there already
        packed = template.packed(part, shared, match, matched, dst.encode(), number)
        json = template.json(part, shared, match, matched, dst.encode(), number)
        assert msgspec.msgpack.decode(packed, type=Decision) == expected
        assert msgspec.json.decode(json, type=Decision) == expected
    whole = msgspec.to_builtins(expected)
    assert msgspec.msgpack.decode(packed) == whole  # no member is there twice, and none is null
    assert msgspec.json.decode(json) == whole


@pytest.mark.parametrize("size", [1, 31, 32, 64, 128])
def test_numbers_of_every_size_fit(size: int) -> None:
    part, shared = AnswerPart.of(Decision(accepted=True, account_id=1)), version_part(1, {})
    for form, decode in ((template.packed, msgspec.msgpack.decode), (template.json, msgspec.json.decode)):
        answer = form(part, shared, MATCHES["account_id"][False][False], None, b"7" * size, None)
        assert decode(answer)["dst_number"] == "7" * size
