"""Replies, read by pyrad as a client would."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from pyrad.dictionary import Dictionary
from pyrad.packet import AcctPacket, AuthPacket
from support.radiuspackets import AUTHENTICATOR, SECRET, packet, request

from identengine.calls.backend import EncodedDecision
from identengine.calls.numbers import packed
from identengine.config.schema import ReplyStyle
from identengine.model.reasons import STANDARD, Codes, Reason, ReasonTable
from identengine.model.records import Decision, Direction
from identengine.wire.radius.packet import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    HEADER_BYTES,
    LONGEST_PACKET,
    STATUS_SERVER,
    Packet,
    decode,
    encoded,
)
from identengine.wire.radius.replies import Replies

EMPTY = Dictionary()
REASONS = ReasonTable()
ACCEPTED = Decision(
    accepted=True,
    account_id=102,
    account_name="premium",
    client_id=1,
    client_name="Northwind",
    direction=Direction.ORIGINATION,
    version=5,
    matched_by="ip",
    matched="192.0.2.10",
    tech_prefix="77#",
    src_number="442070001",
    dst_number="44171",
    rate_table="NW-Premium",
    routing_plan="LCR-Premium",
    tag="premium",
    lease=200,
)
CISCO = [
    (25, "account=102;client=1;version=5"),
    ((9, 103), "0"),
    ((9, 1), "xpgk-src-number-out=442070001"),
    ((9, 1), "xpgk-dst-number-out=44171"),
    ((9, 1), "account=102"),
    ((9, 1), "client=1"),
    ((9, 1), "rate-table=NW-Premium"),
    ((9, 1), "routing-plan=LCR-Premium"),
    ((9, 1), "tag=premium"),
]
SIP_AVP = [
    (225, "src_number:442070001"),
    (225, "dst_number:44171"),
    (225, "account_id:102"),
    (225, "client_id:1"),
    (225, "rate_table:NW-Premium"),
    (225, "routing_plan:LCR-Premium"),
    (225, "tag:premium"),
]
ASKED = packet(("User-Name", "192.0.2.10"))


def read(reply: bytes, asked: bytes) -> list[tuple[object, str]]:
    """Return the attributes of a reply behind its Message-Authenticator, as pyrad reads them."""
    kind = AcctPacket if asked[0] == ACCOUNTING_REQUEST else AuthPacket
    sent = kind(packet=asked, secret=SECRET.secret, dict=EMPTY)
    assert sent.VerifyReply(sent.CreateReply(packet=reply), reply)
    received = kind(packet=reply, secret=SECRET.secret, dict=EMPTY)
    if reply[0] != ACCOUNTING_RESPONSE:
        assert reply[HEADER_BYTES : HEADER_BYTES + 2] == b"\x50\x12"
        assert received.verify_message_authenticator(original_authenticator=sent.authenticator)
    found: list[tuple[object, str]] = []
    for key in received:
        if key != 80:
            found += [(key, value.decode()) for value in received[key]]
    return found


def in_order(reply: bytes) -> list[tuple[object, str]]:
    """Return the attributes of a reply behind its Message-Authenticator, in order."""
    return [
        (key if key < 256 else (key >> 8, key & 255), value.decode())
        for key, value in decode(reply).attributes[1:]
    ]


def replies(*styles: ReplyStyle, reasons: ReasonTable = REASONS) -> Replies:
    return Replies(reasons, styles or ("cisco",))


@pytest.mark.parametrize(
    ("styles", "attributes"),
    [
        (("cisco",), CISCO),
        (("sip_avp",), [*CISCO[:2], *SIP_AVP]),
        (("cisco", "sip_avp"), [*CISCO, *SIP_AVP]),
        (("sip_avp", "cisco"), [*CISCO[:2], *SIP_AVP, *CISCO[2:]]),
    ],
    ids=str,
)
def test_an_accepted_call_in_each_style(
    styles: tuple[ReplyStyle, ...], attributes: list[tuple[object, str]]
) -> None:
    in_json = msgspec.json.encode(ACCEPTED)
    by = replies(*styles)
    for answer in (packed(ACCEPTED), EncodedDecision(packed(ACCEPTED)), EncodedDecision(in_json), ACCEPTED) * 2:
        reply = by.accepted(ASKED, SECRET, answer)
        assert reply[0] == ACCESS_ACCEPT
        assert in_order(reply) == attributes
        assert sorted(read(reply, ASKED.data), key=str) == sorted(attributes, key=str)


def test_fields_that_a_decision_does_not_have_are_absent() -> None:
    bare = msgspec.structs.replace(ACCEPTED, src_number=None, rate_table=None, routing_plan=None, tag=None)
    assert in_order(replies().accepted(ASKED, SECRET, packed(bare))) == [
        *CISCO[:2],
        *CISCO[3:6],
    ]


def test_a_call_to_a_vendor_carries_the_place_to_send_it_to() -> None:
    vendor = msgspec.structs.replace(
        ACCEPTED,
        direction=Direction.TERMINATION,
        host="198.51.100.7",
        port=5061,
        protocol="SIP",
        proxy="proxy.example",
        routing_plan=None,
    )
    by = replies()
    pairs = [value for _, value in in_order(by.accepted(ASKED, SECRET, packed(vendor)))]
    assert pairs[-4:] == ["host=198.51.100.7", "port=5061", "protocol=SIP", "proxy=proxy.example"]
    assert in_order(by.accepted(ASKED, SECRET, packed(ACCEPTED))) == CISCO


def test_calls_of_an_account_differ_in_their_numbers_alone() -> None:
    by = replies()
    by.accepted(ASKED, SECRET, packed(ACCEPTED))
    other = msgspec.structs.replace(ACCEPTED, src_number=None, dst_number="1" * 128)
    assert in_order(by.accepted(ASKED, SECRET, packed(other))) == [
        *CISCO[:2],
        ((9, 1), f"xpgk-dst-number-out={'1' * 128}"),
        *CISCO[4:],
    ]
    newer = msgspec.structs.replace(ACCEPTED, version=6, tag="new")
    assert ((9, 1), "tag=new") in in_order(by.accepted(ASKED, SECRET, packed(newer)))
    assert ((9, 1), "tag=premium") in in_order(by.accepted(ASKED, SECRET, packed(ACCEPTED)))


@pytest.mark.parametrize("reason", Reason)
def test_a_reject_names_its_reason_and_its_codes(reason: Reason) -> None:
    codes = STANDARD[reason]
    decision = Decision(accepted=False, reason=reason, sip_code=codes.sip_code, q850=codes.q850)
    reply = replies().rejected(ASKED, SECRET, decision)
    attributes = [
        ((9, 103), str(codes.h323)),
        (18, reason.value),
        ((9, 1), f"sip-code={codes.sip_code}"),
        ((9, 1), f"q850={codes.q850}"),
    ]
    assert reply[0] == ACCESS_REJECT
    assert in_order(reply) == attributes
    assert sorted(read(reply, ASKED.data), key=str) == sorted(attributes, key=str)
    avps = in_order(replies("sip_avp").rejected(ASKED, SECRET, decision))[2:]
    assert avps == [(225, f"sip_code:{codes.sip_code}"), (225, f"q850:{codes.q850}")]


def test_the_codes_of_a_reject_are_those_of_the_config() -> None:
    table = ReasonTable({Reason.OVERLOAD: Codes(1, 2, 3)}, {17: {Reason.OVERLOAD: Codes(4, 5, 6)}})
    decision = Decision(accepted=False, reason=Reason.OVERLOAD, sip_code=4, q850=5)
    for account, h323 in ((None, "3"), (17, "6")):
        named = msgspec.structs.replace(decision, account_id=account)
        reply = replies(reasons=table).rejected(ASKED, SECRET, named)
        assert in_order(reply)[0] == ((9, 103), h323)


def test_accounting_and_status_server_are_answered() -> None:
    accounting = request(("Acct-Status-Type", 1), ("Proxy-State", b"a"), code=ACCOUNTING_REQUEST)
    reply = replies().recorded(decode(accounting), SECRET)
    assert reply[0] == ACCOUNTING_RESPONSE
    assert read(reply, accounting) == [(33, "a")]
    status = request(code=STATUS_SERVER)
    reply = replies().alive(decode(status), SECRET)
    assert (reply[0], read(reply, status)) == (ACCESS_ACCEPT, [])
    reply = replies().recorded(decode(status), SECRET)
    assert reply[0] == ACCOUNTING_RESPONSE
    assert SECRET.answers(decode(reply), AUTHENTICATOR)


# ---- Proxy-State and size


def test_proxy_state_is_returned_in_order_byte_for_byte() -> None:
    states = [b"b" * 253, b"", b"a\0\xff", b"b" * 253]
    pairs = [("Proxy-State", state) for state in states]
    asked = packet(pairs[0], ("User-Name", "x"), *pairs[1:])
    reject = Decision(accepted=False, reason=Reason.OVERLOAD)
    by = replies(*get_args(ReplyStyle))
    for reply in (
        by.accepted(asked, SECRET, packed(ACCEPTED)),
        by.accepted(asked, SECRET, ACCEPTED),
        by.rejected(asked, SECRET, reject),
        by.recorded(asked, SECRET),
        by.alive(asked, SECRET),
    ):
        assert [value for key, value in decode(reply).attributes if key == 33] == states
        assert reply.endswith(encoded([(33, state) for state in states]))


def filled(size: int) -> Packet:
    """Return a request with this much Proxy-State, in bytes."""
    whole, rest = divmod(size, 255)
    sizes = [255] * whole + ([rest] if rest >= 2 else [])
    return packet(*(("Proxy-State", bytes(each - 2)) for each in sizes))


def test_a_reply_is_never_too_large() -> None:
    by = replies(*get_args(ReplyStyle))
    reject = Decision(accepted=False, reason=Reason.OVERLOAD, sip_code=503, q850=42)
    most = LONGEST_PACKET - HEADER_BYTES - 18
    full = len(by.accepted(filled(0), SECRET, packed(ACCEPTED)))
    found = {}
    for size in (*range(0, 4058, 50), most, LONGEST_PACKET - full - 1, LONGEST_PACKET - full):
        asked = filled(size)
        for reply in (
            by.accepted(asked, SECRET, packed(ACCEPTED)),
            by.accepted(asked, SECRET, ACCEPTED),
            by.rejected(asked, SECRET, reject),
            by.alive(asked, SECRET),
            by.recorded(asked, SECRET),
        ):
            assert len(reply) <= LONGEST_PACKET
            assert reply.endswith(asked.proxy_state)
            assert SECRET.answers(decode(reply), AUTHENTICATOR)
        found[size] = in_order_without_state(by.accepted(asked, SECRET, packed(ACCEPTED)))
    needed = [CISCO[1], *CISCO[2:4], *CISCO[6:]]
    rejected = [((9, 103), "8"), (18, "internal_error"), ((9, 1), "sip-code=500"), ((9, 1), "q850=41")]
    shapes = [
        [*CISCO, *SIP_AVP],
        needed,
        *(([*rejected, (225, "sip_code:500"), (225, "q850:41")])[:n] for n in range(7)),
    ]
    assert all(each in shapes for each in found.values())
    assert found[0] == found[LONGEST_PACKET - full - 1] == [*CISCO, *SIP_AVP]
    assert found[most] == []
    assert needed in found.values()


def in_order_without_state(reply: bytes) -> list[tuple[object, str]]:
    return [one for one in in_order(reply) if one[0] != 33]


@pytest.mark.parametrize("field", ["rate_table", "routing_plan", "tag"])
@pytest.mark.parametrize("style", get_args(ReplyStyle))
def test_an_accepted_call_whose_fields_do_not_fit_is_rejected(field: str, style: ReplyStyle) -> None:
    head = len(f"{field}:") if style == "sip_avp" else len(f"{field.replace('_', '-')}=")
    longest = (253 if style == "sip_avp" else 247) - head
    for text, code in (
        ("x" * longest, ACCESS_ACCEPT),
        ("x" * (longest + 1), ACCESS_REJECT),
        ("é" * 125, ACCESS_REJECT),
    ):
        decision = msgspec.structs.replace(ACCEPTED, **{field: text})
        for answer in (packed(decision), decision):
            reply = replies(style).accepted(ASKED, SECRET, answer)
            assert reply[0] == code
            if code == ACCESS_REJECT:
                assert (18, "internal_error") in in_order(reply)
