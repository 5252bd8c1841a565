"""The desk of JSON-RPC (interfaces.md 3): the methods of its messages, and ``ping``. No I/O."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, get_args

from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.engine.requests import Method
from identengine.model.records import Decision, Request
from identengine.wire import desk
from identengine.wire.desk import Batch, Item, Kind
from identengine.wire.jsonrpc.answers import decided, result
from identengine.wire.jsonrpc.codec import JSON, Codec
from identengine.wire.jsonrpc.malformed import reported
from identengine.wire.jsonrpc.messages import Pong
from identengine.wire.jsonrpc.methods import CALLS, USUAL_CALLS, Call
from identengine.wire.program import PROGRAM
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import Peer


class Desk(desk.Desk[bytes, Codec]):
    """Decides messages. See :class:`identengine.wire.jsonrpc.responder.Responder` for the parameters."""

    def __init__(
        self,
        engine: Engine,
        uptime: Callable[[], float],
        on_reject: Callable[[Asker, Request, Decision], None],
        on_too_old: Callable[[], None],
        on_malformed: Callable[[MalformedMessage], None],
        *,
        usual: bool = True,
    ) -> None:
        def on_bad_parameter(asker: Asker, wrong: BadParameter) -> None:
            reported(result(JSON, b"", wrong), JSON, asker, None, on_malformed)

        super().__init__(engine, decided, on_reject, on_too_old, on_bad_parameter, usual=usual)
        self._uptime = uptime
        self._ping = self.kind("ping", usual=False)
        self.kinds: dict[type[Call], Kind] = {CALLS["ping"]: self._ping}
        """The kind of each type of message."""
        for method in get_args(Method):
            self.kinds[CALLS[method]] = self.kind(method, usual=False)
            self.kinds[USUAL_CALLS[method]] = self.kind(method, usual=USUAL_CALLS[method] is not CALLS[method])

    def _generally(
        self,
        kind: Kind,
        params: Any,
        message_id: bytes,
        peer: Peer,
        writer: Codec,
        too_old: bool,
        batch: Batch,
    ) -> Item:
        if kind is self._ping and not (too_old and not batch.connected):
            return writer.answered(message_id, self._pong()) if message_id else None
        return super()._generally(kind, params, message_id, peer, writer, too_old, batch)

    def _pong(self) -> Pong:
        book = self._engine.book
        return Pong(PROGRAM, book.version if book else None, round(self._uptime(), 3), os.getpid())
