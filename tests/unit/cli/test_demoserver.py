"""The demo's book and requests show every feature, and each request gets its expected decision."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from identengine.book.importer import import_book
from identengine.book.report import ImportReport
from identengine.cli import demoserver
from identengine.engine.core import Engine
from identengine.engine.settings import EngineSettings
from identengine.identify.builder import build
from identengine.model.addresses import format_network, parse_network
from identengine.model.options import IdentifyOptions
from identengine.model.reasons import Reason
from identengine.model.records import (
    Account,
    Client,
    ClientStatus,
    Decision,
    Did,
    DidStatus,
    IdentBy,
    Request,
    SrcPolicy,
)
from identengine.store.vault import Vault
from identengine.store.versions import Store

OPTIONS = IdentifyOptions(strict_ambiguity=True)
LATER = {
    Reason.ACCOUNT_CAPACITY,
    Reason.CLIENT_CAPACITY,
    Reason.RESELLER_CAPACITY,
    Reason.GLOBAL_CAPACITY,
    Reason.CPS_EXCEEDED,
    Reason.NOT_READY,
    Reason.OVERLOAD,
    Reason.INTERNAL_ERROR,
}
"""Reasons that no request to this book can have: faults, and limits, which only calls reach."""


class Loaded(msgspec.Struct):
    report: ImportReport
    clients: list[Client]
    accounts: list[Account]
    dids: list[Did]
    engine: Engine


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder: Path = tmp_path_factory.mktemp("demo")
    vault = Vault.from_file(folder / "key", create=True)
    with Store.open(folder / "store", create=True) as store:
        report = import_book(store, vault, demoserver.data_folder() / "book", who="test")
        with store.read() as book:
            clients, accounts, dids = list(book.clients()), list(book.accounts()), list(book.dids())
            engine = Engine(EngineSettings(vault=vault))
            engine.take_up(build(OPTIONS, book.version, book.hash_key, clients, accounts, dids))
    return Loaded(report, clients, accounts, dids, engine)


def decide(loaded: Loaded, sample: demoserver.Sample) -> Decision:
    params = {name: msgspec.json.decode(value) for name, value in sample.params.items()}
    request = msgspec.convert(params, Request)
    return loaded.engine.authorize(request, OPTIONS)


def test_it_imports_with_its_three_deliberate_mistakes(loaded: Loaded) -> None:
    assert [(warning.column, warning.line) for warning in loaded.report.warnings] == [
        ("password", 36),
        ("term_port", 65),
        ("ident", 68),
    ]
    assert (loaded.report.problem_count, loaded.report.version) == (0, 1)


@pytest.mark.parametrize("sample", demoserver.samples(), ids=lambda sample: sample.title)
def test_each_request_gets_its_expected_decision(loaded: Loaded, sample: demoserver.Sample) -> None:
    assert list(demoserver.differences(sample, decide(loaded, sample))) == []


def test_the_requests_show_every_reason_and_both_directions(loaded: Loaded) -> None:
    decisions = [decide(loaded, sample) for sample in demoserver.samples()]
    assert {one.reason for one in decisions if one.reason} == set(Reason) - LATER
    assert {one.direction for one in decisions if one.accepted} == {"origination", "termination"}
    assert {one.matched_by for one in decisions if one.accepted} == {"ip", "name", "ani", "account_id"}
    assert any(one.src_rewritten for one in decisions)
    assert any(one.ambiguous for one in decisions)
    # A request without expectations would pass with any answer.
    assert all(
        "account_id" in json.loads(bytes(one.expect)) or "reason" in json.loads(bytes(one.expect))
        for one in demoserver.samples()
    )


def test_the_book_shows_every_feature(loaded: Loaded) -> None:
    clients, accounts, dids = loaded.clients, loaded.accounts, loaded.dids
    assert 50 <= len(accounts) <= 80
    assert {account.ident_by for account in accounts} == set(IdentBy)
    assert {account.src_policy for account in accounts} == set(SrcPolicy)
    assert {did.status for did in dids} == set(DidStatus)
    assert {client.status for client in clients} == set(ClientStatus)
    for table, rows in (("client", clients), ("account", accounts)):
        for name in rows[0].__struct_fields__:
            assert any(getattr(row, name) for row in rows), f"no {table} has {name}"
    parents = {client.id: client.parent_id for client in clients}
    assert any(parents[parent] for parent in parents.values() if parent), "no reseller is two deep"
    assert any(account.disabled for account in accounts)
    assert any(account.orig_enabled and account.term_enabled for account in accounts)
    assert any(account.orig_capacity == 0 for account in accounts)
    vendors = [account for account in accounts if account.term_enabled]
    assert {account.ident_by for account in vendors} == set(IdentBy)
    networks = [
        parse_network(item)[0] for account in accounts if account.ident_by == "ip" for item in account.ident
    ]
    assert {len(network.address) for network in networks} == {4, 16}
    assert len({network.length for network in networks if len(network.address) == 4}) > 3


def test_addresses_and_numbers_are_reserved_for_documentation(loaded: Loaded) -> None:
    documentation = [
        ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
    ]
    for account in loaded.accounts:
        for item in account.ident if account.ident_by == "ip" else ():
            network = ip_network(format_network(parse_network(item)[0]))
            assert any(network.version == one.version and network.subnet_of(one) for one in documentation), item  # type: ignore[arg-type]
    fictional = re.compile(
        r"442079460\d{3}|44(113|151|161)4960\d{3}|441632960\d{3}|447700900\d{3}"  # Ofcom
        r"|1\d{3}55501\d\d|61255500\d{3}|468465004\d\d"  # NANP, ACMA, PTS
    )
    numbers = [did.number for did in loaded.dids]
    numbers += [item for account in loaded.accounts if account.ident_by == "ani" for item in account.ident]
    assert [number for number in numbers if not fictional.fullmatch(number)] == []
