"""The protocol between an operator's commands and the server: JSON objects, one on each line. No I/O.

Rule: each request is small and answered in one short step. A command that lists all calls asks for one page after
another. So a slow or dead command keeps nothing open in the server.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from identengine.model.records import Direction

LONGEST_LINE = 65536
"""Longest line of a request, in bytes."""
MOST_ENDED = 64
"""Largest number of legs that one request can end."""

Way = Literal["origination", "termination"]


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A selection of legs: a leg fits if it agrees with each field that is set."""

    account_id: int | None = None
    client_id: int | None = None
    """A client on which the leg counts: the client of its account, or a reseller above it."""
    switch: str | None = None
    older: float | None = None
    """Minimum age of the leg, in seconds."""
    state: Literal["held", "reserved", "active", "lapsed", "any"] = "held"
    """State of the leg. ``held`` is reserved or active."""
    call_id: str | None = None
    """Call id of the leg. It is looked up by its key, so the cost does not depend on the number of legs."""
    scope: str | None = None
    """Scope of the call's key. Without it, a ``call_id`` is looked up in all scopes that held calls may have."""
    direction: Way | None = None
    leg_id: str | None = None
    """Id of the leg; ``""`` selects the leg without an id."""
    number: str | None = None
    """The caller's or the dialled number in normal form, or the end of one of them."""
    account_name: str | None = None
    """Text that the name of the account contains in the book in use. Case is ignored."""


class StatusRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="status"):
    """A request for the state of the server."""


class LegsRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="calls", omit_defaults=True):
    """A request for a page of calls. It examines a few hundred legs from ``cursor`` on."""

    filter: Filter = Filter()
    cursor: int = 0


class UsageRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="usage", omit_defaults=True):
    """A request for the fullest limits. It examines a few thousand counters from ``cursor`` on."""

    of: Literal["accounts", "clients"]
    cursor: int = 0
    most: int = 50
    """Largest number of rows in the answer: the fullest of the counters that were examined."""
    full: bool = False
    """True if the answer has the rows of all full counters too, however many they are."""


class LevelsRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="levels", omit_defaults=True):
    """A request for the use and limit of each level on which a leg of an account counts now (engine.md 5.2)."""

    account_id: int
    direction: Way = "origination"
    client_ids: tuple[int, ...] = ()
    """The clients on which a held leg counts, the account's own first. Without them, those of the book in use."""


class Ending(msgspec.Struct, frozen=True):
    """A leg to end, with the values of its :class:`LegRow`."""

    scope: str
    call_id: str
    direction: Way
    leg_id: str
    since: float
    """Time at which the leg was taken. A later leg with the same key is another call, and is not ended."""


class EndRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="end"):
    """A request to end at most :data:`MOST_ENDED` legs, as if the switch had sent a stop for each."""

    legs: tuple[Ending, ...]


Counted = Literal[
    "wrong_tokens",
    "connections_refused_unknown_peer",
    "connections_refused_too_many",
    "connections_refused_too_many_of_switch",
]
"""Counters (:data:`identengine.stats.registry.REGISTRY`) of events in a process that does not write counters."""


MalformedCode = Literal[-32700, -32600, -32601, -32602]
"""Codes of the errors of malformed messages (interfaces.md 3, "Errors")."""


class MalformedCount(msgspec.Struct, frozen=True):
    """Malformed messages of a switch with one error."""

    switch: str
    code: MalformedCode
    count: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class CountRequest(msgspec.Struct, frozen=True, tag_field="ask", tag="note"):
    """A request to count events: the refusals of the HTTP process since its last request."""

    counts: dict[Counted, Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]]
    malformed: tuple[MalformedCount, ...] = ()


OperatorRequest: TypeAlias = StatusRequest | LegsRequest | UsageRequest | LevelsRequest | EndRequest | CountRequest


Unready = Literal["no book", "the set of calls is full", "the store cannot be read"]
"""Reasons not to send calls to a server: fixed words, for readers who must not learn more."""


class Status(msgspec.Struct, frozen=True, tag_field="answer", tag="status"):
    """The state of the server, of the book and of the set of calls."""

    program: str
    pid: int
    uptime: float
    version: int | None
    """Version of the book; None before the first book is loaded."""
    accounts: int
    held: int
    lapsed: int
    max_legs: int
    global_capacity: int | None
    alarms: tuple[str, ...]
    """Text of each alarm that is raised, with its remedy."""
    unready: tuple[Unready, ...] = ()
    """Reasons not to send calls to this server."""


