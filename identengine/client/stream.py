"""One stream to the server: requests out, answers in. A subclass carries the bytes.

A stream ends once and is never reopened.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable

from identengine.client.errors import LostError
from identengine.client.exchange import Answer, Exchange
from identengine.client.params import Params
from identengine.wire.jsonrpc.methods import Result


class Stream(abc.ABC):
    """An open stream that matches answers to requests. Subclasses send and receive its bytes."""

    def __init__(self, exchange: Exchange, where: str) -> None:
        """Encode and decode by ``exchange``; ``where`` names the server in errors (host:port)."""
        self.heard = 0.0
        """Time of the last byte that arrived, by the connection's clock. 0 before the first."""
        self.ended = False
        """True once the stream can neither send nor receive."""
        self.why = ""
        """Reason why the stream ended."""
        self._exchange = exchange
        self._where = where
        self._paused = False
        """True while the stream accepts no bytes."""

    async def ask(self, method: str, params: Params) -> Result:
        """Send a request and return its answer, without a time-out.

        Raise AskError, EncodingError, WireError or LostError.
        """
        while self._paused:
            await self._resumed()
        if self.ended:
            raise self._lost(sent=False)
        return await self._exchanged(*self._exchange.ask(method, params))

    async def authenticate(self, token: str) -> None:
        """Send the switch's token. Raise AskError if the server rejects it (interfaces.md 3, "Who may ask")."""
        await self._exchanged(*self._exchange.authenticate(token))

    @abc.abstractmethod
    def abort(self, why: str) -> None:
        """End the stream at once. Requests that wait for answers fail."""

    @abc.abstractmethod
    async def _resumed(self) -> None:
        """Wait until the stream accepts bytes again."""

    @abc.abstractmethod
    def _answer(self, message_id: int, data: bytes) -> Awaitable[Result]:
        """Send ``data`` and return the answer to ``message_id``. Raise the error if the answer is one."""

    @abc.abstractmethod
    def _deliver(self, answer: Answer) -> None:
        """Pass an answer to the request that waits for it."""

    def _forget(self, message_id: int) -> None:
        """Stop waiting for an answer. If it arrives later, it is dropped."""
        self._exchange.forget(message_id)

    def _received(self, data: bytes) -> None:
        """Deliver the answers that ``data`` completes. Abort if the stream cannot be decoded any further."""
        for answer in self._exchange.receive(data):
            self._deliver(answer)
        if self._exchange.error is not None:
            self.abort(self._exchange.error)

    def _mark_ended(self, why: str) -> None:
        """Record that the stream ended. The first reason is kept."""
        self.ended = True
        self.why = self.why or why or "closed by the server"

    def _lost(self, *, sent: bool) -> LostError:
        """Return the error of a request that this stream left unanswered."""
        said = f"; the server reported: {self._exchange.said}" if self._exchange.said else ""
        return LostError(f"the connection to {self._where} was lost: {self.why}{said}", sent=sent)

    async def _exchanged(self, message_id: int, message: bytes) -> Result:
        try:
            return await self._answer(message_id, self._exchange.framed(message))
        finally:
            self._forget(message_id)
