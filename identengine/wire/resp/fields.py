"""The fields of a command, ``field=value``, as the parameters of a method (interfaces.md 3 and 4). No I/O.

A usual command costs one replacement and one typed decoding: its joined form becomes a JSON object of texts. If
that does not decode, the fields are read one by one. Both ways read the same parameters. Rule: no error quotes a
value, since a value can be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr

from identengine.errors import expected
from identengine.model.records import CallList, CallRequest, Digest, Request
from identengine.model.usual import UsualCallRequest, UsualRequest
from identengine.wire.resp.framer import SEPARATOR

UNREADABLE = (msgspec.MsgspecError, ValueError)
"""The exceptions of decoding. ValueError is bad UTF-8."""
LONGEST_USUAL = 2048
"""Longest command that is decoded as a usual one first, in bytes. A longer one would cost much if it is not."""
_IDS = frozenset(("call_id", "leg_id", "list_id", "calls"))
"""Fields in which bytes that are not UTF-8 are an error. Elsewhere U+FFFD replaces them."""
_BOOLEANS = dict.fromkeys(("true", "1", "yes"), True) | dict.fromkeys(("false", "0", "no", ""), False)
_DIGEST = "digest."
_DIGEST_FIELDS = frozenset(_DIGEST + name for name in Digest.__struct_fields__)
# The fields that each kind of parameters has. Others are ignored.
_OF_REQUEST = _DIGEST_FIELDS | {*Request.__struct_fields__}
_OF_CALL = _DIGEST_FIELDS | {*CallRequest.__struct_fields__}
_OF_LIST = frozenset(CallList.__struct_fields__)


class BadFieldError(Exception):
    """A field that cannot be read, or an argument that is no field."""

    def __init__(self, problem: str, field: str | None = None) -> None:
        super().__init__(problem)
        self.field = field
        """The name of the field, or None if it is not known."""


class _CallFields(UsualCallRequest, frozen=True, kw_only=True, gc=False):
    """The parameters of a usual ``start``, ``update`` or ``stop``, of which no integer is read yet."""

    interval: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,4}\Z")] | None = None  # type: ignore[assignment]  # see above


_Usual = TypeVar("_Usual", UsualRequest, _CallFields)
_authorize: Callable[[bytes], UsualRequest] = msgspec.json.Decoder(UsualRequest).decode
_call: Callable[[bytes], _CallFields] = msgspec.json.Decoder(_CallFields).decode


def usual_request(fields: bytes) -> UsualRequest:
    """Return the parameters of a usual ``authorize`` from its fields in joined form.

    Raise one of :data:`UNREADABLE` if the fields have to be read one by one.
    """
    asked = _authorize(_json(fields))
    return asked if asked.src_port is None and asked.account_id is None else _with_integers(asked)


def usual_call(fields: bytes) -> UsualCallRequest:
    """Return the parameters of a usual message of a call's life, as :func:`usual_request` does."""
    asked = _call(_json(fields))
    if asked.interval is not None:
        force_setattr(asked, "interval", int(asked.interval))
    return _with_integers(asked)


def _json(fields: bytes) -> bytes:
    """Return fields in joined form as a JSON object. Wrong fields become wrong JSON.

    Raise ValueError if there is a digest, or if a single argument repeats a field.
    """
    if b"digest" in fields:
        raise ValueError
    # A field without "=", or with two of them, has no form in JSON. No quote hides one, since there are no quotes.
    members = fields.replace(b"=", b'":"')
    if b"|" in fields and SEPARATOR not in fields:
        members = members.replace(b"|", SEPARATOR)
        names = members.split(b'"')[::4]
        if len({*names}) < len(names):
            raise ValueError
    return b'{"' + members + b'"}'


def _with_integers(asked: _Usual) -> _Usual:
    """Return usual parameters with integers instead of decimal texts, as most other switches send them."""
    if asked.src_port is not None:
        force_setattr(asked, "src_port", int(asked.src_port))
    if asked.account_id is not None:
        force_setattr(asked, "account_id", int(asked.account_id))
    return asked


