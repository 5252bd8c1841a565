"""Why a call is rejected, and the codes that go with it (engine.md 7)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """The reasons of engine.md 7; their text is what switches see."""

    INVALID_REQUEST = "invalid_request"
    """A field of the request is missing or unusable, or its leg is active already (engine.md 2.5, 5.3, 5.10)."""
    UNKNOWN_SOURCE = "unknown_source"
    """No ident value of an enabled account matches, or no account has that id (engine.md 3.7, 3.9)."""
    GATEWAY_MISMATCH = "gateway_mismatch"
    """An ident value matches, but the gateway does not (engine.md 3.7)."""
    PROTOCOL_MISMATCH = "protocol_mismatch"
    """Ident value and gateway match, but the protocol does not (engine.md 3.7)."""
    PORT_MISMATCH = "port_mismatch"
    """Ident value, gateway and protocol match, but the port does not (engine.md 3.7)."""
    TECH_PREFIX_MISMATCH = "tech_prefix_mismatch"
    """All but the tech prefix matches (engine.md 3.7)."""
    AMBIGUOUS = "ambiguous"
    """Accounts of different clients match alike, and ``strict_ambiguity`` is on (engine.md 3.4)."""
    AUTH_REQUIRED = "auth_required"
    """The account has a password, and the request brings no credentials (engine.md 3.6)."""
    BAD_PASSWORD = "bad_password"  # noqa: S105 - the name of a reason, not a secret
    """The password or the digest does not verify (engine.md 3.6)."""
    ACCOUNT_DISABLED = "account_disabled"
    """Only disabled accounts match, or the terminator of the named account is off (engine.md 3.5, 3.9)."""
    CLIENT_BLOCKED = "client_blocked"
    """The client, or a reseller above it, is blocked (engine.md 3.5)."""
    SRC_NOT_ALLOWED = "src_not_allowed"
    """The calling number is not an active DID of the account (engine.md 4.2)."""
    NO_DID = "no_did"
    """The calling number must be overwritten, and the account has no active DID (engine.md 4.4)."""
    INVALID_DESTINATION = "invalid_destination"
    """The dialled number is missing, invalid or only a tech prefix (engine.md 2.1, 3.9)."""
    ACCOUNT_CAPACITY = "account_capacity"
    """The account has reached its capacity (engine.md 5.2)."""
    CLIENT_CAPACITY = "client_capacity"
    """The account's own client has reached a capacity (engine.md 5.2)."""
    RESELLER_CAPACITY = "reseller_capacity"
    """A reseller above the client has reached a capacity (engine.md 5.2)."""
    GLOBAL_CAPACITY = "global_capacity"
    """The engine has reached its global capacity (engine.md 5.2)."""
    CPS_EXCEEDED = "cps_exceeded"
    """The account or its client has reached its calls per second (engine.md 5.9)."""
    NOT_READY = "not_ready"
    """No version of the book is loaded yet."""
    OVERLOAD = "overload"
    """The request waited too long, or the set of calls is full (engine.md 5.8)."""
    INTERNAL_ERROR = "internal_error"
    """The engine failed; it never accepts such a call (engine.md 7)."""


class Codes(msgspec.Struct, frozen=True):
    """The codes of one reason: SIP status, Q.850 cause, h323-return-code."""

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
    """The codes in force: the standard ones, changed for all accounts or for one (engine.md 7).

    ``for_all`` and ``for_account`` (account id, then reason) hold whole :class:`Codes`; the config fills what an
    operator left out from :data:`STANDARD`.
    """

    def __init__(
        self,
        for_all: dict[Reason, Codes] | None = None,
        for_account: dict[int, dict[Reason, Codes]] | None = None,
    ) -> None:
        self._for_all = STANDARD | (for_all or {})
        self._for_account = for_account or {}

    def codes(self, reason: Reason, account_id: int | None = None) -> Codes:
        """Return the codes of ``reason``, for the account that was found if one was."""
        if account_id in self._for_account:
            return self._for_account[account_id].get(reason) or self._for_all[reason]
        return self._for_all[reason]
