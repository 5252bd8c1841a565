"""One of the two responders that are compared, with everything behind it: engine, calls, mirror, counters.

Rule: this is the only module that knows how a responder is made and asked. It holds the time and all sources of
chance, so that two sides differ only in the way of their messages.
"""

from __future__ import annotations

import inspect
import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from property.books import Case
from property.subject import HASH_KEY, VAULT, sealed
from property.ways.scenario import (
    CONNECTIONS,
    Datagrams,
    Restart,
    Room,
    Serve,
    Setup,
    Step,
    Stream,
    Wait,
    switches,
)

from identengine.calls.journal import Journal
from identengine.calls.memory import Calls
from identengine.calls.mirror import MirrorFullError, RoomLeft
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.settings import EngineSettings
from identengine.identify import builder
from identengine.model.reasons import STANDARD, Codes, Reason, ReasonTable
from identengine.model.records import Decision, Interface, Request
from identengine.net.access import Peers
from identengine.server.decider.operator import OperatorService
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.malformed import MalformedCounts
from identengine.stats.registry import CELLS
from identengine.stats.tally import KEEP, Tally
from identengine.wire.deferred import DeferredCount
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.operator import Filter, LegPage, LegsRequest, Status, Usage, UsageRequest
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import Session

Observed = dict[str, Any]
"""Everything that a step shows, by its kind."""

_INTERFACES: tuple[Interface, ...] = ("udp", "tcp", "tls", "http")


TICK = 0.0001
"""Time between two steps, in seconds: two batches never have the same time."""


class ScarceJournal(Journal):
    """A mirror that can be made to have no space."""

    full = False

    def write(self, *changes: Any) -> None:
        """Store the changes, unless the mirror has no space."""
        if self.full:
            self.room_left = RoomLeft.RESERVE
            raise MirrorFullError
        super().write(*changes)


