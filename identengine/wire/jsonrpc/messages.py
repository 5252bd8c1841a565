"""The messages of JSON-RPC 2.0, whatever the method and the encoding (interfaces.md 3). No I/O.

Server, client, HTTP process, load generator and demo share these. The methods are
:mod:`identengine.wire.jsonrpc.methods`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, BAD_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
NOT_READY, OVERLOADED = -32001, -32002
MALFORMED = frozenset({PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, BAD_PARAMS})
"""Codes of errors that are the fault of the message; the others are the server's state or fault."""

MAX_ID = 256
"""Longest id, in bytes: what is echoed has to fit into a datagram beside the answer."""


class RequestMessage(msgspec.Struct, gc=False):
    """A request, as a client sends it. ``method`` goes first: that saves the server a tenth of the decoding."""

    method: str
    id: int | str
    params: object = None
    """A struct or a dict; None if there are none."""
    jsonrpc: Literal["2.0"] = "2.0"


class Field(msgspec.Struct, frozen=True):
    """Which parameter is wrong; its value unless that is long or secret."""

    field: str | None = None
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Trouble(msgspec.Struct, frozen=True):
    """The ``error`` member of an answer. The defaults are for answers of a server that leaves members out."""

    code: int = 0
    message: str = "an error without a message"
    data: Field | msgspec.UnsetType | None = msgspec.UNSET


class Failure(msgspec.Struct, gc=False):
    """An answer of which only the error matters."""

    error: Trouble | None = None


class ResponseMessage(msgspec.Struct, gc=False):
    """An answer, as a client reads it; the server joins encoded parts instead."""

    id: int | str | None = None
    """None if the server could not read the id of the request."""
    result: msgspec.Raw = msgspec.Raw()
    """Encoded, as it came; empty in an error."""
    error: Trouble | None = None


class Loose(msgspec.Struct, gc=False):
    """A message of which only the parts are known; an absent one is the empty Raw."""

    jsonrpc: msgspec.Raw = msgspec.Raw()
    method: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Shown(msgspec.Struct, gc=False):
    token: str | None = None


class Credited(msgspec.Struct, gc=False):
    """A message of which only the token among its parameters matters."""

    params: _Shown | None = None


class NoParams(msgspec.Struct, gc=False):
    """Parameters of a method that takes none: whatever there is is ignored."""


class Credentials(msgspec.Struct, gc=False):
    """Who a connection is from now on: the switch of a token, or, where that may be said, of a name."""

    token: str | None = None
    switch: str | None = None


class Pong(msgspec.Struct, frozen=True):
    """The result of ``ping``."""

    program: str
    version: int | None
    """Of the book; None where none is loaded yet."""
    uptime: float
    """Seconds since the deciding process began to serve."""
    pid: int
