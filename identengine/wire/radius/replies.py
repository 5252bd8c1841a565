"""Replies: the answers of the engine as packets (interfaces.md 5).

Every reply begins with a Message-Authenticator, and returns all Proxy-State of its request in order. A reply has
at most 4,096 bytes, of which Proxy-State has the first claim. Rules if the rest does not fit:

- An accepted call loses Class, account and client, and the SIP-AVPs if the pairs of Cisco are there too. If it is
  still too large, or a value is too long for its attribute, it becomes the reject ``internal_error``. The switch
  must not miss the number, the rate table or the routing plan.
- A reject loses its last attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Literal, TypeAlias

import msgspec

from identengine.calls.backend import EncodedDecision, unpacked
from identengine.model.attributes import ATTRIBUTES, AVPAIR, CISCO
from identengine.model.numbers import MAX_LENGTH
from identengine.model.reasons import Reason, ReasonTable
from identengine.model.records import Decision
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.packet import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    HEADER_BYTES,
    LONGEST_PACKET,
    LONGEST_VALUE,
    Packet,
    attribute,
    vendor_key,
)

Style: TypeAlias = Literal["cisco", "sip_avp"]
"""The form of the fields in a reply: pairs of Cisco, or attributes SIP-AVP as SIP proxies read them."""
STYLES: tuple[Style, ...] = ("cisco", "sip_avp")
MOST_ROUTINGS = 20_000
"""Number of different routings whose encoded attributes are kept. Most accounts share theirs with others."""

_CLASS = ATTRIBUTES["Class"].type
_REPLY_MESSAGE = ATTRIBUTES["Reply-Message"].type
_SIP_AVP = ATTRIBUTES["SIP-AVP"].type
_AVPAIR = vendor_key(CISCO, ATTRIBUTES[AVPAIR].type)
_RETURN_CODE = vendor_key(CISCO, ATTRIBUTES["h323-return-code"].type)
_ROOM = LONGEST_PACKET - HEADER_BYTES - 18
"""Room for all attributes except the Message-Authenticator, in bytes."""

_PAIR_NAMES = {
    "src_number": "xpgk-src-number-out",
    "dst_number": "xpgk-dst-number-out",
    "account_id": "account",
    "client_id": "client",
    "rate_table": "rate-table",
    "routing_plan": "routing-plan",
    "tag": "tag",
    "host": "host",
    "port": "port",
    "protocol": "protocol",
    "proxy": "proxy",
    "sip_code": "sip-code",
    "q850": "q850",
}
"""The names of pairs. A SIP-AVP has the name of the field."""
_NUMBERS = ("src_number", "dst_number")
_NAMING = ("account_id", "client_id")
_ROUTING = ("rate_table", "routing_plan", "tag", "host", "port", "protocol", "proxy")
_REJECTED = ("sip_code", "q850")


class _Form:
    """One style of the fields in a reply."""

    def __init__(self, style: Style) -> None:
        self._pairs = style == "cisco"
        sizes = range(2 * MAX_LENGTH + 1)  # the dialled number can have a tech prefix in front
        self.src_heads, self.dst_heads, self.account_heads, self.client_heads = (
            [self._head(name, size) for size in sizes] for name in (*_NUMBERS, *_NAMING)
        )
        """The bytes in front of a number or an id, by its size."""

    def field(self, name: str, value: object) -> bytes:
        """Return a field as an attribute. Raise ValueError if it is too long."""
        key, text = (_AVPAIR, f"{_PAIR_NAMES[name]}={value}") if self._pairs else (_SIP_AVP, f"{name}:{value}")
        return attribute(key, text.encode())

    def fields(self, values: Iterable[tuple[str, object]]) -> bytes:
        """Return those of some fields that have a value. Raise ValueError if one is too long."""
        return b"".join(self.field(name, value) for name, value in values if value is not None)

    def _head(self, name: str, size: int) -> bytes:
        whole = self.field(name, "0" * size)
        return whole[: len(whole) - size]


_FORMS = {style: _Form(style) for style in STYLES}


class _Accepted(msgspec.Struct, frozen=True, gc=False):
    """The fields of an accepted call that its reply names."""

    account_id: int
    client_id: int
    version: int
    dst_number: str
    src_number: str | None = None
    rate_table: str | None = None
    routing_plan: str | None = None
    tag: str | None = None
    host: str | None = None
    port: int | None = None
    protocol: str | None = None
    proxy: str | None = None


_routing_of: Callable[[_Accepted], tuple[object, ...]] = attrgetter(*_ROUTING)
_from_messagepack = msgspec.msgpack.Decoder(_Accepted).decode
_from_json = msgspec.json.Decoder(_Accepted).decode
_CLASS_HEADS = [attribute(_CLASS, bytes(size))[:2] for size in range(LONGEST_VALUE + 1)]
"""The bytes in front of a Class, by its size."""
_ACCEPTED = attribute(_RETURN_CODE, b"0")
_CLASS_TEXT = b"account=%b;client=%b;version=%b"
_BRACE = ord("{")


class Replies:
    """Encodes replies in some styles, with the codes of a config. It keeps the attributes of routings."""

    def __init__(self, reasons: ReasonTable, styles: Sequence[Style] = ("cisco",)) -> None:
        self._reasons, self._forms = reasons, [_FORMS[style] for style in styles]
        self._routings: dict[tuple[object, ...], list[bytes]] = {}
        """By the values of the routing: in each form the attributes behind the numbers and ids."""

    def accepted(self, request: Packet, secret: SharedSecret, answer: EncodedDecision | bytes | Decision) -> bytes:
        """Return the Access-Accept of a call, or the Access-Reject if its answer does not fit."""
        if isinstance(answer, Decision):
            return self._accepted_whole(request, secret, answer)
        packed = answer if isinstance(answer, bytes) else answer.packed
        call = _from_json(packed) if packed[0] == _BRACE else _from_messagepack(packed)
        account, client, dst = b"%d" % call.account_id, b"%d" % call.client_id, call.dst_number.encode()
        named = _CLASS_TEXT % (account, client, b"%d" % call.version)
        routing = _routing_of(call)
        try:
            kept = self._routings.get(routing) or self._keep(routing)
            parts = [_CLASS_HEADS[len(named)], named, _ACCEPTED]
            for form, last in zip(self._forms, kept, strict=True):
                if call.src_number is not None:
                    src = call.src_number.encode()
                    parts += form.src_heads[len(src)], src
                parts += form.dst_heads[len(dst)], dst, form.account_heads[len(account)], account
                parts += form.client_heads[len(client)], client, last
        except ValueError:
            return self._accepted_whole(request, secret, unpacked(packed))
        parts.append(request.proxy_state)
        attributes = b"".join(parts)
        if len(attributes) > _ROOM:
            return self._accepted_whole(request, secret, unpacked(packed))
        return secret.reply(ACCESS_ACCEPT, request, attributes)

    def rejected(self, request: Packet, secret: SharedSecret, decision: Decision) -> bytes:
        """Return the Access-Reject of a call."""
        reason = Reason(decision.reason or Reason.INTERNAL_ERROR)
        codes = self._reasons.codes(reason, decision.account_id)
        room, attributes = _ROOM - len(request.proxy_state), b""
        for one in self._reject(decision, reason, codes.h323):
            if len(attributes) + len(one) > room:
                break
            attributes += one
        return secret.reply(ACCESS_REJECT, request, attributes + request.proxy_state)

    def recorded(self, request: Packet, secret: SharedSecret) -> bytes:
        """Return the Accounting-Response, also to a Status-Server on the port of accounting (RFC 5997).

        Only a Status-Server gets a Message-Authenticator. Clients check the one of accounting in different ways.
        """
        reply = secret.unsigned_reply if request.code == ACCOUNTING_REQUEST else secret.reply
        return reply(ACCOUNTING_RESPONSE, request, request.proxy_state)

    def alive(self, request: Packet, secret: SharedSecret) -> bytes:
        """Return the answer to a Status-Server on the port of authentication (RFC 5997)."""
        return secret.reply(ACCESS_ACCEPT, request, request.proxy_state)

    def _keep(self, routing: tuple[object, ...]) -> list[bytes]:
        """Encode and keep the attributes of a routing. Raise ValueError if a value is too long."""
        kept = [form.fields(zip(_ROUTING, routing, strict=True)) for form in self._forms]
        if len(self._routings) >= MOST_ROUTINGS:
            self._routings.clear()
        self._routings[routing] = kept
        return kept

    def _accepted_whole(self, request: Packet, secret: SharedSecret, decision: Decision) -> bytes:
        """Return the reply to an accepted call, as large as it can be, or its reject."""
        every = [(name, getattr(decision, name)) for name in (*_NUMBERS, *_NAMING, *_ROUTING)]
        needed = [(name, value) for name, value in every if name not in _NAMING]
        try:
            attributes = _class_of(decision) + _ACCEPTED
            attributes += b"".join(form.fields(every) for form in self._forms)
            if len(attributes) + len(request.proxy_state) > _ROOM:
                attributes = _ACCEPTED + self._forms[0].fields(needed)
            if len(attributes) + len(request.proxy_state) <= _ROOM:
                return secret.reply(ACCESS_ACCEPT, request, attributes + request.proxy_state)
        except ValueError:
            pass
        codes = self._reasons.codes(Reason.INTERNAL_ERROR, decision.account_id)
        rejected = Decision(accepted=False, reason=Reason.INTERNAL_ERROR, sip_code=codes.sip_code, q850=codes.q850)
        return self.rejected(request, secret, rejected)

    def _reject(self, decision: Decision, reason: Reason, h323: int) -> Iterator[bytes]:
        yield attribute(_RETURN_CODE, str(h323).encode())
        yield attribute(_REPLY_MESSAGE, reason.encode())
        for form in self._forms:
            for name in _REJECTED:
                value = getattr(decision, name)
                if value is not None:
                    yield form.field(name, value)


def _class_of(decision: Decision) -> bytes:
    """Return the Class, which switches repeat in accounting: the account, its client and the version."""
    values = decision.account_id, decision.client_id, decision.version
    return attribute(_CLASS, _CLASS_TEXT % tuple(str(value).encode() for value in values))
