"""What an operator's commands and the server say to each other: JSON objects, one a line. No I/O.

Every request is small and answered in one short step; who wants all calls asks page by page. So nothing stays open
in the server for a command, however slow or dead that is.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from identengine.model.records import Direction

LONGEST_LINE = 65536
"""Of a request, in bytes."""
MOST_ENDED = 64
"""Legs that one request may end."""

Way = Literal["origination", "termination"]


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which legs are meant: what is None does not matter."""

    account_id: int | None = None
    client_id: int | None = None
    """Any of the clients that the leg counts on: the account's own, or a reseller above."""
    switch: str | None = None
    older: float | None = None
    """Seconds since it was taken, at least."""
    state: Literal["held", "reserved", "active", "lapsed"] = "held"
    """``held``: reserved or active."""
    call_id: str | None = None
    """Looked for by its key, so it costs the same whatever is held."""
    scope: str | None = None
    """Of the call's key; with ``call_id`` None means all scopes of the config."""
    direction: Way | None = None
    leg_id: str | None = None
    """``""``: the leg without an id."""


class StatusRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="status"):
    """Asks how the server is."""


class LegsRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="calls", omit_defaults=True):
    """Asks which calls are held. A few hundred legs are looked at, from ``cursor`` on."""

    filter: Filter = Filter()
    cursor: int = 0


class UsageRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="usage", omit_defaults=True):
    """Asks who uses most of his limits. A few thousand counters are looked at, from ``cursor`` on."""

    of: Literal["accounts", "clients"]
    cursor: int = 0
    most: int = 50
    """Rows that are wanted: those fullest of what is looked at."""


class Ending(msgspec.Struct, frozen=True):
    """One leg that is to be ended, exactly as a :class:`LegRow` named it."""

    scope: str
    call_id: str
    direction: Way
    leg_id: str
    since: float
    """When it was taken: a call that has the same key by now is another one and stays."""


class EndRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="end"):
    """End these legs, at most :data:`MOST_ENDED`, as if the switch had sent a stop for each."""

    legs: tuple[Ending, ...]


Counted = Literal[
    "wrong_tokens",
    "connections_refused_unknown_peer",
    "connections_refused_too_many",
    "connections_refused_too_many_of_switch",
]
"""Counters (:data:`identengine.stats.registry.REGISTRY`) of what another process sees than the one that writes
them."""


MalformedCode = Literal[-32700, -32600, -32601, -32602]
"""Codes of the errors of malformed messages (interfaces.md 3, "Errors")."""


class MalformedCount(msgspec.Struct, frozen=True):
    """Malformed messages of a switch with one error."""

    switch: str
    code: MalformedCode
    count: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class CountRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="note"):
    """Count this: what the process that serves HTTP has refused since it said so last."""

    counts: dict[Counted, Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]]
    malformed: tuple[MalformedCount, ...] = ()


OperatorRequest: TypeAlias = StatusRequest | LegsRequest | UsageRequest | EndRequest | CountRequest


Unready = Literal["no book", "the set of calls is full", "the store cannot be read"]
"""Why calls should not be sent to a server: fixed words, for those who may not know more of it."""


class Status(msgspec.Struct, frozen=True, tag_field="answer", tag="status"):
    """The server, the book, and the set of calls."""

    program: str
    pid: int
    uptime: float
    version: int | None
    """Of the book; None: there is none yet."""
    accounts: int
    held: int
    lapsed: int
    max_legs: int
    global_capacity: int | None
    alarms: tuple[str, ...]
    """What is wrong now, and what to do; empty is well."""
    unready: tuple[Unready, ...] = ()
    """Those of it for which calls should not be sent here."""


class LegRow(msgspec.Struct, frozen=True):
    """One leg."""

    scope: str
    call_id: str
    leg_id: str
    """``""``: it has none."""
    direction: Direction
    account_id: int
    account_name: str | None
    """None: the book in use does not have the account any more."""
    client_id: int
    client_name: str | None
    switch: str
    state: Literal["reserved", "active", "lapsed"]
    since: float
    """By the clock of the set of calls."""
    age: float
    """Seconds since it was taken."""
    left: float
    """Seconds until its lease ends; of a lapsed one, until it is forgotten."""

    def ending(self) -> Ending:
        """Return what ends it."""
        return Ending(self.scope, self.call_id, self.direction.value, self.leg_id, self.since)


class LegPage(msgspec.Struct, frozen=True, tag_field="answer", tag="calls"):
    """A page of calls. Pages are no picture of one moment: a leg that is started between two may come twice."""

    rows: tuple[LegRow, ...]
    cursor: int | None
    """Where to go on; None: this was all."""


class Use(msgspec.Struct, frozen=True):
    """How much of a limit is used."""

    id: int
    name: str | None
    direction: Literal["origination", "termination", "both"]
    held: int
    limit: int | None

    @property
    def rank(self) -> tuple[float, int, int]:
        """What it is ordered by, the fullest first; without limit at the end, by what is held."""
        share = -1.0 if self.limit is None else self.held / self.limit if self.limit else float("inf")
        return (-share, -self.held, self.id)


class Usage(msgspec.Struct, frozen=True, tag_field="answer", tag="usage"):
    """The fullest of the counters that were looked at."""

    rows: tuple[Use, ...]
    cursor: int | None
    """Where to go on; None: this was all."""


class Ended(msgspec.Struct, frozen=True, tag_field="answer", tag="ended"):
    """How many legs were freed, and how many were there no more."""

    freed: int
    gone: int


class Noted(msgspec.Struct, frozen=True, tag_field="answer", tag="noted"):
    """It is counted."""


class OperatorFailure(msgspec.Struct, frozen=True, tag_field="answer", tag="error"):
    """The request cannot be answered."""

    message: str


OperatorReply: TypeAlias = Status | LegPage | Usage | Ended | Noted | OperatorFailure

_asks: msgspec.json.Decoder[OperatorRequest] = msgspec.json.Decoder(OperatorRequest)
_replies: msgspec.json.Decoder[OperatorReply] = msgspec.json.Decoder(OperatorReply)
_encode = msgspec.json.Encoder().encode


def read_ask(line: bytes) -> OperatorRequest | OperatorFailure:
    """Return the request in a line, or what is wrong with it."""
    try:
        return _asks.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return OperatorFailure(f"not understood: {error}")


def read_reply(line: bytes) -> OperatorReply:
    """Return the answer in a line. Raises ValueError where it is none, of another version of this program, say."""
    try:
        return _replies.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error


def line(message: OperatorRequest | OperatorReply) -> bytes:
    """Return a message as its line."""
    return _encode(message) + b"\n"
