"""Replies: the answers of the engine as packets (interfaces.md 5).

Every reply, except that of accounting, begins with a Message-Authenticator. It returns all Proxy-State of its
request in order. A reply has at most 4,096 bytes, of which Proxy-State has the first claim. Rules if the rest does
not fit:

- An accepted call loses Class, account and client, and the second of two styles. If it is still too large, or a
  value is too long for its attribute, it becomes the reject ``internal_error``. The switch must not miss the
  number, the rate table or the routing plan.
- A reject loses its last attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias, get_args

import msgspec

from identengine.calls.backend import EncodedDecision, unpacked
from identengine.config.schema import ReplyStyle
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

MOST_ROUTES = 20_000
"""Number of routes whose encoded attributes are kept."""

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

    def __init__(self, style: ReplyStyle) -> None:
        self._pairs = style == "cisco"
        sizes = range(2 * MAX_LENGTH + 1)  # the dialled number can have a tech prefix in front
        self.src_heads, self.dst_heads = ([self._head(name, size) for size in sizes] for name in _NUMBERS)
        """The bytes in front of a number, by its size."""
        self.account_heads, self.client_heads = ([self._head(name, size) for size in sizes] for name in _NAMING)
        """The bytes in front of an id, by its number of digits."""

    def field(self, name: str, value: object) -> bytes:
        """Return a field as an attribute. Raise ValueError if it is too long."""
        key, text = (_AVPAIR, f"{_PAIR_NAMES[name]}={value}") if self._pairs else (_SIP_AVP, f"{name}:{value}")
        return attribute(key, text.encode())

    def fields(self, decision: object, names: Sequence[str]) -> bytes:
        """Return those of the fields that a decision has. Raise ValueError if one is too long."""
        values = ((name, getattr(decision, name)) for name in names)
        return b"".join(self.field(name, value) for name, value in values if value is not None)

    def _head(self, name: str, size: int) -> bytes:
        whole = self.field(name, "0" * size)
        return whole[: len(whole) - size]


_FORMS = {style: _Form(style) for style in get_args(ReplyStyle)}
_CLASS_HEADS = [bytes((_CLASS, size + 2)) for size in range(LONGEST_VALUE + 1)]
_CLASS_TEXT = b"account=%d;client=%d;version=%d"
_ACCEPTED_CODE = attribute(_RETURN_CODE, b"0")


class _Accepted(msgspec.Struct, frozen=True, gc=False):
    """The fields of an accepted call that its reply carries."""

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


_from_messagepack = msgspec.msgpack.Decoder(_Accepted).decode
_from_json = msgspec.json.Decoder(_Accepted).decode
_BRACE = ord("{")
_Route: TypeAlias = tuple[str | int | None, ...]


class Replies:
    """Encodes replies in some styles, with the codes of a config. It keeps the attributes of routes."""

    def __init__(self, reasons: ReasonTable, styles: Sequence[ReplyStyle] = ("cisco",)) -> None:
        self._reasons, self._forms = reasons, [_FORMS[style] for style in styles]
        self._routes: dict[_Route, list[tuple[_Form, bytes]]] = {}
        """By the values of the fields of a route: each form with their attributes. Many accounts share a route."""

    def accepted(self, request: Packet, secret: SharedSecret, answer: EncodedDecision | bytes | Decision) -> bytes:
        """Return the Access-Accept of a call, or the Access-Reject if its answer does not fit."""
        if isinstance(answer, Decision):
            return self._accepted_whole(request, secret, answer)
        packed = answer if isinstance(answer, bytes) else answer.packed
        call = _from_json(packed) if packed[0] == _BRACE else _from_messagepack(packed)
        route = (
            call.rate_table,
            call.routing_plan,
            call.tag,
            call.host,
            call.port,
            call.protocol,
            call.proxy,
        )
        forms = self._routes.get(route)
        if forms is None:
            try:
                forms = self._keep(route, call)
            except ValueError:  # a value is too long
                return self._accepted_whole(request, secret, unpacked(packed))
        account, client, dst, number = (
            b"%d" % call.account_id,
            b"%d" % call.client_id,
            call.dst_number,
            call.src_number,
        )
        text = _CLASS_TEXT % (call.account_id, call.client_id, call.version)
        parts = [_CLASS_HEADS[len(text)], text, _ACCEPTED_CODE]
        for form, routing in forms:
            if number is not None:
                parts += form.src_heads[len(number)], number.encode()
            parts += (
                form.dst_heads[len(dst)],
                dst.encode(),
                form.account_heads[len(account)],
                account,
                form.client_heads[len(client)],
                client,
                routing,
            )
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

    def _keep(self, route: _Route, call: _Accepted) -> list[tuple[_Form, bytes]]:
        """Encode and keep the attributes of a route. Raise ValueError if a value is too long."""
        kept = [(form, form.fields(call, _ROUTING)) for form in self._forms]
        if len(self._routes) >= MOST_ROUTES:
            self._routes.clear()
        self._routes[route] = kept
        return kept

    def _accepted_whole(self, request: Packet, secret: SharedSecret, decision: Decision) -> bytes:
        """Return the reply to an accepted call, as large as it can be, or its reject."""
        every, needed = (*_NUMBERS, *_NAMING, *_ROUTING), (*_NUMBERS, *_ROUTING)
        try:
            attributes = _class_of(decision) + _ACCEPTED_CODE
            attributes += b"".join(form.fields(decision, every) for form in self._forms)
            if len(attributes) + len(request.proxy_state) > _ROOM:
                attributes = _ACCEPTED_CODE + self._forms[0].fields(decision, needed)
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
    return attribute(_CLASS, _CLASS_TEXT % (decision.account_id, decision.client_id, decision.version))
