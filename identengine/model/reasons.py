"""The reasons for rejecting a call, and the codes of each reason (engine.md 7)."""

from __future__ import annotations

from enum import StrEnum
from typing import final

import msgspec


@final
class Reason(StrEnum):
    """A reason for a reject, as switches receive it (engine.md 7)."""

    INVALID_REQUEST = "invalid_request"
    """A field is missing or unusable, the leg is already active, or its call has too many legs.

    See engine.md 2.5, 5.3, 5.10. The answer names the field.
    """
    UNKNOWN_SOURCE = "unknown_source"
    """No ident value of an enabled account matches, or no account has the requested id (engine.md 3.7, 3.9)."""
    GATEWAY_MISMATCH = "gateway_mismatch"
    """An account matches by its ident value, but not by gateway (engine.md 3.7)."""
    PROTOCOL_MISMATCH = "protocol_mismatch"
    """An account matches by ident value and gateway, but not by protocol (engine.md 3.7)."""
    PORT_MISMATCH = "port_mismatch"
    """An account matches by ident value, gateway and protocol, but not by port (engine.md 3.7)."""
    TECH_PREFIX_MISMATCH = "tech_prefix_mismatch"
    """An account matches otherwise, but the dialled number does not begin with its tech prefix (engine.md 3.7)."""
    AMBIGUOUS = "ambiguous"
    """Accounts of different clients match equally well, and ``strict_ambiguity`` is on (engine.md 3.4)."""
    AUTH_REQUIRED = "auth_required"
    """The account requires a password, and the request carries no credentials (engine.md 3.6)."""
    BAD_PASSWORD = "bad_password"  # noqa: S105 - the name of a reason, not a secret
    """The password or the digest of the request does not verify (engine.md 3.6)."""
    ACCOUNT_DISABLED = "account_disabled"
    """Only disabled accounts match, or the terminator of the requested account is off (engine.md 3.5, 3.9)."""
    CLIENT_BLOCKED = "client_blocked"
    """The client of the account, or a reseller above that client, is blocked (engine.md 3.5)."""
    SRC_NOT_ALLOWED = "src_not_allowed"
    """The Src Policy is ``reject``, and the calling number is not an active DID of the account (engine.md 4.2)."""
    NO_DID = "no_did"
    """The Src Policy is ``overwrite``, and the account has no active DID to use (engine.md 4.4)."""
    INVALID_DESTINATION = "invalid_destination"
    """The dialled number is missing or invalid, or only the tech prefix was dialled (engine.md 2.1, 3.9)."""
    ACCOUNT_CAPACITY = "account_capacity"
    """The account holds as many legs in this direction as its capacity allows (engine.md 5.2)."""
    CLIENT_CAPACITY = "client_capacity"
    """The account's client holds as many legs as a capacity of that client allows (engine.md 5.2)."""
    RESELLER_CAPACITY = "reseller_capacity"
    """A reseller above the client holds as many legs as a capacity of that reseller allows (engine.md 5.2)."""
    GLOBAL_CAPACITY = "global_capacity"
    """The engine holds as many legs as ``global_capacity`` allows (engine.md 5.2)."""
    CPS_EXCEEDED = "cps_exceeded"
    """The account or its client has used up its calls per second (engine.md 5.9)."""
    NOT_READY = "not_ready"
    """The engine has not loaded a version of the book yet (engine.md 7)."""
    OVERLOAD = "overload"
    """The request waited too long for its answer, or the set of calls is full (engine.md 5.8)."""
    INTERNAL_ERROR = "internal_error"
    """The engine failed while it decided the call. It never accepts such a call (engine.md 7)."""


class Codes(msgspec.Struct, frozen=True):
    """The codes of one reason: SIP status, Q.850 cause and h323-return-code."""

    sip_code: int
    q850: int
    h323: int


_FORBIDDEN = Codes(403, 21, 1)
_REFUSED = Codes(403, 21, 7)
_FULL = Codes(480, 34, 3)
_AWAY = Codes(503, 42, 8)

STANDARD: dict[Reason, Codes] = {
    Reason.INVALID_REQUEST: Codes(400, 96, 11),
    Reason.UNKNOWN_SOURCE: _FORBIDDEN,
    Reason.GATEWAY_MISMATCH: _FORBIDDEN,
    Reason.PROTOCOL_MISMATCH: _FORBIDDEN,
    Reason.PORT_MISMATCH: _FORBIDDEN,
    Reason.TECH_PREFIX_MISMATCH: _FORBIDDEN,
    Reason.AMBIGUOUS: _FORBIDDEN,
    Reason.AUTH_REQUIRED: Codes(401, 57, 7),
    Reason.BAD_PASSWORD: Codes(403, 57, 2),
    Reason.ACCOUNT_DISABLED: _REFUSED,
    Reason.CLIENT_BLOCKED: _REFUSED,
    Reason.SRC_NOT_ALLOWED: _REFUSED,
    Reason.NO_DID: _REFUSED,
    Reason.INVALID_DESTINATION: Codes(484, 28, 9),
    Reason.ACCOUNT_CAPACITY: _FULL,
    Reason.CLIENT_CAPACITY: _FULL,
    Reason.RESELLER_CAPACITY: _FULL,
    Reason.GLOBAL_CAPACITY: _FULL,
    Reason.CPS_EXCEEDED: Codes(480, 42, 3),
    Reason.NOT_READY: _AWAY,
    Reason.OVERLOAD: _AWAY,
    Reason.INTERNAL_ERROR: Codes(500, 41, 8),
}


class ReasonTable:
    """The codes in use: the standard ones, as the config changes them for all accounts or for one (engine.md 7).

    ``for_all`` and ``for_account`` (account id, then reason) hold complete :class:`Codes`. The config takes codes
    that the operator did not set from :data:`STANDARD`.
    """

    def __init__(
        self,
        for_all: dict[Reason, Codes] | None = None,
        for_account: dict[int, dict[Reason, Codes]] | None = None,
    ) -> None:
        self._for_all = STANDARD | (for_all or {})
        self._for_account = for_account or {}

    def codes(self, reason: Reason, account_id: int | None = None) -> Codes:
        """Return the codes of ``reason`` for the account, or for all accounts if no account was found."""
        if account_id in self._for_account:
            return self._for_account[account_id].get(reason) or self._for_all[reason]
        return self._for_all[reason]
