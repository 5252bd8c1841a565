"""Requests of the usual shape: decoding them proves what the usual way of the engine relies on.

Integers may be decimal texts, and no text is too long. A request that does not decode as one of these types may
still be valid. It is decoded as a :class:`~identengine.model.records.Request` then.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from identengine.model.numbers import MAX_LENGTH
from identengine.model.records import CallRequest, Request

LONGEST_ID = 256
"""Longest call or leg id that is kept whole, in bytes."""
LONGEST_INTERVAL = 7 * 24 * 3600
"""Longest time between two updates of a call, in seconds."""

Id = Annotated[str, Meta(max_length=LONGEST_ID)]
Number = Annotated[str, Meta(max_length=MAX_LENGTH)]
_PORT = r"^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})\Z"
Port = Annotated[int, Meta(ge=1, le=65535)] | Annotated[str, Meta(pattern=_PORT)]
AccountId = Annotated[int, Meta(ge=1, le=2**63 - 1)] | Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,17}\Z")]
Interval = Annotated[int, Meta(ge=1, le=LONGEST_INTERVAL)]


class UsualRequest(Request, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The parameters of a usual ``authorize``."""

    call_id: Id | None = None
    leg_id: Id | None = None
    account_id: AccountId | None = None
    src_port: Port | None = None
    src_number: Number | None = None
    dst_number: Number | None = None


class UsualCallRequest(CallRequest, frozen=True, kw_only=True, gc=False):
    """The parameters of a usual ``start``, ``update`` or ``stop``."""

    call_id: Id | None = None
    leg_id: Id | None = None
    account_id: AccountId | None = None
    src_port: Port | None = None
    src_number: Number | None = None
    dst_number: Number | None = None
    interval: Interval | None = None
