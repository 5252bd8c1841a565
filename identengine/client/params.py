"""What each method takes: once as keyword arguments for people, once as what goes out (interfaces.md 3).

A name that no method knows is a TypeError, since the server would ignore it, and so decide something else than was
meant. Values are the server's to check: it says which one is wrong.
"""

from __future__ import annotations

from typing import TypeAlias, TypedDict

import msgspec

from identengine.model.records import CallList, CallRequest, Digest, Request


class CallParams(TypedDict, total=False):
    """Of ``authorize``, ``identify`` and ``explain``: who asks for which call; None is as if it were not given."""

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
    """Of ``start``, ``update`` and ``stop``: which call, and perhaps who it is (engine.md 5.4)."""

    interval: int | str | None


class ListParams(TypedDict, total=False):
    """Of ``sync``: the complete list of a switch's calls, or a part of it (engine.md 5.6)."""

    list_id: str | None
    part: int | str | None
    parts: int | str | None
    calls: list[tuple[str | None, ...]] | None
    confirm_empty: bool | None


class Deciding(Request, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """:class:`CallParams` as they go out; over UDP each message carries the token."""

    token: str | None = None


class Telling(CallRequest, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """:class:`TellParams` as they go out."""

    token: str | None = None


class Listing(CallList, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """:class:`ListParams` as they go out."""

    token: str | None = None


class Bare(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Of the methods that take nothing, and of ``auth``."""

    token: str | None = None


Params: TypeAlias = Deciding | Telling | Listing | Bare