class LegRow(msgspec.Struct, frozen=True):
    """A leg in a list of calls."""

    scope: str
    call_id: str
    leg_id: str
    """Id of the leg; ``""`` if it has no id."""
    direction: Direction
    account_id: int
    account_name: str | None
    """Name of the account; None if the book in use does not have the account."""
    client_id: int
    client_name: str | None
    switch: str
    state: Literal["reserved", "active", "lapsed"]
    since: float
    """Time at which the leg was taken, by the clock of the set of calls."""
    age: float
    """Seconds since the leg was taken."""
    left: float
    """Seconds until the lease expires; for a lapsed leg, until it is forgotten."""
    started: float = 0.0
    """Time at which the leg was taken, by the clock of the server, in Unix seconds."""
    src_number: str | None = None
    """The calling number as the answer had it, after Src Policy; None if it is absent or unknown."""
    dst_number: str | None = None
    """The dialled number as the answer had it; of origination without tech prefix."""
    client_ids: tuple[int, ...] = ()
    """The clients on which the leg counts: the account's own client first, then the resellers above it."""

    def ending(self) -> Ending:
        """Return the entry of an :class:`EndRequest` that ends this leg."""
        return Ending(self.scope, self.call_id, self.direction.value, self.leg_id, self.since)


class LegPage(msgspec.Struct, frozen=True, tag_field="answer", tag="calls"):
    """A page of calls. Pages are not one snapshot: a leg that changes between two pages can be on both."""

    rows: tuple[LegRow, ...]
    cursor: int | None
    """Cursor of the next page; None on the last page."""


def rank_of(held: int, limit: int | None) -> tuple[float, int]:
    """Return the sort key of a limit, the fullest first. The first value is at most -1 if it is full."""
    share = -1.0 if limit is None else held / limit if limit else float("inf")
    return -share, -held


class Use(msgspec.Struct, frozen=True):
    """The use of one limit."""

    id: int
    name: str | None
    direction: Literal["origination", "termination", "both"]
    held: int
    limit: int | None

    @property
    def rank(self) -> tuple[float, int, int]:
        """The sort key: the fullest limit first, then counters without a limit by their legs."""
        return (*rank_of(self.held, self.limit), self.id)

    @property
    def is_full(self) -> bool:
        """True if one more leg does not fit."""
        return self.limit is not None and self.held >= self.limit


class Usage(msgspec.Struct, frozen=True, tag_field="answer", tag="usage"):
    """The fullest of the counters that were examined."""

    rows: tuple[Use, ...]
    cursor: int | None
    """Cursor of the next page; None on the last page."""


class Level(msgspec.Struct, frozen=True):
    """The use and limit of one level."""

    level: str
    """``account``, ``client``, ``reseller``, ``global``, or ``server`` for the room of the set of calls."""
    id: int | None
    """Id of the account, client or reseller; None for the others."""
    name: str | None
    column: str
    """Column of the book or key of the config that holds the limit, such as ``orig_capacity``."""
    use: float
    limit: float | None
    full: bool
    """True if one more call does not fit."""


class Levels(msgspec.Struct, frozen=True, tag_field="answer", tag="levels"):
    """The levels on which a leg of an account counts, nearest the account first."""

    rows: tuple[Level, ...]


class Ended(msgspec.Struct, frozen=True, tag_field="answer", tag="ended"):
    """The number of legs that were freed, and the number that no longer existed."""

    freed: int
    gone: int


class Noted(msgspec.Struct, frozen=True, tag_field="answer", tag="noted"):
    """The confirmation that events were counted."""


class OperatorFailure(msgspec.Struct, frozen=True, tag_field="answer", tag="error"):
    """The reason why a request cannot be answered."""

    message: str


OperatorReply: TypeAlias = Status | LegPage | Usage | Levels | Ended | Noted | OperatorFailure

_asks: msgspec.json.Decoder[OperatorRequest] = msgspec.json.Decoder(OperatorRequest)
_replies: msgspec.json.Decoder[OperatorReply] = msgspec.json.Decoder(OperatorReply)
_encode = msgspec.json.Encoder().encode


def read_ask(line: bytes) -> OperatorRequest | OperatorFailure:
    """Return the request in a line, or the failure that answers a line without a request."""
    try:
        return _asks.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return OperatorFailure(f"the request cannot be read: {error}")


def read_reply(line: bytes) -> OperatorReply:
    """Return the answer in a line. Raise ValueError if another version of this program wrote it."""
    try:
        return _replies.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error


def line(message: OperatorRequest | OperatorReply) -> bytes:
    """Return a message as a line."""
    return _encode(message) + b"\n"
