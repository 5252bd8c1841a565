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
    """A way in or out of a client (engine.md 1.2).

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
    realm: str | None = None
    nonce: str | None = None
    uri: str | None = None
    method: str | None = None
    qop: str | None = None
    nc: str | None = None
    cnonce: str | None = None
    response: str | None = None
    algorithm: str | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A switch's question (engine.md 3) as received: no field is checked or in normal form yet.

    It holds the parameters of ``authorize``, ``identify`` and ``explain`` (interfaces.md 3).
    """

    call_id: str | None = None
    leg_id: str | None = None
    direction: str | None = None
    account_id: int | str | None = None
    src_ip: str | None = None
    src_port: int | str | None = None
    protocol: str | None = None
    gateway: str | None = None
    name: str | None = None
    password: str | None = None
    digest: Digest | None = None
    src_number: str | None = None
    dst_number: str | None = None


class CallRequest(Request, frozen=True, kw_only=True, gc=False):
    """The parameters of ``start``, ``update`` and ``stop`` (engine.md 5.4).

    They name a call, and may also carry the fields that identify it.
    """

    interval: int | str | None = None
    """Time between two updates, in seconds."""


class CallList(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The parameters of ``sync``: one part of the complete list of a switch's calls (engine.md 5.6)."""

    list_id: str | None = None
    part: int | str | None = None
    parts: int | str | None = None
    calls: list[tuple[str | None, ...]] | None = None
    """Call id, leg id and direction of each call. Trailing items may be missing."""
    confirm_empty: bool | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The answer to one request (interfaces.md 3, "Result of `authorize`")."""

    accepted: bool
    account_id: int | None = None
    account_name: str | None = None
    client_id: int | None = None
    client_name: str | None = None
    direction: Direction | None = None
    version: int | None = None

    matched_by: Literal["ip", "name", "ani", "account_id"] | None = None
    matched: str | None = None
    ambiguous: bool | None = None
    tech_prefix: str | None = None
    src_number: str | None = None
    src_rewritten: bool | None = None
    dst_number: str | None = None
    rate_table: str | None = None
    routing_plan: str | None = None
    tag: str | None = None
    lease: int | None = None
    unreserved: bool | None = None

    host: str | None = None
    port: int | None = None
    protocol: str | None = None
    proxy: str | None = None

    reason: str | None = None
    sip_code: int | None = None
    q850: int | None = None
    field: str | None = None
    value: str | None = None
