"""A responder with everything behind it, as a decider has it: a book, a set of calls with its mirror, counters."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from conformance.book import ACCOUNTS, CLIENTS, DIDS, PASSWORD
from fuzz.messages import good
from unit.wire.asking import SWITCHES

from identengine.calls.backend import Settings
from identengine.calls.journal import Journal
from identengine.calls.memory import Calls
from identengine.engine.core import Engine
from identengine.engine.lifecycle import Asker
from identengine.engine.settings import EngineSettings
from identengine.identify.builder import build
from identengine.log import handlers
from identengine.log.rejects import RejectLog
from identengine.model.options import IdentifyOptions
from identengine.model.records import Account, Decision, IdentBy, Interface, Request
from identengine.net.access import Peers
from identengine.stats.file import CounterFile, Tables
from identengine.stats.heavyhitters import HeavyHitters
from identengine.stats.tally import Tally
from identengine.store.vault import Vault
from identengine.wire.jsonrpc.codec import JSON, Codec
from identengine.wire.jsonrpc.responder import Responder
from identengine.wire.responder import MalformedMessage
from identengine.wire.session import Session

OPTIONS = IdentifyOptions()
PLAIN, WITH_TOKEN, EITHER = "10.1.0.1", "10.2.0.1", "10.3.0.1"
"""Addresses of switches: without a token, with one, and of two switches of which one has a token."""


class Subject:
    """A responder, and the faults behind it."""

    def __init__(self, folder: Path, alarm: Callable[[str], None], stack: ExitStack) -> None:
        vault = Vault((bytes(range(32)),))
        self.mirror = stack.enter_context(Journal(folder, 1000, 1000, alarm))
        counters = stack.enter_context(CounterFile(folder, alarm))
        self.tally = tally = Tally(counters.cells, HeavyHitters(100))
        stack.callback(tally.__dict__.clear)  # it would hold the mapped file
        self.calls = Calls(Settings(max_legs=1000, lapsed_max=1000), self.mirror)
        kept = self.mirror.read()
        self._now = self.mirror.clock()
        self.calls.restore(*kept, self._now)
        self.engine = Engine(EngineSettings(vault=vault), self.calls, tally=tally)
        token = vault.encrypt(PASSWORD)
        named = Account(id=900, client_id=1, name="acme", ident_by=IdentBy.NAME, ident=("acme",), password=token)
        self.engine.take_up(build(OPTIONS, 7, bytes(32), CLIENTS, [*ACCOUNTS, named], DIDS))
        self._log, self._counters = RejectLog(lambda _: None), counters
        self.responder = Responder(
            self.engine, lambda: 1.0, self._reject, self._time, self._wrong_token, on_malformed=self._malformed
        )

    def _time(self) -> float:
        self._now += 0.001
        return self._now

    def _reject(self, asker: Asker, request: Request, decision: Decision) -> None:
        assert decision.reason != "internal_error"
        self._log.reject(asker.switch, request, decision)

    def _wrong_token(self, host: str) -> None:
        self._log.note(host, "wrong token")

    def _malformed(self, message: MalformedMessage) -> None:
        self.tally.malformed(message.switch, message.code)
        self._log.malformed(*message)

    def report(self) -> None:
        """Write the log and the tables, as the decider does each second."""
        self._log.write()
        self._counters.write_tables(Tables(self.tally.addresses.counts(), self.tally.malformed_counts.counts()))

    def work(self) -> None:
        """Do the pending steps of the set of calls, so that deferred answers arrive."""
        while self.calls.work(self._now):
            pass

    def sound(self) -> None:
        """Raise an exception of the program that became an ``internal_error``."""
        for fault in self.engine.faults:
            raise fault
        assert not self.engine.faults.total

    def answers_good(self, codec: Codec, number: int, session: Session) -> None:
        """Check that the next message, which is right, is answered right."""
        (raw,), closed = self.responder.stream(codec, [codec.encode(good(number))], session)
        answer = decoded(codec, raw)
        assert not closed
        assert answer["id"] == f"good {number}"
        assert answer["result"]["account_id"] == 18
        assert answer["result"]["ambiguous"] is True


class Lines(logging.Handler):
    """A handler that checks each line in both formats: one line of printable text, and one JSON object."""

    def emit(self, record: logging.LogRecord) -> None:
        assert handlers._TextFormatter().format(record).isprintable()
        line = handlers._JsonFormatter().format(record)
        assert "\n" not in line
        assert json.loads(line)["message"]


@contextmanager
def checked_log() -> Iterator[None]:
    """Check each line of the log, and keep none."""
    logger = logging.getLogger("identengine")
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [Lines()], False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers, logger.level, logger.propagate = before


@contextmanager
def subject(folder: Path | None = None, alarm: Callable[[str], None] = pytest.fail) -> Iterator[Subject]:
    """Yield a new subject, so that a case depends on its seed alone. Without a folder its files are new."""
    with ExitStack() as stack:
        stack.enter_context(checked_log())
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="fuzz")))
        yield Subject(folder, alarm, stack)


@cache
def _peers(interface: Interface) -> Peers:
    return Peers(SWITCHES, OPTIONS, interface)


def session(host: str, interface: Interface = "tcp") -> Session:
    """Return the session of a new peer at an address."""
    found = _peers(interface).meet(host)
    assert found is not None
    return found


def decoded(codec: Codec, raw: bytes) -> Any:
    """Return an answer as an independent decoder reads it. Raise an exception if it is not well formed."""
    if codec is not JSON:
        return msgspec.msgpack.decode(raw)
    assert b"\n" not in raw
    return json.loads(raw.decode(), parse_constant=pytest.fail)


def check(answer: Any) -> list[dict[str, Any]]:
    """Return the answers of a message after a check of their shape."""
    found: list[dict[str, Any]] = answer if isinstance(answer, list) else [answer]
    assert found
    for one in found:
        assert set(one) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
        assert one["jsonrpc"] == "2.0"
        if "result" in one:
            reasons = {one["result"].get("reason"), one["result"].get("decision", {}).get("reason")}
            assert "internal_error" not in reasons
        else:
            assert type(one["error"]["code"]) is int
            assert type(one["error"]["message"]) is str
            assert "internal error" not in one["error"]["message"]
    return found
