"""The error that answers a message which could not be decoded (interfaces.md 3). No I/O.

Rule: an error names the field, the expected value and, unless it is long or secret, the received value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from identengine.errors import LONGEST_QUOTE, expected, nearest, quoted
from identengine.model.records import Digest
from identengine.wire.codes import BAD_PARAMS, INVALID_REQUEST, NO_SUCH_METHOD
from identengine.wire.jsonrpc.codec import UNDECODED, Codec, Decoder
from identengine.wire.jsonrpc.messages import MAX_ID, Field
from identengine.wire.jsonrpc.methods import METHODS

LONGEST_VALUE = 100
"""Longest wrong value that an error shows, in bytes."""
_LONGEST_NAME = 32
"""Longest name that is compared with the methods, in characters: a comparison costs time."""

_INTEGER = "an integer or a string of digits"
_EXPECTED = dict.fromkeys(("account_id", "src_port", "interval", "part", "parts"), _INTEGER) | {
    "digest": "an object",
    "calls": "an array of arrays [call_id, leg_id, direction]",
    "confirm_empty": "true or false",
    **dict.fromkeys(("call_id", "leg_id", "list_id"), "a string or an integer"),
}
_SECRET = frozenset({"password", "token", "digest", "digest.response"})


class Complaint(NamedTuple):
    """An error, and whether the peer receives it."""

    error: bytes
    """The encoded answer."""
    due: bool
    """False if the error is only counted and logged (see :func:`complaint`)."""


def complaint(raw: bytes, codec: Codec, *, suggests: bool = True) -> Complaint:
    """Return the error of a message that did not decode. With ``suggests`` it names the nearest method.

    No error is due for a notification with a wrong method or wrong params (JSON-RPC 2.0, 4.1). Nor is it due for a
    message that is itself an answer, since two servers could then answer each other's errors forever.
    """
    if (fault := codec.text_fault(raw)) is not None:
        return Complaint(codec.not_parsable(fault), due=True)
    error = _error(raw, codec, suggests=suggests)
    try:
        loose = codec.loose(raw)
    except UNDECODED:
        return Complaint(error, due=True)
    if not loose.method:
        return Complaint(error, due=not (loose.result or loose.error))
    well_formed = _string(loose.jsonrpc, codec) == "2.0" and _string(loose.method, codec) is not None
    return Complaint(error, due=bool(loose.id) or not well_formed)


def _error(raw: bytes, codec: Codec, *, suggests: bool) -> bytes:
    """Return the error of a message, due or not."""
    try:
        loose = codec.loose(raw)
    except msgspec.ValidationError:
        return codec.error(b"", INVALID_REQUEST, _expected("an object", raw, codec))
    except UNDECODED as error:
        return codec.not_parsable(error)
    message_id = bytes(loose.id)
    method = _string(loose.method, codec)
    if not loose.method and (loose.result or loose.error):
        return codec.error(b"", INVALID_REQUEST, "the message is an answer, not a request")
    if message_id and not codec.is_usable_id(message_id):
        what = _expected(f"a string, a number or null, of at most {MAX_ID} bytes", message_id, codec)
        return codec.error(b"", INVALID_REQUEST, f"id: {what}")
    if _string(loose.jsonrpc, codec) != "2.0":
        return codec.error(
            message_id, INVALID_REQUEST, f"jsonrpc: {_expected(quoted('2.0'), loose.jsonrpc, codec)}"
        )
    if method is None:
        return codec.error(message_id, INVALID_REQUEST, f"method: {_expected('a string', loose.method, codec)}")
    if method not in METHODS:
        return codec.error(message_id, NO_SUCH_METHOD, _no_such_method(method, suggests=suggests))
    try:
        params = codec.members(loose.params) if loose.params else {}
    except msgspec.ValidationError:
        what = _expected("an object, since parameters have names", loose.params, codec)
        return codec.error(message_id, BAD_PARAMS, f"params: {what}")
    except UNDECODED as error:
        return codec.not_parsable(error)
    return _bad_param(message_id, params, codec.fields[METHODS[method].params], "", codec)


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
                    pass  # the digest is not an object: the error below names the digest itself
                else:
                    return _bad_param(message_id, inner, codec.fields[Digest], "digest.", codec)
            where = above + name
            what = _EXPECTED.get(name, "a string")
            if where in _SECRET or len(bytes(value)) > LONGEST_VALUE:
                return codec.error(message_id, BAD_PARAMS, f"{where}: {expected(what)}", Field(where))
            line = codec.one_line(bytes(value))  # the answer in JSON is one line, so its parts are
            message = f"{where}: {_expected(what, line or bytes(value), codec)}"
            echoed = msgspec.UNSET if line is None else msgspec.Raw(line)
            return codec.error(message_id, BAD_PARAMS, message, Field(where, echoed))
        except UNDECODED as error:
            return codec.not_parsable(error)
    # Each member is valid, but the message is not: a member appears twice, and the last one replaced the first.
    return codec.error(
        message_id, INVALID_REQUEST, "a member of the request appears twice, once with a wrong value"
    )


def _no_such_method(method: str, *, suggests: bool) -> str:
    meant = nearest(method, METHODS) if suggests and len(method) <= _LONGEST_NAME else None
    return f"no such method {quoted(method[: LONGEST_QUOTE + 1])}" + (f"; did you mean {meant}?" if meant else "")


def _expected(what: str, raw: bytes | msgspec.Raw, codec: Codec) -> str:
    """Return ``expected X, got Y`` as :func:`identengine.errors.expected` does, for an encoded value."""
    got = codec.printable(bytes(raw)) if raw else "nothing"
    return f"{expected(what)}, got {got if len(got) <= LONGEST_QUOTE else got[: LONGEST_QUOTE - 1] + '…'}"


def _string(raw: msgspec.Raw, codec: Codec) -> str | None:
    try:
        return codec.text(raw)
    except UNDECODED:
        return None
