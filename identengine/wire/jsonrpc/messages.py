"""The messages of JSON-RPC 2.0 as this server knows them, in whatever encoding (interfaces.md 3)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from identengine.engine.core import Method
from identengine.model.records import CallList, CallRequest, Request

PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, BAD_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
NOT_READY, OVERLOADED = -32001, -32002

MAX_ID = 256
"""Longest id, in bytes: what is echoed has to fit into a datagram beside the answer."""


class _Call(msgspec.Struct, tag_field="method", gc=False):
    """What all methods have in common; an absent id (a notification) is the empty Raw."""

    jsonrpc: Literal["2.0"]
    id: msgspec.Raw = msgspec.Raw()


class Authorize(_Call, tag="authorize", gc=False):
    """Asks whose call this is, and whether it may pass."""

    params: Request | None = None


class Identify(_Call, tag="identify", gc=False):
    """Asks the same without side effects."""

    params: Request | None = None


class Explain(_Call, tag="explain", gc=False):
    """Asks the same of every candidate."""

    params: Request | None = None


class Start(_Call, tag="start", gc=False):
    """A call was answered."""

    params: CallRequest | None = None


class Update(_Call, tag="update", gc=False):
    """A call goes on."""

    params: CallRequest | None = None


class Stop(_Call, tag="stop", gc=False):
    """A call has ended."""

    params: CallRequest | None = None


class Sync(_Call, tag="sync", gc=False):
    """A part of the complete list of calls."""

    params: CallList | None = None


class NoParams(msgspec.Struct, gc=False):
    """Parameters of a method that takes none: whatever there is is ignored."""


class Ping(_Call, tag="ping", gc=False):
    """Asks whether the server is there."""

    params: NoParams | None = None


class SwitchUp(_Call, tag="switch_up", gc=False):
    """A switch started, without calls."""

    params: NoParams | None = None


class SwitchDown(_Call, tag="switch_down", gc=False):
    """A switch ends, and its calls with it."""

    params: NoParams | None = None


class Credentials(msgspec.Struct, gc=False):
    """Who a connection is from now on: the switch of a token, or, where that may be said, of a name."""

    token: str | None = None
    switch: str | None = None


class Auth(_Call, tag="auth", gc=False):
    """Says who asks on this connection."""

    params: Credentials | None = None


Call: TypeAlias = (
    Authorize | Identify | Explain | Start | Update | Stop | Sync | SwitchUp | SwitchDown | Ping | Auth
)


class _Shown(msgspec.Struct, gc=False):
    token: str | None = None


class Credited(msgspec.Struct, gc=False):
    """A message of which only the token among its parameters matters."""

    params: _Shown | None = None


class Loose(msgspec.Struct, gc=False):
    """A message of which only the parts are known; an absent one is the empty Raw."""

    jsonrpc: msgspec.Raw = msgspec.Raw()
    method: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class Field(msgspec.Struct, frozen=True):
    """Which parameter is wrong; its value unless that is long or secret."""

    field: str
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Trouble(msgspec.Struct, frozen=True):
    """The ``error`` member of an answer."""

    code: int
    message: str
    data: Field | msgspec.UnsetType = msgspec.UNSET


class Pong(msgspec.Struct, frozen=True):
    """The result of ``ping``."""

    program: str
    version: int | None
    """Of the book; None where none is loaded yet."""
    uptime: float
    """Seconds since the deciding process began to serve."""
    pid: int


PARAMS: dict[str, type[msgspec.Struct]] = {
    "authorize": Request,
    "identify": Request,
    "explain": Request,
    "start": CallRequest,
    "update": CallRequest,
    "stop": CallRequest,
    "sync": CallList,
    "switch_up": NoParams,
    "switch_down": NoParams,
    "ping": NoParams,
    "auth": Credentials,
}
"""The methods and their parameters."""
DECIDED: dict[type[_Call], tuple[Method, Request | CallList]] = {
    Authorize: ("authorize", Request()),
    Identify: ("identify", Request()),
    Explain: ("explain", Request()),
    Start: ("start", CallRequest()),
    Update: ("update", CallRequest()),
    Stop: ("stop", CallRequest()),
    Sync: ("sync", CallList()),
    SwitchUp: ("switch_up", Request()),
    SwitchDown: ("switch_down", Request()),
}
"""Those that the engine answers: what it calls them, and what no parameters are."""
