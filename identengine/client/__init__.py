"""A client for programs that ask the engine: :class:`Client` for asyncio, :class:`BlockingClient` for scripts.

Both run the same coroutines. :mod:`~identengine.client.methods` has the methods and their retries,
:mod:`~identengine.client.connection` connects and asks, :mod:`~identengine.client.stream` matches answers to
requests. Only the classes that wait differ: on an event loop they suspend, on a blocking socket they block.
"""

from identengine.calls.backend import LegResult
from identengine.client.aio import Client
from identengine.client.blocking import BlockingClient
from identengine.client.errors import (
    AskError,
    ClientError,
    EncodingError,
    LateError,
    LostError,
    UnansweredError,
)
from identengine.errors import IdentengineError, WireError
from identengine.identify.explain import Explanation
from identengine.model.records import Decision, Digest
from identengine.wire.jsonrpc.messages import Pong

__all__ = [
    "AskError",
    "BlockingClient",
    "Client",
    "ClientError",
    "Decision",
    "Digest",
    "EncodingError",
    "Explanation",
    "IdentengineError",
    "LateError",
    "LegResult",
    "LostError",
    "Pong",
    "UnansweredError",
    "WireError",
]
