"""The framings of JSON-RPC (interfaces.md 3): JSON streams, netstrings, and MessagePack behind its length."""

from __future__ import annotations

from functools import partial

from identengine.wire.framing import Framing, Framings
from identengine.wire.framing.jsonstream import JsonStream
from identengine.wire.framing.netstring import Netstrings
from identengine.wire.framing.prefixed import Prefixed
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.jsonrpc.unproven import shows_token


def framings(responder: Responder) -> Framings:
    """Return the framings by their first byte: 0, a digit, or any other. All connections share one responder."""
    json, messagepack = (partial(responder.stream, codec) for codec in (JSON, MESSAGEPACK))
    in_json, in_messagepack = (partial(shows_token, codec) for codec in (JSON, MESSAGEPACK))
    netstrings = Framing(Netstrings, lambda: json, in_json, undivided=True)
    return Framings(
        default=Framing(JsonStream, lambda: json, in_json),
        by_first_byte={0: Framing(Prefixed, lambda: messagepack, in_messagepack)}
        | dict.fromkeys(b"0123456789", netstrings),
    )