def request(arguments: Sequence[bytes]) -> Request:
    """Return the parameters of a decision: of the usual shape if they fit it. Raise BadFieldError."""
    fields = _read(arguments, _OF_REQUEST)
    try:
        return _with_integers(msgspec.convert(fields, UsualRequest))
    except msgspec.ValidationError:
        return msgspec.convert(fields, Request)


def call_request(arguments: Sequence[bytes]) -> CallRequest:
    """Return the parameters of a message of a call's life. Raise BadFieldError."""
    fields = _read(arguments, _OF_CALL)
    try:
        asked = msgspec.convert(fields, _CallFields)
    except msgspec.ValidationError:
        return msgspec.convert(fields, CallRequest)
    if asked.interval is not None:
        force_setattr(asked, "interval", int(asked.interval))
    return _with_integers(asked)


def call_list(arguments: Sequence[bytes]) -> CallList:
    """Return the parameters of ``sync``. Raise BadFieldError."""
    return msgspec.convert(_read(arguments, _OF_LIST), CallList)


def _read(arguments: Sequence[bytes], known: frozenset[str]) -> dict[str, Any]:
    """Return the ``known`` fields of a command, as the members of its parameters."""
    fields: dict[str, Any] = {}
    for name, value in _named(arguments, known):
        if name == "calls":
            fields.setdefault("calls", []).extend(_calls(value))
        elif name == "confirm_empty":
            if value.strip() not in _BOOLEANS:
                raise BadFieldError(f"confirm_empty: {expected('true or false')}", name)
            fields[name] = _BOOLEANS[value.strip()]
        elif name == "digest":
            fields[name] = _digest(value)
        elif name.startswith(_DIGEST):
            fields["digest"] = {**fields.get("digest", {}), name.removeprefix(_DIGEST): value}
        else:
            fields[name] = value
    return fields


def _named(arguments: Sequence[bytes], known: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the known fields."""
    is_single = len(arguments) == 1
    seen: set[str] = set()
    for number, argument in enumerate(arguments[0].split(b"|") if is_single else arguments, 1):
        raw, equals, value = argument.partition(b"=")
        if not equals:
            raise BadFieldError(f"argument {number}: {expected('field=value')}")
        name = raw.decode(errors="replace")
        if name not in known:
            continue
        if is_single and name in seen and name != "calls":
            # The value of a caller may hold the separator, so that it could replace another field.
            raise BadFieldError(f"{name}: {expected('each field once in a single argument')}", name)
        seen.add(name)
        try:
            yield name, value.decode()
        except UnicodeDecodeError:
            if name in _IDS:
                raise BadFieldError(f"{name}: {expected('UTF-8')}", name) from None
            yield name, value.decode(errors="replace")


def _digest(value: str) -> dict[str, Any]:
    """Return the fields of a digest that is written as a JSON object."""
    try:
        digest: dict[str, Any] = msgspec.to_builtins(msgspec.json.decode(value, type=Digest))
    except UNREADABLE:
        what = expected("a JSON object of texts, or fields digest.NAME")
        raise BadFieldError(f"digest: {what}", "digest") from None
    return digest


def _calls(value: str) -> list[list[str | None]]:
    """Return the entries of a list of calls that one field has."""
    if not value:
        return []
    if value[0] != "[":
        return [[value]]
    entries: list[list[str | None]] | list[str | None]
    try:
        entries = msgspec.json.decode(value, type=list[Any])
        if entries and not isinstance(entries[0], list):
            return [msgspec.convert(entries, list[str | None])]
        return msgspec.convert(entries, list[list[str | None]])
    except (*UNREADABLE, RecursionError):
        what = expected("a call id, or JSON as [call_id, leg_id, direction]")
        raise BadFieldError(f"calls: {what}", "calls") from None
