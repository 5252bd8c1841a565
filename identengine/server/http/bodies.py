"""The body of a request: the parameters of a method as a JSON object (interfaces.md 6).

They are decoded as in JSON-RPC, with the same types and the same messages. The framework's own decoding is not
used, since it would convert ``"1"`` to a number.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from identengine.server.http.problems import NO_OBJECT, Problem, ProblemError, of_trouble
from identengine.wire.codes import BAD_PARAMS, PARSE_ERROR
from identengine.wire.jsonrpc.codec import JSON, UNDECODED
from identengine.wire.jsonrpc.errors import complaint
from identengine.wire.jsonrpc.messages import RequestMessage, ResponseMessage
from identengine.wire.jsonrpc.methods import INTEGER_ID_PARAMS, METHODS, text_ids


class BodyError(ProblemError):
    """The body of a request cannot be used as parameters."""


_READERS = {spec.params: msgspec.json.Decoder(spec.params) for spec in METHODS.values()}
_INTEGER_IDS = {params: msgspec.json.Decoder(kind) for params, kind in INTEGER_ID_PARAMS.items()}
_read_response = msgspec.json.Decoder(ResponseMessage).decode


def read(body: bytes, method: str, kind: type[msgspec.Struct]) -> msgspec.Struct:
    """Return the parameters of a method. Raise BodyError if the body cannot be used."""
    for text in (body, JSON.repaired(body)):
        try:
            return _READERS[kind].decode(text)
        except msgspec.ValidationError:
            if kind in _INTEGER_IDS:
                with suppress(*UNDECODED):
                    return text_ids(_INTEGER_IDS[kind].decode(text), kind)
        except UNDECODED:
            continue
    raise _problem(text, method)


def _problem(body: bytes, method: str) -> BodyError:
    """Return the error that JSON-RPC would answer to the same parameters."""
    if not body:
        return BodyError(Problem(400, NO_OBJECT, BAD_PARAMS))
    try:
        well_formed = JSON.is_well_formed(body) and JSON.members(body) is not None
    except msgspec.ValidationError:
        return BodyError(Problem(400, NO_OBJECT, BAD_PARAMS))
    except UNDECODED:
        well_formed = False
    error = None
    if well_formed:
        found = complaint(JSON.encode(RequestMessage(method, 0, msgspec.Raw(body))), JSON)
        error = _read_response(found.error).error
    if error is None:
        return BodyError(Problem(400, f"not parsable as JSON in UTF-8: {NO_OBJECT}", PARSE_ERROR))
    return BodyError(of_trouble(error).problem)
