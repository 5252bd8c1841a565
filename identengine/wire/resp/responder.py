"""The responder of RESP2 (interfaces.md 4): commands in, answers out, in batches of the engine. No I/O.

A command that asks the engine is read into the parameters of a method (:mod:`identengine.wire.resp.fields`), and
the core of all protocols decides it. Others are answered by :mod:`identengine.wire.resp.service`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker, BadParameter
from identengine.engine.requests import Method, RolledBack
from identengine.errors import quoted
from identengine.model.records import Decision, Request
from identengine.model.usual import UsualCallRequest, UsualRequest
from identengine.wire.batches import EngineBatches
from identengine.wire.codes import BAD_PARAMS, PARSE_ERROR
from identengine.wire.deferred import DeferredCount
from identengine.wire.desk import ANY_SIZE, Batch, Desk, Item, Kind, Later, Room
from identengine.wire.resp import fields
from identengine.wire.resp.answers import Answers
from identengine.wire.resp.fields import LONGEST_USUAL, UNREADABLE, BadFieldError
from identengine.wire.resp.framer import SEPARATOR, arguments_of
from identengine.wire.resp.service import Client, Service, Wrong, wrong_arity
from identengine.wire.resp.writers import INTERNAL_ERROR, ArrayWriter, JsonWriter, decided, error
from identengine.wire.responder import LateAnswer, MalformedMessage, MessageResponder
from identengine.wire.session import MAX_UNPROVEN, Peer, Session

MAX_WRONG = 16
"""Number of wrong commands of a connection in a turn after which errors suggest no command: that costs time."""
_USUAL_TYPES = (UsualRequest, UsualCallRequest)


class Reports(NamedTuple):
    """Callbacks for what is counted and logged."""

    rejected: Callable[[Asker, Request, Decision], None]
    """Called for each rejected authorization."""
    wrong_token: Callable[[str], None]
    """Called with the address of each wrong token."""
    malformed: Callable[[MalformedMessage], None]
    """Called for each command that is answered with an error because of its form or its fields."""


class _Question(NamedTuple):
    """A command that asks the engine."""

    name: str
    usual: Kind
    general: Kind
    writer: JsonWriter
    read_usual: Callable[[bytes], Any] | None
    """Returns the parameters of a usual command, or raises one of UNREADABLE. None if no command is usual."""
    read: Callable[[Sequence[bytes]], Any] | None
    """Returns the parameters of any command. None if it has no arguments."""


class RespResponder:
    """A responder that answers commands with the decisions of an engine.

    ``uptime`` returns the seconds since the process began to serve. Without ``usual``, all commands take the
    general way.
    """

    def __init__(
        self,
        engine: Engine,
        batches: EngineBatches,
        uptime: Callable[[], float],
        reports: Reports,
        *,
        usual: bool = True,
    ) -> None:
        self._engine, self.batches, self._reports = engine, batches, reports
        self._desk: Desk[bool, JsonWriter] = Desk(
            engine, decided, reports.rejected, lambda: None, self._on_bad_parameter, usual=usual
        )
        self.json, array = JsonWriter(), ArrayWriter()
        questions = (
            self._question("AUTH", "authorize", array),
            self._question("AUTHJ", "authorize", self.json),
            self._question("IDENTIFY", "identify", array),
            *(self._question(name.upper(), name, self.json) for name in _IN_JSON),
        )
        self._questions = {one.name.encode(): one for one in questions}
        self._usual = {
            one.name.encode(): (one.read_usual, one.usual, one.writer) for one in questions if one.read_usual
        }
        """For each command that can be usual: the reader of its fields, its kind, and the writer of its answer."""
        others = {one.name: -2 if one.read else 1 for one in questions}
        self._service = Service(engine, uptime, reports.wrong_token, others)
        self._open: list[Answers] = []
        """The answers of the current batch. The responder has joined the batch if there are any."""

    def _question(self, name: str, method: Method, writer: JsonWriter) -> _Question:
        usual, general = self._desk.kind(method, usual=True), self._desk.kind(method, usual=False)
        read_usual, read = _READERS[method]
        return _Question(f"IDENT.{name}", usual, general, writer, read_usual, read)

    def connection(self) -> MessageResponder:
        """Return the responder of a new connection."""
        return _Connection(self)

    def complete(self, rolled_back: RolledBack | None) -> None:
        """Implement :meth:`identengine.wire.batches.Participant.complete`."""
        turns, self._open = self._open, []
        try:
            rejects = {} if rolled_back is None else self._desk.roll_back(rolled_back)
            for turn in turns:
                turn.complete(rejects)
        finally:
            self._desk.forget()

    def begin_turn(self) -> Batch:
        """Join the batch. Return the counts of a turn of a connection."""
        if not self._open:
            self.batches.joined.append(self)
        return Batch(Room(ANY_SIZE), connected=True)

    def end_turn(self, answers: Answers) -> None:
        """Keep the answers of a turn until the end of the batch."""
        self._open.append(answers)

    def usual(self, message: bytes, peer: Peer, too_old: bool, batch: Batch) -> Item:
        """Return the answer to a usual command about a call, or None if the command has to be looked at.

        ``peer`` is the switch of the session, as this protocol counts it.
        """
        try:
            name, _, joined = message.partition(SEPARATOR)
            known = self._usual.get(name)
            if known is None or len(joined) > LONGEST_USUAL:
                return None
            read, kind, writer = known
            try:
                params = read(joined)
            except UNREADABLE:
                return None
            return self._desk.decide(kind, params, True, peer, writer, too_old, batch)
        except Exception as fault:  # of reading; a fault of a decision rejects its call
            self._engine.faults.append(fault)
            return INTERNAL_ERROR

    def unusual(
        self, message: bytes, client: Client, session: Session, peer: Peer | None, too_old: bool, batch: Batch
    ) -> Item:
        """Return the answer to any command. ``peer`` is None if the session is no switch yet."""
        try:
            return self._unusual(message, client, session, peer, too_old, batch)
        except Exception as fault:  # of reading; a fault of a decision rejects its call
            self._engine.faults.append(fault)
            return INTERNAL_ERROR

    def _unusual(
        self, message: bytes, client: Client, session: Session, peer: Peer | None, too_old: bool, batch: Batch
    ) -> Item:
        name, *arguments = arguments_of(message)
        capitals = name.upper()
        question = self._questions.get(capitals)
        if question is not None and peer is not None:
            return self._ask(question, arguments, peer, session, too_old, batch)
        suggests = batch.wrong.get(session, 0) < MAX_WRONG
        answer = self._service.answer(
            capitals.decode(errors="replace"), arguments, client, session, suggests=suggests
        )
        return answer if type(answer) is bytes else self._refused(answer, session, batch)  # type: ignore[arg-type]

    def _ask(
        self,
        question: _Question,
        arguments: Sequence[bytes],
        peer: Peer,
        session: Session,
        too_old: bool,
        batch: Batch,
    ) -> Item:
        """Read the fields of a command one by one, and let the engine decide it."""
        if bool(arguments) is not (question.read is not None):
            return self._refused(wrong_arity(question.name), session, batch)
        try:
            params = None if question.read is None else question.read(arguments)
        except BadFieldError as wrong:
            return self._refused(Wrong(BAD_PARAMS, error(str(wrong)), wrong.field), session, batch)
        except msgspec.ValidationError as wrong:
            return self._refused(Wrong(BAD_PARAMS, error(str(wrong))), session, batch)
        kind = question.usual if isinstance(params, _USUAL_TYPES) else question.general
        return self._desk.decide(kind, params, True, peer, question.writer, too_old, batch)

    def _refused(self, wrong: Wrong, session: Session, batch: Batch) -> bytes:
        """Return the answer to wrong use. Report it."""
        batch.count_wrong(session)
        if session.peer is None:
            session.refused += 1
        problem = wrong.answer[1:-2].decode(errors="replace").partition(" ")[2]
        self.report(wrong.code, problem, session, wrong.field)
        return wrong.answer

    def report(self, code: int, problem: str, session: Session, field: str | None = None) -> None:
        """Report a malformed message."""
        switch = None if session.peer is None else session.peer.name
        self._reports.malformed(MalformedMessage(switch, session.host, code, problem, field))

    def _on_bad_parameter(self, asker: Asker, wrong: BadParameter) -> None:
        value = None if wrong.value is None else quoted(wrong.value)
        self._reports.malformed(
            MalformedMessage(asker.switch, None, BAD_PARAMS, wrong.message, wrong.field, value)
        )


class _Connection:
    """The responder of one connection (:class:`identengine.wire.responder.MessageResponder`)."""

    __slots__ = ("_client", "_known", "_owner", "_peer")

    def __init__(self, owner: RespResponder) -> None:
        self._owner, self._client = owner, Client()
        self._known: Peer | None = None
        """The switch of the session, for which ``_peer`` was made."""
        self._peer: Peer | None = None
        """The same switch, whose requests count as those of this protocol."""

    def __call__(
        self,
        messages: Sequence[bytes],
        session: Session,
        broken: str | None,
        late: LateAnswer,
        owed: DeferredCount,
        too_old: bool,
        /,
    ) -> tuple[list[bytes], bool]:
        """Implement :class:`identengine.wire.responder.MessageResponder`."""
        owner, client = self._owner, self._client
        batch, usual = owner.begin_turn(), owner.usual
        items: list[Item] = []
        is_deferred, closes = False, broken is not None
        peer = self._peer_of(session)
        for message in messages:
            item = None if peer is None else usual(message, peer, too_old, batch)
            if type(item) is bytes:
                items.append(item)
                continue
            if item is None:
                item = owner.unusual(message, client, session, peer, too_old, batch)
            items.append(item)
            is_deferred = is_deferred or type(item) is Later
            peer = self._peer_of(session)
            if client.quits or (session.refused >= MAX_UNPROVEN and session.is_unproven(connected=True)):
                broken, closes = None, True
                break
        if broken is not None:
            items.append(error(f"Protocol error: {broken}"))
            owner.report(PARSE_ERROR, f"not parsable: {broken}", session)
        answers = Answers(items, late, owner.json)
        if is_deferred:
            answers.postpone(owed)
        owner.end_turn(answers)
        return answers.leaving, closes

    def _peer_of(self, session: Session) -> Peer | None:
        """Return the switch of a session, or None. Its requests count as those of this protocol."""
        peer = session.peer
        if peer is not self._known:
            self._known = self._peer = peer
            if peer is not None:
                asker = msgspec.structs.replace(peer.asker, interface="resp")
                self._peer = msgspec.structs.replace(peer, asker=asker)
        return self._peer


_READERS: Final[dict[Method, tuple[Callable[[bytes], Any] | None, Callable[[Sequence[bytes]], Any] | None]]] = {
    "authorize": (fields.usual_request, fields.request),
    "identify": (None, fields.request),
    "explain": (None, fields.request),
    "start": (fields.usual_call, fields.call_request),
    "update": (fields.usual_call, fields.call_request),
    "stop": (fields.usual_call, fields.call_request),
    "sync": (None, fields.call_list),
    "switch_up": (None, None),
    "switch_down": (None, None),
}
"""The functions that read the parameters of each method."""
_IN_JSON: Final[tuple[Method, ...]] = ("start", "update", "stop", "explain", "sync", "switch_up", "switch_down")
"""The methods that one command each asks for, and whose answers are JSON."""
