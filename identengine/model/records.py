"""The records of the book (clients, accounts, DIDs), and of requests and decisions.

All of them are plain frozen data. Behaviour is limited to properties of one object. Field names are the column
names of interfaces.md 1 and the parameter and result names of interfaces.md 3, so that no layer renames anything.
None always means *not set*. A limit of 0 rejects every call (engine.md 1.6).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias, get_args

import msgspec


class IdentBy(StrEnum):
    """The kind of value that identifies an account (engine.md 1.2)."""

    IP = "ip"
    """The account is identified by the networks that contain ``src_ip``."""
    NAME = "name"
    """The account is identified by the name in the request."""
    ANI = "ani"
    """The account is identified by the calling number, or on termination by the dialled number."""


class SrcPolicy(StrEnum):
    """The rule for the calling numbers of an account (engine.md 4)."""

    ALLOW_ANY = "allow_any"
    """The account may use any calling number."""
    REJECT = "reject"
    """A call is rejected if its calling number is not an active DID of the account."""
    OVERWRITE = "overwrite"
    """A calling number that is not an active DID of the account is replaced by one that is."""


class ClientStatus(StrEnum):
    """The status of a client. Blocking a client also blocks all clients below it (engine.md 3.5)."""

    ACTIVE = "active"
    """Calls of the client may pass, unless a reseller above it is blocked."""
    BLOCKED = "blocked"
    """Calls of the client and of all clients below it are rejected."""


class DidStatus(StrEnum):
    """The status of a DID. Src Policy considers active DIDs only (engine.md 1.3)."""

    ACTIVE = "active"
    """The account may use the number as calling number."""
    BLOCKED = "blocked"
    """The account owns the number but may not use it as calling number."""
    ON_HOLD = "on_hold"
    """The engine treats the number as ``blocked``. The difference matters to the operator only."""


Interface: TypeAlias = Literal["udp", "tcp", "tls", "http", "resp", "radius"]
"""The interface through which a switch sends its requests."""
INTERFACES: tuple[Interface, ...] = get_args(Interface)


class Direction(StrEnum):
    """The direction of a call, seen from the operator's network."""

    ORIGINATION = "origination"
    """The call comes in from a customer."""
    TERMINATION = "termination"
    """The call is sent out to a vendor."""


