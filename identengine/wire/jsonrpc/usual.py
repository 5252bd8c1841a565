"""Messages of the usual shape: their decoding, in C, proves what the usual way relies on. No I/O.

A message that does not decode here is read by :mod:`identengine.wire.jsonrpc.reader`, which names its fault if it has
one. The types of the other methods are those of :mod:`identengine.wire.jsonrpc.methods`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from identengine.calls.legs import LONGEST_ID
from identengine.engine.lifecycle import LONGEST_INTERVAL
from identengine.model.numbers import MAX_LENGTH
from identengine.model.records import CallRequest, Request

Id = Annotated[str, Meta(max_length=LONGEST_ID)]
Number = Annotated[str, Meta(max_length=MAX_LENGTH)]
Port = Annotated[int, Meta(ge=1, le=65535)]
AccountId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Interval = Annotated[int, Meta(ge=1, le=LONGEST_INTERVAL)]


class UsualRequest(Request, frozen=True, kw_only=True, gc=False):
    """The parameters of a usual ``authorize``: integers are no texts, and no text is too long."""

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
