"""The words of the book and of a request: what a client, an account, a DID, a request and a decision are.

Plain frozen data, no behaviour but what follows from one object alone. Field names are the column names of
interfaces.md 1 and the parameter and result names of interfaces.md 3, so that no layer renames anything.
None always means *not set*; a limit of 0 means that nothing passes (engine.md 1.6).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias, get_args

import msgspec


class IdentBy(StrEnum):
    """What an account is known by (engine.md 1.2)."""

    IP = "ip"
    """Known by the networks that contain ``src_ip``."""
    NAME = "name"
    """Known by the name that the request carries."""
    ANI = "ani"
    """Known by the calling number; on termination by the dialled number."""


class SrcPolicy(StrEnum):
    """Which calling numbers an account may show (engine.md 4)."""

    ALLOW_ANY = "allow_any"
    """Every calling number passes."""
    REJECT = "reject"
    """A calling number that is not an active DID of the account is rejected."""
    OVERWRITE = "overwrite"
    """Such a number is replaced by one of the active DIDs of the account."""


class ClientStatus(StrEnum):
    """A blocked client, or one below a blocked reseller, passes nothing (engine.md 3.5)."""

    ACTIVE = "active"
    """Calls of the client pass, unless a reseller above it is blocked."""
    BLOCKED = "blocked"
    """Calls of the client and of all clients below it are rejected."""


class DidStatus(StrEnum):
    """Only active DIDs count for Src Policy (engine.md 1.3)."""

    ACTIVE = "active"
    """The account may show the number."""
    BLOCKED = "blocked"
    """The account owns the number and may not show it."""
    ON_HOLD = "on_hold"
    """As for ``blocked``: the operator alone tells the two apart."""


Interface: TypeAlias = Literal["udp", "tcp", "tls", "http", "resp", "radius"]
"""What a switch asks through."""
INTERFACES: tuple[Interface, ...] = get_args(Interface)


class Direction(StrEnum):
    """Origination: a customer's call comes in. Termination: a call goes out to a vendor."""

    ORIGINATION = "origination"
    """A call comes in from a customer."""
    TERMINATION = "termination"
    """A call goes out to a vendor."""


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
    """One way in or out of a client (engine.md 1.2); ``orig_*`` is the originator, ``term_*`` the terminator.

    Values are in normal form (engine.md 2), except what is answered *as written*: ``ident`` addresses,
    ``gateways``, ``term_protocol``, ``term_proxy``, ``term_routing_ip``.
    """

    id: int
    client_id: int
    name: str
    ident_by: IdentBy
    ident: tuple[str, ...]
    tech_prefix: str | None = None
    password: str | None = None
    """``enc:…``, as :mod:`identengine.store.vault` made it; never in clear."""
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
        """Both parts off: kept for its statistics, no candidate (engine.md 1.5, 3.5)."""
        return not (self.orig_enabled or self.term_enabled)


class Did(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A number that an account owns (engine.md 1.3)."""

    number: str
    account_id: int
    status: DidStatus = DidStatus.ACTIVE


BookRow: TypeAlias = Client | Account | Did
"""A row of one of the three tables of the book."""


class Digest(msgspec.Struct, frozen=True, gc=False):
    """The digest fields that the caller sent to the switch (RFC 7616), as the switch passes them on."""

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
    """What a switch asks (engine.md 3), as it came: no field is in normal form yet, none is checked.

    The parameters of ``authorize``, ``identify`` and ``explain`` (interfaces.md 3).
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
    """The parameters of ``start``, ``update`` and ``stop``: a call, and perhaps who it is (engine.md 5.4)."""

    interval: int | str | None = None
    """Seconds between two updates."""


class CallList(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The parameters of ``sync``: a part of the complete list of a switch's calls (engine.md 5.6)."""

    list_id: str | None = None
    part: int | str | None = None
    parts: int | str | None = None
    calls: list[tuple[str | None, ...]] | None = None
    """Call id, leg id and direction of each; what is behind may be missing."""
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
