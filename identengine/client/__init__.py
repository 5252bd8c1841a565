"""A client for programs that ask the engine: :class:`Client` for asyncio, :class:`BlockingClient` for scripts.

Both are thin: ids, encoding and results are :mod:`identengine.client.exchange`, which knows of no socket.
"""

from identengine.calls.backend import Done
from identengine.client.aio import Client
from identengine.client.blocking import BlockingClient
from identengine.client.errors import AskError, ClientError, LateError, LostError, UnansweredError
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
    "Done",
    "Explanation",
    "IdentengineError",
    "LateError",
    "LostError",
    "Pong",
    "UnansweredError",
    "WireError",
]
