"""Rejects and malformed messages in the log: one line a second, bounded under forged sources (engine.md 7)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from identengine.engine.core import Engine
from identengine.engine.settings import EngineSettings
from identengine.identify.builder import build
from identengine.log.rejects import SOURCES, RejectLog
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import Account, Client, Decision, Digest, IdentBy, Request
from identengine.store.vault import Vault


def rejected(log: RejectLog, reason: str = "unknown_source", switch: str = "sbc1", /, **request: Any) -> None:
    log.reject(switch, Request(**request), Decision(accepted=False, reason=reason))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> RejectLog:
    caplog.set_level("INFO", "identengine")
    return RejectLog(lambda write: None)


def test_counted_and_written_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "identengine")
    waiting: list[Callable[[], None]] = []
    log = RejectLog(waiting.append)
    for _ in range(1000):
        rejected(log, src_ip="10.0.0.1")
    rejected(log, "bad_password", src_ip="10.0.0.1")
    rejected(log, "unknown_source", "sbc2", name="a name\nof two lines" + "x" * 100)
    log.note("192.0.2.1", "unknown peer")
    assert caplog.messages == []
    (write,) = waiting
    write()
    assert caplog.messages == [
        'rejected unknown_source from "10.0.0.1" by sbc1: 1000',
        'rejected bad_password from "10.0.0.1" by sbc1: 1',
        'rejected unknown_source from "a name\\nof two lines' + "x" * 45 + '" by sbc2: 1',
        'rejected unknown peer from "192.0.2.1": 1',
    ]
    rejected(log, src_ip="10.0.0.1")
    assert len(waiting) == 2


def test_forged_sources_are_one_line(log: RejectLog, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(100_000):
        rejected(log, src_ip=f"10.0.{number >> 8}.{number & 255}")
    assert len(log._lines) == SOURCES
    assert len(log._addresses) <= 1000
    log.write()
    assert len(caplog.messages) == SOURCES + 1
    assert caplog.messages[-1] == f"rejected unknown_source from other sources: {100_000 - SOURCES}"


def test_a_source_is_one_however_it_is_written(log: RejectLog, caplog: pytest.LogCaptureFixture) -> None:
    """All spellings of the same address, name or number are one source."""
    addresses = (
        "203.0.113.9",
        "::ffff:203.0.113.9",
        " 203.0.113.9 ",
        "::FFFF:cb00:7109",
        " " * 900 + "203.0.113.9\n",
    )
    for src_ip in addresses:
        rejected(log, src_ip=src_ip)
        log.note(src_ip, "wrong HTTP token")
    for src_ip in ("2001:DB8::1", "2001:db8:0:0::1", "2001:0db8::0001"):
        rejected(log, src_ip=src_ip)
    for name in ("alice", " alice\t"):
        rejected(log, name=name, src_ip="  ")
    log.reject(
        "sbc1", Request(digest=Digest(username="alice ")), Decision(accepted=False, reason="unknown_source")
    )
    for number in ("+44 171 (5)", "441715"):
        rejected(log, src_number=number)
    log.write()
    assert caplog.messages == [
        'rejected unknown_source from "203.0.113.9" by sbc1: 5',
        'rejected wrong HTTP token from "203.0.113.9": 5',
        'rejected unknown_source from "2001:db8::1" by sbc1: 3',
        'rejected unknown_source from "alice" by sbc1: 3',
        'rejected unknown_source from "441715" by sbc1: 2',
    ]


def test_sources_that_are_no_address_are_bounded(log: RejectLog, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(10_000):
        rejected(log, "invalid_request", src_ip="\x1b[2J" + "x" * 50_000 * (number < 5) + f"no address {number}")
    assert sum(len(text) for key in log._lines for text in key if text) < 100 * SOURCES
    log.write()
    assert len(caplog.messages) == SOURCES + 1
    assert all(message.isprintable() and len(message) < 300 for message in caplog.messages)


def test_a_wrong_password_names_no_account(log: RejectLog, caplog: pytest.LogCaptureFixture) -> None:
    vault = Vault.from_text(base64.b64encode(bytes(32)).decode())
    engine = Engine(EngineSettings(vault=vault))
    alice = Account(
        id=18, client_id=1, name="alice", ident_by=IdentBy.NAME, ident=("alice",), password=vault.encrypt("right")
    )
    engine.take_up(build(IdentifyOptions(), 1, bytes(32), [Client(id=1, name="one")], [alice], []))
    for password in ("wrong", None):
        asked = Request(src_ip="10.0.0.1", name="alice", password=password, dst_number="44")
        log.reject("sbc1", asked, engine.authorize(asked, IdentifyOptions()))
    log.write()
    assert caplog.messages == [
        'rejected bad_password from "10.0.0.1" by sbc1: 1',
        'rejected auth_required from "10.0.0.1" by sbc1: 1',
    ]


def test_the_line_names_the_account_or_the_field_and_value(
    log: RejectLog, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine()
    account = Account(
        id=17, client_id=1, name='the "trunk"', ident_by=IdentBy.IP, ident=("10.0.0.1",), tech_prefix="9#"
    )
    named = Account(id=18, client_id=1, name="alice", ident_by=IdentBy.NAME, ident=("alice",))
    engine.take_up(build(IdentifyOptions(), 1, bytes(32), [Client(id=1, name="one")], [account, named], []))
    requests = [
        {"src_ip": "10.0.0.1", "dst_number": "9#"},
        {"src_ip": "10.0.0.1", "dst_number": "9#"},
        {"src_ip": "10.0.0.300", "dst_number": "44"},
        {"src_ip": "10.0.0.2", "src_port": 0, "dst_number": "44"},
        {"src_ip": "10.0.0.3", "direction": "up" * 1000, "dst_number": "44"},
        {"src_ip": "10.0.0.4", "dst_number": "44"},
    ]
    for request in requests:
        asked = Request(**request)  # type: ignore[arg-type]  # of several types
        log.reject("sbc1", asked, engine.authorize(asked, IdentifyOptions()))
    absent = Decision(accepted=False, reason=Reason.INVALID_REQUEST, field="call_id")
    log.reject("sbc1", Request(src_ip="10.0.0.5"), absent)
    log.write()
    assert caplog.messages == [
        'rejected invalid_destination from "10.0.0.1" by sbc1: 2; the first call was of account 17 '
        '"the \\"trunk\\""',
        'rejected invalid_request from "10.0.0.300" by sbc1: 1; the first call had src_ip "10.0.0.300"',
        'rejected invalid_request from "10.0.0.2" by sbc1: 1; the first call had src_port "0"',
        'rejected invalid_request from "10.0.0.3" by sbc1: 1; the first call had direction "' + "up" * 32 + '"',
        'rejected unknown_source from "10.0.0.4" by sbc1: 1',
        'rejected invalid_request from "10.0.0.5" by sbc1: 1; the first call had no call_id',
    ]


def test_malformed_messages_are_one_line_for_each_switch(log: RejectLog, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1000):
        log.malformed("sbc1", f"10.0.0.{number % 5}", -32602, "call_id: wrong", "call_id", '{"a":1}')
        log.malformed("sbc1", None, -32700, "not parsable")
        log.malformed(None, "192.0.2.1", -32600, "no\nrequest\x1b" + "x" * 10_000)
        log.malformed("sbc2", None, -32602, "interval: wrong", "interval", "0")
    log.write()
    assert caplog.messages == [
        "malformed messages from sbc1 at 10.0.0.0: 2000; the first has error -32602, call_id: wrong",
        "malformed messages from 192.0.2.1, a host without a known switch: 1000; the first has error -32600, "
        "no\\nrequest\\u001b" + "x" * 189,
        "malformed messages from sbc2: 1000; the first has error -32602, interval: wrong",
    ]
    fields: Any = caplog.records[0].args
    assert (fields["code"], fields["field"], fields["value"]) == (-32602, "call_id", '{"a":1}')


def test_malformed_messages_of_many_hosts_are_bounded(log: RejectLog, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(10_000):
        log.malformed(None, f"10.0.{number >> 8}.{number & 255}", -32700 + number % 2 * 100, "no")
    log.write()
    assert len(caplog.messages) == SOURCES + 2
    assert caplog.messages[-1] == f"malformed messages with error -32600 from other hosts: {5000 - SOURCES // 2}"
