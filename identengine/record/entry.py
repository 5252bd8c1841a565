"""One recorded decision: its form for readers, and its encoding in the files.

The body of an entry is an array in MessagePack (:class:`Body`). The fields of the request are as the switch asked.
Rule: no entry holds a credential. Of a credential it holds the kind, whether it verified, and for which account.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from identengine.model.records import Decision, Request

LONGEST_TEXT = 256
"""Longest text of a request that an entry holds, in characters. Longer texts are cut."""
MASK = "*"
MASKED_DIGITS = 4
"""Number of characters that a masked number hides at its end."""

CredentialKind: TypeAlias = Literal["password", "digest", "chap"]
LevelName: TypeAlias = Literal["account", "client", "reseller", "global", "server"]


class LimitUse(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The use and limit of one level, at the moment when it rejected a call (engine.md 5.2, 5.9)."""

    level: LevelName
    """``server`` is the room of the set of calls (``max_legs``)."""
    id: int | None
    """Id of the account, client or reseller; None for ``global`` and ``server``."""
    column: str
    """Column of the book or key of the config that holds the limit, such as ``orig_capacity`` or ``orig_cps``."""
    use: float
    """Number of held legs. For ``orig_cps``, the calls per second that the bucket has counted."""
    limit: float | None
    """None if the level has no limit."""
    full: bool
    """True if one more call did not fit."""


class CredentialUse(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The credential of a request, without the credential itself."""

    kinds: tuple[CredentialKind, ...]
    verified: bool | None
    """None if nothing was verified: no account was found, or the account has no password."""
    account_id: int | None = None
    """Id of the account that the credential verified for."""


class Body(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The body of an entry, in the order of its array."""

    switch: str
    interface: str
    call_id: str | None
    leg_id: str | None
    direction: str | None
    account_id: int | str | None
    src_ip: str | None
    src_port: int | str | None
    protocol: str | None
    gateway: str | None
    name: str | None
    """The name of the request, or else the user name of its digest, which identifies the account too."""
    src_number: str | None
    dst_number: str | None
    credential: CredentialUse | None
    limits: tuple[LimitUse, ...] | None
    masked: bool
    decision: Decision | bytes
    """Bytes are the answer to an accepted call, in JSON or MessagePack, as it left."""


class Asked(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The first fields of a :class:`Body`, which are decoded faster alone."""

    switch: str
    interface: str
    call_id: str | None
    leg_id: str | None
    direction: str | None
    account_id: int | str | None
    src_ip: str | None
    src_port: int | str | None
    protocol: str | None
    gateway: str | None
    name: str | None
    src_number: str | None
    dst_number: str | None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as it was made."""

    at: float
    """Time by the clock of the server, in Unix seconds. It may step back."""
    switch: str
    interface: str
    request: Request
    """The parameters as the switch sent them, without credentials. Without a name, the name is that of the digest.
    If it is masked, its numbers are in normal form."""
    decision: Decision
    credential: CredentialUse | None = None
    """None if the request brought no credential."""
    limits: tuple[LimitUse, ...] = ()
    """All levels, nearest the account first, if a limit rejected the call."""
    masked: bool = False
    """True if the last :data:`MASKED_DIGITS` characters of each number are ``*`` (``[record] mask_numbers``)."""


encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
"""Return the body of an entry: of a :class:`Body`, or of a tuple of its fields in their order."""
decode: Callable[[bytes | memoryview], Body] = msgspec.msgpack.Decoder(Body).decode
"""Return a decoded body. Raise msgspec.MsgspecError for other bytes."""
decode_asked: Callable[[bytes | memoryview], Asked] = msgspec.msgpack.Decoder(Asked).decode
"""Return the first fields of a body. Raise msgspec.MsgspecError for other bytes."""
_from_json: Callable[[bytes], Decision] = msgspec.json.Decoder(Decision).decode
_from_messagepack: Callable[[bytes], Decision] = msgspec.msgpack.Decoder(Decision).decode


def decision_from(decision: Decision | bytes) -> Decision:
    """Return a decoded decision. Raise msgspec.MsgspecError if it cannot be decoded."""
    if isinstance(decision, Decision):
        return decision
    return _from_json(decision) if decision.startswith(b"{") else _from_messagepack(decision)


def decision_of(body: Body) -> Decision:
    """Return the decision of an entry. Raise msgspec.MsgspecError if it cannot be decoded."""
    return decision_from(body.decision)


def recorded(at: float, body: Body) -> Recorded:
    """Return an entry as readers get it. Raise msgspec.MsgspecError if its decision cannot be decoded."""
    return Recorded(
        at=at,
        switch=body.switch,
        interface=body.interface,
        request=Request(
            call_id=body.call_id,
            leg_id=body.leg_id,
            direction=body.direction,
            account_id=body.account_id,
            src_ip=body.src_ip,
            src_port=body.src_port,
            protocol=body.protocol,
            gateway=body.gateway,
            name=body.name,
            src_number=body.src_number,
            dst_number=body.dst_number,
        ),
        decision=decision_of(body),
        credential=body.credential,
        limits=body.limits or (),
        masked=body.masked,
    )


def masked_number(number: str) -> str:
    """Return a number in normal form with its last :data:`MASKED_DIGITS` characters replaced by :data:`MASK`."""
    hidden = min(MASKED_DIGITS, len(number))
    return number[: len(number) - hidden] + MASK * hidden
