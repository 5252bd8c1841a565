"""Why a call is rejected, and the codes that go with it (engine.md 7)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """The reasons of engine.md 7; their text is what switches see."""

    INVALID_REQUEST = "invalid_request"
    UNKNOWN_SOURCE = "unknown_source"
    GATEWAY_MISMATCH = "gateway_mismatch"
    PROTOCOL_MISMATCH = "protocol_mismatch"
    PORT_MISMATCH = "port_mismatch"
    TECH_PREFIX_MISMATCH = "tech_prefix_mismatch"
    AMBIGUOUS = "ambiguous"
    AUTH_REQUIRED = "auth_required"
    BAD_PASSWORD = "bad_password"  # noqa: S105 - the name of a reason, not a secret
    ACCOUNT_DISABLED = "account_disabled"
    CLIENT_BLOCKED = "client_blocked"
    SRC_NOT_ALLOWED = "src_not_allowed"
    NO_DID = "no_did"
    INVALID_DESTINATION = "invalid_destination"
    ACCOUNT_CAPACITY = "account_capacity"
    CLIENT_CAPACITY = "client_capacity"
    RESELLER_CAPACITY = "reseller_capacity"
    GLOBAL_CAPACITY = "global_capacity"
    CPS_EXCEEDED = "cps_exceeded"
    NOT_READY = "not_ready"
    OVERLOAD = "overload"
    INTERNAL_ERROR = "internal_error"


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
