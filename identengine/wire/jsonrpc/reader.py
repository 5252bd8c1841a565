"""Reads the messages of JSON-RPC and lets the engine answer them one by one (interfaces.md 3). No I/O.

A message of the expected shape costs one typed decoding. :mod:`identengine.wire.jsonrpc.errors` answers any other
message, and :mod:`identengine.wire.jsonrpc.unproven` the messages of peers that have shown no token.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from identengine.calls.backend import LegResult
from identengine.engine.core import Engine
from identengine.errors import expected
from identengine.wire.codes import INTERNAL, INVALID_REQUEST
from identengine.wire.desk import Batch, Item
from identengine.wire.jsonrpc.answers import DATAGRAM
from identengine.wire.jsonrpc.auth import Authenticator, may_hold_token
from identengine.wire.jsonrpc.codec import UNDECODED, Bytes, Codec
from identengine.wire.jsonrpc.desk import Desk
from identengine.wire.jsonrpc.errors import complaint
from identengine.wire.jsonrpc.malformed import reported
from identengine.wire.jsonrpc.messages import Credentials
from identengine.wire.jsonrpc.methods import CALLS, Call, with_text_ids
from identengine.wire.jsonrpc.unproven import refusal, shows_token
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import UNPROVEN_BYTES, Peer, Session

MAX_BATCH = 1000
"""Largest number of messages in an array. Real requests fill a message earlier; empty ones do not."""
USUAL_BYTES = 2048
"""Largest message that is decoded as a usual one first, in bytes. A larger one would cost much if it is not."""
MAX_WRONG = 16
"""Number of wrong messages of a source in a batch after which the rest of an array is skipped: they cost time."""


class Reader:
    """Reads messages. See :class:`identengine.wire.jsonrpc.responder.Responder` for the parameters."""

    def __init__(
        self,
        engine: Engine,
        desk: Desk,
        on_wrong_token: Callable[[str], None],
        on_too_old: Callable[[], None],
        on_malformed: Callable[[MalformedMessage], None],
        on_withheld: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._auth = Authenticator(on_wrong_token)
        self._on_too_old = on_too_old
        self._on_malformed = on_malformed
        self._on_withheld = on_withheld
        self._desk, self._kinds = desk, desk.kinds

    def read(self, raw: bytes, codec: Codec, session: Session, too_old: bool, batch: Batch) -> Item | list[Item]:
        """Return the answer to a message, or the answers to the messages of an array."""
        if not codec.is_array(raw):
            return self.read_call(raw, codec, session, too_old, batch)
        try:
            return self._read_array(raw, codec, session, too_old, batch)
        except Exception as fault:
            return self._failed(fault, None, codec, session.peer, session, batch)

    def _read_array(
        self, raw: bytes, codec: Codec, session: Session, too_old: bool, batch: Batch
    ) -> Item | list[Item]:
        if self._is_unproven(raw, codec, session, batch):
            return self._refuse(raw, codec, session, batch)
        items: list[msgspec.Raw] = []
        fault: Exception | None = codec.text_fault(raw)
        if fault is None:
            try:
                items = codec.items(raw)
            except UNDECODED as error:
                fault = error
        if fault is not None:
            repaired = codec.repaired(raw)
            if repaired == raw:
                return self.report(codec.not_parsable(fault), codec, session.peer, session.host)
            return self._read_array(repaired, codec, session, too_old, batch)
        if not 1 <= len(items) <= MAX_BATCH:
            what = f"{expected(f'an array of 1 to {MAX_BATCH} messages')}, got {len(items)}"
            return self.report(codec.error(b"", INVALID_REQUEST, what), codec, session.peer, session.host)
        return self._read_items(items, codec, session, too_old, batch)

    def _read_items(
        self, items: list[msgspec.Raw], codec: Codec, session: Session, too_old: bool, batch: Batch
    ) -> list[Item]:
        read: list[Item] = []
        room = batch.room
        batch.room = room._replace(bytes=room.bytes - codec.array_bytes)
        try:
            for item in items:
                before = batch.wrong.get(session, 0)
                read.append(self.read_call(item, codec, session, too_old, batch))
                if batch.wrong.get(session, 0) > max(before, MAX_WRONG):
                    what = (
                        f"the array has more than {MAX_WRONG} wrong messages; the messages after them were skipped"
                    )
                    error = codec.error(b"", INVALID_REQUEST, what)
                    read.append(self.report(error, codec, session.peer, session.host))
                    break
        finally:
            batch.room = room
        return read

    def read_call(self, raw: Bytes, codec: Codec, session: Session, too_old: bool, batch: Batch) -> Item:
        """Return the answer to one message: check its form, its id, its sender and its age, then decide it."""
        message_id, peer = None, session.peer
        try:
            if peer is None and len(raw) > UNPROVEN_BYTES and self._is_unproven(raw, codec, session, batch):
                return self._refuse(raw, codec, session, batch)
            try:
                call = codec.usual(raw) if len(raw) <= USUAL_BYTES else codec.call(raw)
            except UNDECODED as fault:
                unusual = _unusual(raw, codec, fault)
                if unusual is None:
                    return self._undecoded(bytes(raw), codec, session, too_old, batch)
                call = unusual
            message_id = bytes(call.id)
            if message_id and not (
                (codec.number_begins[message_id[0]] and len(message_id) <= _SHORT)
                or codec.is_usable_id(message_id)
            ):
                message_id = None
                return self._complaint(bytes(raw), codec, session, batch)
            if type(call) is _AUTH:
                return self._authenticate(call.params, raw, message_id, codec, session, batch)  # type: ignore[arg-type]  # _AUTH has Credentials
            if session.checks_tokens and (peer is None or may_hold_token(raw)):
                peer = self._auth.peer_of(raw, codec, session)
            if peer is None:
                return self._unknown(raw, message_id, codec, session, batch)
            return self._desk.decide(self._kinds[type(call)], call.params, message_id, peer, codec, too_old, batch)
        except Exception as fault:  # for example a value nested almost as deep as the stack
            return self._failed(fault, message_id, codec, peer, session, batch)

    def _failed(
        self,
        fault: Exception,
        message_id: bytes | None,
        codec: Codec,
        peer: Peer | None,
        session: Session,
        batch: Batch,
    ) -> bytes | None:
        """Keep a fault, and return the error that answers its message, so that all others are answered.

        ``message_id`` and ``peer`` are None if the fault came before they were known.
        """
        self._engine.faults.append(fault)
        if message_id == b"" or (peer is None and session.is_unproven(connected=batch.connected)):
            return None
        return codec.error(message_id or b"", INTERNAL, "internal error. The server's log has the details.")

    def _unknown(
        self, raw: Bytes, message_id: bytes, codec: Codec, session: Session, batch: Batch
    ) -> bytes | None:
        """Return the answer to a message from no known switch."""
        if session.is_unproven(connected=batch.connected):
            return self._refuse(bytes(raw), codec, session, batch)
        batch.count_wrong(session)
        error = self.report(self._auth.unknown(message_id, codec, session), codec, None, session.host)
        return error if message_id else None

    def _authenticate(
        self,
        params: Credentials | None,
        raw: Bytes,
        message_id: bytes,
        codec: Codec,
        session: Session,
        batch: Batch,
    ) -> bytes | None:
        """Return the answer to ``auth``, or None if it has no id."""
        if not batch.connected and self._is_unproven(raw, codec, session, batch):
            return self._refuse(bytes(raw), codec, session, batch)
        error = self._auth.authenticate(params, message_id, codec, session, connected=batch.connected)
        if error is None:
            return codec.answered(message_id, LegResult(True)) if message_id else None
        batch.count_wrong(session)
        session.refused += 1
        self.report(error, codec, session.peer, session.host)
        return error if message_id else None

    def _is_unproven(self, raw: Bytes, codec: Codec, session: Session, batch: Batch) -> bool:
        """Return True if a message is from an unproven peer, and shows no right token. Count a wrong token."""
        if not session.is_unproven(connected=batch.connected):
            return False
        shown = shows_token(codec, raw, session)
        if shown is False:
            self._auth.on_wrong_token(session.host)
        return not shown

    def _refuse(self, raw: Bytes, codec: Codec, session: Session, batch: Batch) -> bytes | None:
        """Return the answer to a message from an unproven peer without a right token."""
        session.refused += 1
        batch.count_wrong(session)
        found = refusal(bytes(raw), codec, None if batch.connected else min(len(raw), DATAGRAM))
        self._on_malformed(MalformedMessage(None, session.host, found.code, found.problem, "token"))
        if found.withheld:
            self._on_withheld(session.host)
        return found.answer

    def _undecoded(self, raw: bytes, codec: Codec, session: Session, too_old: bool, batch: Batch) -> Item:
        """Read a message that is not of the expected shape."""
        if self._is_unproven(raw, codec, session, batch):
            return self._refuse(raw, codec, session, batch)
        repaired = codec.repaired(raw)
        if repaired == raw:
            if too_old and not batch.connected:
                self._on_too_old()
                return None
            return self._complaint(raw, codec, session, batch)
        return self.read_call(repaired, codec, session, too_old, batch)

    def _complaint(self, raw: bytes, codec: Codec, session: Session, batch: Batch) -> bytes | None:
        """Return the error that answers a wrong message, so that the other messages of the batch are answered."""
        if self._is_unproven(raw, codec, session, batch):
            return self._refuse(raw, codec, session, batch)
        error, due = complaint(raw, codec, suggests=batch.count_wrong(session) <= MAX_WRONG)
        self.report(error, codec, self._auth.supposed(raw, codec, session), session.host)
        return error if due else None

    def report(self, error: bytes, codec: Codec, sender: Peer | None, host: str | None) -> bytes:
        """Report a malformed message by its error, an encoded answer. Return the error."""
        return reported(error, codec, sender.asker if sender else None, host, self._on_malformed)


def _unusual(raw: Bytes, codec: Codec, fault: Exception) -> Call | None:
    """Return a message whose parameters are not of the usual shape, or None if it is not a message."""
    if isinstance(fault, msgspec.ValidationError):
        with suppress(*UNDECODED):
            return codec.call(raw)
        with suppress(*UNDECODED):
            return with_text_ids(codec.integer_ids(raw))
    return None


_AUTH = CALLS["auth"]
_SHORT = 20
"""Longest id, in bytes, of which only the first byte is checked if it is an integer."""
