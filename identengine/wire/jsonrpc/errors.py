"""Finds out what is wrong with a message that did not decode, and how bad that is (interfaces.md 3). No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from identengine.model.records import Digest
from identengine.wire.jsonrpc.codec import UNDECODED, Codec, Decoder
from identengine.wire.jsonrpc.messages import BAD_PARAMS, INVALID_REQUEST, MAX_ID, NO_SUCH_METHOD, Field
from identengine.wire.jsonrpc.methods import METHODS

LONGEST_VALUE = 100
"""Bytes of a wrong value that are shown."""

_INTEGER = "an integer or a string of digits"
_WANTED = dict.fromkeys(("account_id", "src_port", "interval", "part", "parts"), _INTEGER) | {
    "digest": "an object",
    "calls": "an array of arrays [call_id, leg_id, direction]",
    "confirm_empty": "true or false",
}
_SECRET = frozenset({"password", "token", "digest", "digest.response"})


class Complaint(NamedTuple):
    """An error, and whether the peer gets it."""

    error: bytes
    """The encoded answer."""
    due: bool
    """False if the error is only counted and logged (see :func:`complaint`)."""


def complaint(raw: bytes, codec: Codec) -> Complaint:
    """Return the error of a message that did not decode.

    It is not due for a notification with a wrong method or wrong params (JSON-RPC 2.0, 4.1). Nor is it due for a
    message that is itself an answer, or two servers could answer each other's errors forever.
    """
    if not codec.is_well_formed(raw):
        return Complaint(codec.not_parsable, due=True)
    error = _error(raw, codec)
    try:
        loose = codec.loose(raw)
    except UNDECODED:
        return Complaint(error, due=True)
    if not loose.method:
        return Complaint(error, due=not (loose.result or loose.error))
    well_formed = _string(loose.jsonrpc, codec) == "2.0" and _string(loose.method, codec) is not None
    return Complaint(error, due=bool(loose.id) or not well_formed)


def _error(raw: bytes, codec: Codec) -> bytes:
    """Return the error, due or not."""
    try:
        loose = codec.loose(raw)
    except msgspec.ValidationError:
        return codec.error(b"", INVALID_REQUEST, "a request is an object")
    except UNDECODED:
        return codec.not_parsable
    message_id = bytes(loose.id)
    method = _string(loose.method, codec)
    if not loose.method and (loose.result or loose.error):
        return codec.error(b"", INVALID_REQUEST, "the message is an answer, not a request")
    if message_id and not codec.is_usable_id(message_id):
        what = f"an id is a string, a number or null, of at most {MAX_ID} bytes"
        return codec.error(b"", INVALID_REQUEST, what)
    if _string(loose.jsonrpc, codec) != "2.0":
        return codec.error(message_id, INVALID_REQUEST, 'jsonrpc must be "2.0"')
    if method is None:
        return codec.error(message_id, INVALID_REQUEST, "method must be a string")
    if method not in METHODS:
        return codec.error(message_id, NO_SUCH_METHOD, f"no such method: {shortened(method)}")
    try:
        params = codec.members(loose.params) if loose.params else {}
    except msgspec.ValidationError:
        return codec.error(message_id, BAD_PARAMS, "params go by name, in an object")
    except UNDECODED:
        return codec.not_parsable
    return _bad_param(message_id, params, codec.fields[METHODS[method].params], "", codec)


def shortened(text: str) -> str:
    """Return a text of somebody else's for an answer."""
    return text if len(text) <= 60 else text[:60] + "…"


def _bad_param(
    message_id: bytes,
    params: Mapping[str, msgspec.Raw],
    fields: Mapping[str, Decoder[object]],
    above: str,
    codec: Codec,
) -> bytes:
    """Return the error that names the first parameter of a wrong type."""
    for name, value in params.items():
        if name not in fields:
            continue
        try:
            fields[name].decode(value)
        except msgspec.ValidationError:
            if name == "digest":
                try:
                    inner = codec.members(value)
                except UNDECODED:
                    pass  # it is no object, as is said below
                else:
                    return _bad_param(message_id, inner, codec.fields[Digest], "digest.", codec)
            where = above + name
            message = f"{where}: {_WANTED.get(name, 'a string')} is wanted"
            if where in _SECRET or len(bytes(value)) > LONGEST_VALUE:
                return codec.error(message_id, BAD_PARAMS, message, Field(where))
            line = codec.one_line(bytes(value))  # as every answer of JSON is
            return codec.error(
                message_id, BAD_PARAMS, f"{message}, not {codec.shown(line)}", Field(where, msgspec.Raw(line))
            )
        except UNDECODED:
            return codec.not_parsable
    # Every part is right by itself: of a member that stands there twice the other one was wrong.
    return codec.error(message_id, INVALID_REQUEST, "the request cannot be read; does a member stand there twice?")


def _string(raw: msgspec.Raw, codec: Codec) -> str | None:
    try:
        return codec.text(raw)
    except UNDECODED:
        return None
