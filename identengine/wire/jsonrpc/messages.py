"""The messages of JSON-RPC 2.0, independent of method and encoding (interfaces.md 3). No I/O.

Server, client, HTTP process, load generator and demo share them. The methods are in
:mod:`identengine.wire.jsonrpc.methods`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_ID = 256
"""Longest id, in bytes. The server echoes the id, so it has to fit into a datagram with the answer."""


class RequestMessage(msgspec.Struct, gc=False):
    """A request as a client sends it. ``method`` comes first, which saves the server a tenth of the decoding."""

    method: str
    id: int | str
    params: object = None
    """Parameters as a struct or a dict; None if the method has none."""
    jsonrpc: Literal["2.0"] = "2.0"


class Field(msgspec.Struct, frozen=True):
    """The wrong parameter of a request. Its value is absent if it is long or secret."""

    field: str | None = None
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Trouble(msgspec.Struct, frozen=True):
    """The ``error`` member of an answer. The defaults apply to answers of a server that omits members."""

    code: int = 0
    message: str = "an error without a message"
    data: Field | msgspec.UnsetType | None = msgspec.UNSET


class Failure(msgspec.Struct, gc=False):
    """An answer of which only the error matters."""

    error: Trouble | None = None


class ResponseMessage(msgspec.Struct, gc=False):
    """An answer as a client reads it. The server does not use this type; it joins encoded parts."""

    id: int | str | None = None
    """Id of the request; None if the server could not read it."""
    result: msgspec.Raw = msgspec.Raw()
    """Result as received, still encoded; empty in an error."""
    error: Trouble | None = None


class Loose(msgspec.Struct, gc=False):
    """A message whose members are not decoded. An absent member is the empty Raw."""

    jsonrpc: msgspec.Raw = msgspec.Raw()
    method: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class Unproven(msgspec.Struct, gc=False):
    """A message without a right token: only the members that its answer needs. The other members are skipped."""

    jsonrpc: Literal["2.0"]
    id: msgspec.Raw = msgspec.Raw()
    method: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Shown(msgspec.Struct, gc=False):
    token: str | None = None


class Credited(msgspec.Struct, gc=False):
    """A message of which only the token among its parameters is decoded."""

    params: _Shown | None = None


class NoParams(msgspec.Struct, gc=False):
    """The parameters of a method that has none. All members are ignored."""


class Credentials(msgspec.Struct, gc=False):
    """The parameters of ``auth``: the switch for which a connection speaks."""

    token: str | None = None
    """Token of the switch in the server's config."""
    switch: str | None = None
    """Name of the switch. It is read only on the server's own Unix socket, whose peers need no token."""


class Pong(msgspec.Struct, frozen=True):
    """The result of ``ping``."""

    program: str
    """Name and version of the program."""
    version: int | None
    """Version of the book; null if no book is loaded yet."""
    uptime: float
    """Seconds since the decider began to serve."""
    pid: int
    """Process id of the decider."""