class Client(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A customer, vendor or reseller (engine.md 1.1)."""

    id: int
    name: str
    status: ClientStatus = ClientStatus.ACTIVE
    parent_id: int | None = None
    rate_table: str | None = None
    routing_plan: str | None = None
    term_rate_table: str | None = None
    capacity: int | None = None
    orig_capacity: int | None = None
    term_capacity: int | None = None
    orig_cps: float | None = None
    notes: str | None = None


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An account of a client: calls come from it, go to it, or both (engine.md 1.2).

    ``orig_*`` fields describe the originator, ``term_*`` fields the terminator. Values are in normal form
    (engine.md 2). Addresses of ``ident``, ``gateways``, ``term_protocol``, ``term_proxy`` and ``term_routing_ip``
    are kept and answered *as written*.
    """

    id: int
    client_id: int
    name: str
    ident_by: IdentBy
    ident: tuple[str, ...]
    tech_prefix: str | None = None
    password: str | None = None
    """A token ``enc:…`` of :mod:`identengine.store.vault`, never the plain password."""
    gateways: tuple[str, ...] = ()
    notes: str | None = None
    orig_enabled: bool = True
    orig_rate_table: str | None = None
    orig_routing_plan: str | None = None
    orig_tag: str | None = None
    src_policy: SrcPolicy = SrcPolicy.ALLOW_ANY
    orig_capacity: int | None = None
    orig_cps: float | None = None
    term_enabled: bool = False
    term_rate_table: str | None = None
    term_tag: str | None = None
    term_routing_ip: str | None = None
    term_capacity: int | None = None
    term_protocol: str | None = None
    term_proxy: str | None = None
    term_port: int | None = None

    @property
    def disabled(self) -> bool:
        """True if both parts are off.

        Such an account is kept for its statistics but never matches (engine.md 1.5, 3.5).
        """
        return not (self.orig_enabled or self.term_enabled)


class Did(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A number that an account owns (engine.md 1.3)."""

    number: str
    account_id: int
    status: DidStatus = DidStatus.ACTIVE


BookRow: TypeAlias = Client | Account | Did
"""A row of one of the three tables of the book."""


class Digest(msgspec.Struct, frozen=True, gc=False):
    """The digest fields (RFC 7616) that the switch received from the caller and forwards."""

    username: str | None = None
    """User name of the digest. It stands in for an absent ``name``; if the two differ, the digest verifies for
    no account."""
    realm: str | None = None
    """Realm of the challenge."""
    nonce: str | None = None
    """Nonce of the challenge. The switch checks whether it is fresh."""
    uri: str | None = None
    """``digest-uri`` that the caller signed."""
    method: str | None = None
    """Method of the signed request, for example ``INVITE``."""
    qop: str | None = None
    """Quality of protection: absent or ``auth``. Every other value does not verify."""
    nc: str | None = None
    """Nonce count, as the caller sent it."""
    cnonce: str | None = None
    """Client nonce."""
    response: str | None = None
    """Response that the caller computed. It is never quoted in an answer or a log."""
    algorithm: str | None = None
    """``MD5`` (the default) or ``SHA-256``. Every other value does not verify."""


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A switch's question (engine.md 3) as received: no field is checked or in normal form yet.

    It holds the parameters of ``authorize``, ``identify`` and ``explain`` (interfaces.md 3).
    """

    call_id: str | None = None
    """Id of the call, made by the switch. A call without an id is checked, but holds no slot."""
    leg_id: str | None = None
    """Id of one leg of the call. In ``start``, ``update`` and ``stop`` an absent id matches all legs."""
    direction: str | None = None
    """``origination`` or ``termination``. If absent, ``authorize``, ``identify`` and ``explain`` take origination;
    ``start``, ``update`` and ``stop`` match both directions."""
    account_id: int | str | None = None
    """Account of the vendor that the switch has chosen. It is read on termination only; all other
    identification is skipped."""
    src_ip: str | None = None
    """Address of the customer's equipment, or on termination of the vendor's. IPv4 or IPv6, without port or
    brackets."""
    src_port: int | str | None = None
    """Port of that equipment, 1 to 65535."""
    protocol: str | None = None
    """Signalling protocol of the call, for example ``SIP``. Case is ignored."""
    gateway: str | None = None
    """Name of the equipment through which the call came. Case is ignored."""
    name: str | None = None
    """Name that the caller sends, for example the user name of its registration. It is case-sensitive."""
    password: str | None = None
    """Password that the caller sends, in clear. It is never quoted in an answer or a log."""
    digest: Digest | None = None
    """Digest fields that the caller sends instead of a password."""
    src_number: str | None = None
    """Calling number. An invalid number counts as absent."""
    dst_number: str | None = None
    """Dialled number, with the tech prefix if the caller dialled one. A call without a number is rejected as
    ``invalid_destination``."""


class Chap(msgspec.Struct, frozen=True, gc=False):
    """A CHAP response (RFC 1994) that the switch received from the caller and forwards. Only RADIUS carries it."""

    identifier: int
    """Identifier of the exchange, 0 to 255."""
    challenge: bytes
    """Challenge that the switch chose."""
    response: bytes
    """Response that the caller computed. It is never quoted in an answer or a log."""


class ChapRequest(Request, frozen=True, kw_only=True, gc=False):
    """A request whose caller proves its password by CHAP (RFC 2865, section 5.3)."""

    chap: Chap


class CallRequest(Request, frozen=True, kw_only=True, gc=False):
    """The parameters of ``start``, ``update`` and ``stop`` (engine.md 5.4).

    They name a call, and may also carry the fields that identify it.
    """

    interval: int | str | None = None
    """Seconds between two updates, 1 to 604800. The leg is held for three times this long after each message."""


class CallList(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The parameters of ``sync``: one part of the complete list of a switch's calls (engine.md 5.6)."""

    list_id: str | None = None
    """Name of this list. The next list needs another name."""
    part: int | str | None = None
    """Number of this part, from 1 to ``parts``. The default is 1."""
    parts: int | str | None = None
    """Number of parts of the list, 1 to 100000. The default is 1."""
    calls: list[tuple[str | None, ...]] | None = None
    """Calls of this part. An entry is an array of call id, leg id and direction; the last two may be absent
    and then match all."""
    confirm_empty: bool | None = None
    """True if an empty list is deliberate. Without it an empty list has no effect."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The answer to one request (interfaces.md 3, "Result of `authorize`")."""

    accepted: bool
    """True if the call may pass."""
    account_id: int | None = None
    """Id of the account. A reject names the account only if one was found."""
    account_name: str | None = None
    """Name of the account."""
    client_id: int | None = None
    """Id of the account's client."""
    client_name: str | None = None
    """Name of the account's client."""
    direction: Direction | None = None
    """Direction of the leg, ``origination`` or ``termination``."""
    version: int | None = None
    """Version of the book that decided."""

    matched_by: Literal["ip", "name", "ani", "account_id"] | None = None
    """Kind of the value that identified the account: ``ip``, ``name``, ``ani`` or ``account_id``."""
    matched: str | None = None
    """Network, name or number of the account that matched. Absent if the request named the account."""
    ambiguous: bool | None = None
    """True if further accounts matched equally well. The account with the lowest id was chosen."""
    tech_prefix: str | None = None
    """Tech prefix of the account. On origination it was removed from ``dst_number``; on termination by
    ``account_id`` it was put in front."""
    src_number: str | None = None
    """Calling number to send on, in normal form. Absent if the request has none that is valid."""
    src_rewritten: bool | None = None
    """True if ``src_number`` is a DID of the account that replaces the caller's number."""
    dst_number: str | None = None
    """Number to dial, in normal form."""
    rate_table: str | None = None
    """Rate table of the account, or else of its client or the nearest reseller above."""
    routing_plan: str | None = None
    """Routing plan of the account, or else of its client or the nearest reseller above. Origination only."""
    tag: str | None = None
    """Tag of the account for this direction."""
    lease: int | None = None
    """Seconds for which the slot is reserved, unless ``start`` or ``update`` extends it."""
    unreserved: bool | None = None
    """True if the request has no ``call_id``, so that the limits were checked but no slot is held."""

    host: str | None = None
    """Address of the vendor. Absent if the switch has to choose. Termination only."""
    port: int | None = None
    """Port of the vendor. Termination only."""
    protocol: str | None = None
    """Signalling protocol of the vendor, as written in the book. Termination only."""
    proxy: str | None = None
    """Proxy in front of the vendor. Termination only."""

    reason: str | None = None
    """Reason of the reject."""
    sip_code: int | None = None
    """SIP status code for the caller."""
    q850: int | None = None
    """Q.850 cause for the caller."""
    field: str | None = None
    """Parameter that cannot be used, with ``invalid_request``."""
    value: str | None = None
    """Value of that parameter, as text."""