class Side:
    """A decider without its sockets. Each step returns all effects that can be observed."""

    def __init__(self, setup: Setup, *, usual: bool) -> None:
        self._setup = setup
        self._usual = usual
        self._now = 1000.0
        self._folder = Path(tempfile.mkdtemp(prefix="ways"))
        self._cells = [0] * CELLS
        self._addresses, self._malformed = HeavyHitters(KEEP), MalformedCounts()
        self._events: defaultdict[str, list[Any]] = defaultdict(list)
        self._late: list[Any] = []
        self._steps = 0
        self._served = None if setup.begins_empty else 0
        self._open()

    def close(self) -> None:
        """Close the mirror and delete it."""
        self._journal.close()
        shutil.rmtree(self._folder)

    # ---- the decider

    def _open(self) -> None:
        """Start a decider on the mirror."""
        setup = self._setup
        self._journal = ScarceJournal(self._folder, setup.calls.max_legs, setup.calls.lapsed_max, self._alarm)
        self._kept_all = True
        self._calls = Calls(setup.calls, self._journal)
        self._calls.restore(*self._journal.read(), self._now)
        self._tally = Tally(self._cells, self._addresses, self._malformed)
        self._engine = Engine(calls=self._calls, tally=self._tally)
        self._responder = self._make_responder()
        self._operators = OperatorService(
            self._engine, self._calls, lambda: ("pair", "three", "four"), _no_status, lambda *_: None, self._tally
        )
        self._owed = DeferredCount()
        self._peers: dict[Interface, Peers] = {}
        self._sessions: dict[int, Session] = {}
        self._serve(setup.versions[self._served or 0], empty=self._served is None)

    def _make_responder(self) -> Responder:
        more: dict[str, Any] = {
            "usual": self._usual,
            "clock": lambda: self._now,
            "decide": lambda batch: self._engine.decide(batch, self._now),
        }
        known = inspect.signature(Responder).parameters
        return Responder(
            self._engine,
            uptime=lambda: 12.5,
            on_reject=self._on_reject,
            on_wrong_token=partial(self._note, "wrong token"),
            on_too_old=partial(self._note, "too old", None),
            on_malformed=self._on_malformed,
            on_withheld=partial(self._note, "withheld"),
            **{name: value for name, value in more.items() if name in known},
        )

    def _serve(self, case: Case, *, empty: bool = False) -> None:
        setup = self._setup
        self._engine.settings = EngineSettings(
            reasons=reasons_of(case),
            vault=VAULT if setup.has_key else None,
            lease=int(setup.calls.reserved),
            require_call_id=setup.require_call_id,
        )
        if not empty:
            rows = case.rows
            accounts = [sealed(account) for account in rows.accounts]
            book = builder.build(case.options, rows.version, HASH_KEY, rows.clients, accounts, rows.dids)
            self._engine.take_up(book)
        listed = switches(setup.match)
        self._peers = {interface: Peers(listed, case.options, interface) for interface in _INTERFACES}
        self._sessions = {
            number: session.reauthenticate(self._meet(number)) for number, session in self._sessions.items()
        }

    def _meet(self, connection: int) -> Session:
        spec = CONNECTIONS[connection]
        peers = self._peers[spec.interface]
        session = peers.host(spec.host) if spec.interface == "http" else peers.meet(spec.host)
        assert session is not None
        return session

    # ---- steps

    def take(self, step: Step) -> Observed:
        """Take a step. Return all effects that can be observed."""
        self._steps += 1
        self._now += TICK
        random.seed(self._steps)  # a calling number can be chosen at random (engine.md 4.3)
        seen: Observed = {}
        match step:
            case Datagrams():
                seen = self._datagrams(step)
            case Stream():
                seen = self._stream(step)
            case Wait(seconds):
                self._now += seconds
                self._work()
            case Serve(version):
                self._served = version
                self._serve(self._setup.versions[version])
            case Restart(dies):
                seen = self._restart(dies=dies)
            case Room(full):
                self._journal.full = full
                self._journal.room_left = RoomLeft.RESERVE if full else RoomLeft.AMPLE
                self._kept_all &= not full
                self._work()
        seen |= {"late": self._late.copy(), "owed": self._owed.count, "cells": self._cells.copy()}
        seen |= {f"on {name}": events for name, events in self._events.items()}
        seen["faults"] = self._engine.faults.total
        self._late.clear()  # senders of earlier steps hold this list
        self._events = defaultdict(list)
        return seen

    def _datagrams(self, step: Datagrams) -> Observed:
        received = [sent.raw for sent in step.sent]
        sessions = [self._peers["udp"].find(sent.host) for sent in step.sent]
        known = [session for session in sessions if session is not None]
        assert len(known) == len(sessions), "a listener drops datagrams of strangers"
        old = [sent.too_old for sent in step.sent]
        senders = _Senders(self._steps, self._late)
        answers, places = self._responder.datagrams(
            received, known, senders, self._owed, old if any(old) else None
        )
        return {"answers": list(zip(range(len(answers)) if places is None else places, answers, strict=True))}

    def _stream(self, step: Stream) -> Observed:
        number = step.connection
        session = self._sessions.setdefault(number, self._meet(number))
        label, late = self._steps, self._late
        messages = [sent.raw for sent in step.sent]
        answers, closes = self._responder.stream(
            CONNECTIONS[number].codec,
            messages,
            session,
            step.broken,
            lambda answer: late.append((label, answer)),
            self._owed,
            step.too_old,
        )
        peer = session.peer.name if session.peer else None
        seen = {"answers": list(enumerate(answers)), "closes": closes, "peer": (peer, session.refused)}
        if closes:
            del self._sessions[number]
        return seen

    def _work(self) -> None:
        for _ in range(10_000):
            if not self._calls.work(self._now):
                return
        raise AssertionError("the pending work never ends")

    def _restart(self, *, dies: bool) -> Observed:
        before = self.legs()
        # A restored set continues to free the legs of a switch at once, so that it can lose legs rightly.
        kept_all, journal = self._kept_all and not self._calls.batch.freeing, self._journal
        if dies:
            folder, self._folder = self._folder, Path(tempfile.mkdtemp(prefix="ways"))
            shutil.copy(journal.path, self._folder)
            journal.close()
            shutil.rmtree(folder)
        else:
            journal.close()
        self._open()
        return {
            "changed by the restart": [row for row in self.legs() if row not in before] if kept_all else []
        } | {"lost by the restart": [row for row in before if row not in self.legs()] if kept_all else []}

    # ---- the state

    def state(self) -> Observed:
        """Return everything that the decider counts and holds."""
        return {
            "cells": self._cells.copy(),
            "addresses": self._addresses.counts(),
            "malformed": self._malformed.counts(),
            "gauges": msgspec.structs.asdict(self._calls.gauges()),
            "legs": self.legs(),
            "accounts": self._usage("accounts"),
            "clients": self._usage("clients"),
        }

    def legs(self) -> list[Any]:
        """Return the rows of all legs, as an operator sees them."""
        rows: list[Any] = []
        for state in ("held", "lapsed"):
            cursor: int | None = 0
            while cursor is not None:
                page = self._operators.answer(LegsRequest(Filter(state=state), cursor), self._now)
                assert isinstance(page, LegPage)
                # `started` is derived from the clock of the machine, which the sides do not share.
                rows += [msgspec.structs.astuple(msgspec.structs.replace(row, started=0.0)) for row in page.rows]
                cursor = page.cursor
        return sorted(rows, key=repr)

    def _usage(self, of: Any) -> list[Any]:
        rows: list[Any] = []
        cursor: int | None = 0
        while cursor is not None:
            page = self._operators.answer(UsageRequest(of, cursor, 200), self._now)
            assert isinstance(page, Usage)
            rows += [msgspec.structs.astuple(row) for row in page.rows]
            cursor = page.cursor
        return sorted(rows, key=repr)

    # ---- callbacks

    def _note(self, event: str, value: object) -> None:
        self._events[event].append(value)

    def _on_reject(self, asker: Asker, request: Request, decision: Decision) -> None:
        fields = {name: value for name, value in msgspec.to_builtins(request).items() if value is not None}
        self._note("reject", (asker, fields, decision))

    def _on_malformed(self, message: MalformedMessage) -> None:
        self._tally.malformed(message.switch, message.code)
        self._note("malformed", message)

    def _alarm(self, text: str) -> None:
        raise AssertionError(text)


class _Senders:
    """The senders of the datagrams of one step."""

    def __init__(self, step: int, late: list[Any]) -> None:
        self._step, self._late = step, late

    def ports(self) -> list[int]:
        return [40_000 + place for place in range(64)]

    def answer_later(self, place: int, answers: Sequence[bytes]) -> None:
        self._late.append((self._step, place, list(answers)))


def reasons_of(case: Case) -> ReasonTable:
    """Return the codes of the config of a case."""
    for_all: dict[Reason, Codes] = {}
    for_account: dict[int, dict[Reason, Codes]] = {}
    for (name, account_id), (sip_code, q850) in case.overrides.items():
        codes = for_all if account_id is None else for_account.setdefault(account_id, {})
        codes[Reason(name)] = Codes(sip_code, q850, STANDARD[Reason(name)].h323)
    return ReasonTable(for_all, for_account)


def _no_status() -> Status:
    raise NotImplementedError
