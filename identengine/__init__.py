"""The engine that a telephone switch asks, for every call: whose call is this, and may it pass?

This package exports the names of the client (docs/client.md). They are imported on first use.
"""  # noqa: D400 - begins with a question

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from identengine.client import (
        AskError,
        BlockingClient,
        Client,
        ClientError,
        Decision,
        Digest,
        Explanation,
        IdentengineError,
        LateError,
        LegResult,
        LostError,
        Pong,
        UnansweredError,
        WireError,
    )

__all__ = [
    "AskError",
    "BlockingClient",
    "Client",
    "ClientError",
    "Decision",
    "Digest",
    "Explanation",
    "IdentengineError",
    "LateError",
    "LegResult",
    "LostError",
    "Pong",
    "UnansweredError",
    "WireError",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("identengine.client"), name)
