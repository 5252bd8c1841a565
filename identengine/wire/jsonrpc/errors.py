"""Finds out what is wrong with a message that did not decode, and how bad that is (interfaces.md 3). No I/O."""

from __future__ import annotations

from collections.abc import Mapping

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


def complaint(raw: bytes, codec: Codec) -> bytes | None:
    """Return the error that answers a message which is not as it should be; None where none is due.

    A notification with a wrong method or params gets none (JSON-RPC 2.0, 4.1), nor does an answer of somebody
    else's, or two servers could send each other errors for ever.
    """
    if not codec.is_well_formed(raw):
        return codec.not_parsable
    try:
        loose = codec.loose(raw)
    except msgspec.ValidationError:
        return codec.error(b"", INVALID_REQUEST, "a request is an object")
    except UNDECODED:
        return codec.not_parsable
    message_id = bytes(loose.id)
    method = _string(loose.method, codec)
    if not loose.method and (loose.result or loose.error):
        return None
    if message_id and not codec.is_usable_id(message_id):
        what = f"an id is a string, a number or null, of at most {MAX_ID} bytes"
        return codec.error(b"", INVALID_REQUEST, what)
    if _string(loose.jsonrpc, codec) != "2.0":
        return codec.error(message_id, INVALID_REQUEST, 'jsonrpc must be "2.0"')
    if method is None:
        return codec.error(message_id, INVALID_REQUEST, "method must be a string")
    if not message_id:
        return None
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
