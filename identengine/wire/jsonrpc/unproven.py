"""Messages of peers that are no known switch until they show a token (interfaces.md 3, "Who may ask"). No I/O.

Rule: until the token of a message is right, only its token and its id are read, and the cost is bounded: by
:data:`UNPROVEN_BYTES` for a short message, and by one search in C for a longer one. The answer is one of a few
constant errors. So an attacker learns nothing, and gains nothing from the shape of a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from identengine.errors import expected
from identengine.wire.codes import BAD_PARAMS, INVALID_REQUEST, PARSE_ERROR
from identengine.wire.jsonrpc.auth import EXPECTED_TOKEN
from identengine.wire.jsonrpc.codec import JSON, MESSAGEPACK, UNDECODED, Bytes, Codec
from identengine.wire.jsonrpc.messages import Field, Trouble, Unproven
from identengine.wire.session import MAX_UNPROVEN, UNPROVEN_BYTES, Session

_MOST_NAMES, _MOST_TOKENS = 16, 4
"""Number of places where the name ``token`` may be, and of values that are compared, in a message."""
_NAME = {JSON: b'token"', MESSAGEPACK: b"token"}
"""The last bytes of the encoded name. JSON that writes its letters as escapes is found only by decoding it."""

_EXPECTED_OBJECT = expected('an object with "jsonrpc":"2.0" and the token of a switch')
_FIELD = Field("token")
_FORMS = {
    codec: tuple(
        codec.encode(trouble)
        for trouble in (
            Trouble(BAD_PARAMS, EXPECTED_TOKEN, _FIELD),
            Trouble(BAD_PARAMS, "token", _FIELD),
            Trouble(BAD_PARAMS, "token"),
        )
    )
    for codec in (JSON, MESSAGEPACK)
}
"""The error in its three forms, the longest first."""


def shows_token(codec: Codec, raw: Bytes, session: Session) -> bool | None:
    """Return True if a message or stream holds a right token, False if only wrong ones, None if no token.

    It is not decoded, so the token may also be in a wrong place, or in any message of an array.
    """
    found: bool | None = None
    for token in _tokens(bytes(raw), codec):
        if session.switch_of(token) is not None:
            return True
        found = False
    return found


def _tokens(raw: bytes, codec: Codec) -> Iterator[str]:
    name = _NAME[codec]
    at = compared = 0
    for _ in range(_MOST_NAMES):
        at = raw.find(name, at) + len(name)
        if at < len(name) or compared == _MOST_TOKENS:
            return
        token = codec.token_behind(raw, at)
        if token and not token.isspace():
            compared += 1
            yield token


class Refusal(NamedTuple):
    """The answer to a message without a right token."""

    code: int
    problem: str
    """The message of the error in its longest form."""
    answer: bytes | None
    """None if no answer is due, or if it is withheld."""
    withheld: bool = False
    """True if an answer was due, but nothing is sent."""


def refusal(raw: bytes, codec: Codec, room: int | None) -> Refusal:
    """Return the answer to a message without a right token.

    ``room`` is the size of the largest answer, in bytes, or None if every answer is sent. An answer that does not
    fit gets a shorter form. With a ``room``, only an object with ``jsonrpc``, or an array of these, has an answer.
    """
    whole: bytes | None
    try:
        read = codec.unproven(raw) if len(raw) <= UNPROVEN_BYTES else None
    except msgspec.ValidationError:
        read = []
    except UNDECODED as fault:
        whole = codec.not_parsable(fault) if room is None else None
        return Refusal(PARSE_ERROR, f"not parsable as {codec.name}", whole, withheld=whole is None)
    if read is None:
        whole = codec.failed(codec.null_id, _FORMS[codec][0]) if room is None else None
        return Refusal(BAD_PARAMS, EXPECTED_TOKEN, whole, withheld=whole is None)
    if read == []:
        whole = codec.error(b"", INVALID_REQUEST, _EXPECTED_OBJECT) if room is None else None
        return Refusal(INVALID_REQUEST, _EXPECTED_OBJECT, whole, withheld=whole is None)
    several = read if isinstance(read, list) else [read]
    ids = [bytes(each.id) for each in several[:MAX_UNPROVEN] if _is_due(each)]
    if not ids:
        return Refusal(BAD_PARAMS, EXPECTED_TOKEN, None)
    ids = [each if codec.is_usable_id(each) else codec.null_id for each in ids]
    for form in _FORMS[codec]:
        errors = [codec.failed(each, form) for each in ids]
        whole = codec.array(errors) if several is read else errors[0]
        if room is None or len(whole) <= room:
            return Refusal(BAD_PARAMS, EXPECTED_TOKEN, whole)
    return Refusal(BAD_PARAMS, EXPECTED_TOKEN, None, withheld=True)


def _is_due(message: Unproven) -> bool:
    """Return True if a message is answered: not a notification, and not itself an answer (D21 in decisions.md)."""
    return bool(message.id) and (bool(message.method) or not (message.result or message.error))
