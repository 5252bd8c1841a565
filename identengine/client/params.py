"""Parameters of each method, as keyword arguments and as the Structs that are encoded (interfaces.md 3).

An unknown parameter is a TypeError, since the server ignores unknown names and would decide a different question.
A value that JSON cannot carry as it is, such as ``bytes``, is a TypeError too. The server checks all other values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias, TypedDict

import msgspec

from identengine.model.records import CallList, CallRequest, Digest, Request


class CallParams(TypedDict, total=False):
    """Parameters of ``authorize``, ``identify`` and ``explain``. None means absent."""

    call_id: str | None
    leg_id: str | None
    direction: str | None
    account_id: int | str | None
    src_ip: str | None
    src_port: int | str | None
    protocol: str | None
    gateway: str | None
    name: str | None
    password: str | None
    digest: Digest | None
    src_number: str | None
    dst_number: str | None


class TellParams(CallParams, total=False):
    """Parameters of ``start``, ``update`` and ``stop``: a call, optionally with its identity (engine.md 5.4)."""

    interval: int | str | None


class ListParams(TypedDict, total=False):
    """Parameters of ``sync``: the complete list of a switch's calls, or a part of it (engine.md 5.6)."""

    list_id: str | None
    part: int | str | None
    parts: int | str | None
    calls: list[tuple[str | None, ...]] | None
    confirm_empty: bool | None


class Deciding(Request, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """:class:`CallParams` as they are encoded. Over UDP each message carries the token."""

    token: str | None = None


class Telling(CallRequest, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """:class:`TellParams` as they are encoded."""

    token: str | None = None


class Listing(CallList, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """:class:`ListParams` as they are encoded."""

    token: str | None = None


class Bare(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Parameters of ``auth`` and of the methods that have none of their own."""

    token: str | None = None


Params: TypeAlias = Deciding | Telling | Listing | Bare

_SCALARS = (str, int, float, type(None))


def check_types(params: Params) -> None:
    """Raise TypeError if JSON cannot carry a value as it is. Encoded as base64, bytes would be another number."""
    for name in params.__struct_fields__:
        value = getattr(params, name)
        if value is not None and type(value) is not str:
            _check_type(name, value)


def _check_type(place: str, value: object) -> None:
    if isinstance(value, _SCALARS):
        return
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_type(f"{place}.{name}", inner)
    elif isinstance(value, Collection) and not isinstance(value, bytes | bytearray | memoryview):
        for number, inner in enumerate(value):
            _check_type(f"{place}[{number}]", inner)
    else:
        raise TypeError(f"{place}: expected a type that JSON has, such as str, got {type(value).__name__}")
