"""The search for words: its quick test finds what the text of an account contains."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from identengine.model.records import Account, Client, ClientStatus, Did, DidStatus, IdentBy, SrcPolicy
from identengine.provisioning import search
from identengine.provisioning.changes import shown
from identengine.provisioning.listing import SINGLE_READS, Clients
from identengine.store.draft import Draft
from identengine.store.snapshot import Snapshot
from identengine.store.versions import Store

FULL = Account(
    id=71,
    client_id=2,
    name='Straße "K" \\ façade',
    ident_by=IdentBy.IP,
    ident=("192.0.2.7", "2001:db8::/48"),
    tech_prefix="77#",
    password="enc:kept-secret",
    gateways=("LON-GW1", "NYC;GW"),
    notes="line one\nline\ttwo",
    orig_enabled=False,
    orig_rate_table="Gold",
    orig_routing_plan="LCR",
    orig_tag="Ünique",
    src_policy=SrcPolicy.OVERWRITE,
    orig_capacity=123456789012345678,
    orig_cps=2.5,
    term_enabled=False,
    term_rate_table="TGold",
    term_tag="world",
    term_routing_ip="198.51.100.9",
    term_capacity=0,
    term_protocol="SIPS",
    term_proxy="sbc.example:5061",
    term_port=5070,
)
ACCOUNTS = (
    FULL,
    Account(id=72, client_id=2, name="Plain", ident_by=IdentBy.NAME, ident=("plain",)),
    Account(id=73, client_id=1, name="Number", ident_by=IdentBy.ANI, ident=("442079460801",), term_enabled=True),
)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    def edit(draft: Draft) -> None:
        draft.put_client(Client(id=1, name="Reseller ﬁne", rate_table="Retail", status=ClientStatus.BLOCKED))
        draft.put_client(Client(id=2, name="Customer", parent_id=1, routing_plan="Plan B", term_rate_table="T"))
        for account in ACCOUNTS:
            draft.put_account(account)
        draft.put_did(Did(number="12025550100", account_id=72, status=DidStatus.ON_HOLD))

    with Store.open(tmp_path_factory.mktemp("search") / "store", create=True) as store:
        store.change("tester", "made", edit)
        with store.read() as snapshot:
            yield snapshot


def test_every_column_but_the_password_is_searched(book: Snapshot) -> None:
    clients = Clients(book)
    text = search.account_text(FULL, clients)
    for name in FULL.__struct_fields__:
        value = getattr(FULL, name)
        assert isinstance(value, bool) or (shown(value) in text) is (name != "password")
    plain = search.account_text(ACCOUNTS[1], clients).splitlines()
    assert {"Retail", "Plan B", "T", "Customer", "enabled", "blocked"} <= set(plain)
    assert "Gold" not in plain


def test_the_quick_test_agrees_with_the_text(book: Snapshot) -> None:
    clients, chance = Clients(book), random.Random(1)
    texts = {account.id: search.account_text(account, clients).casefold() for account in ACCOUNTS}
    for _ in range(3000):
        text = texts[chance.choice(ACCOUNTS).id]
        start = chance.randrange(len(text))
        word = text[start : start + chance.randint(1, 8)]
        keep = search.has_words([word], clients, book)
        for account in ACCOUNTS:
            wanted = any(one in texts[account.id] for one in search._spellings(word))
            assert keep(account) is (wanted or account.id in search._owners(word, book)), (word, account.id)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["STRASSE"], [71]),
        (["fine"], [73]),  # a ligature in the client's name
        (["disabled"], [71]),
        (["blocked", "retail"], [72, 73]),
        (["kept-secret"], []),
        (["nyc;gw"], [71]),
        (["1202555"], [72]),  # of a DID
        (["1202"], []),  # too short for DIDs
        (["123456789012345678"], [71]),
        (["null"], []),
        (["orig_tag"], []),
    ],
)
def test_accounts_are_found(book: Snapshot, words: list[str], wanted: list[int]) -> None:
    keep = search.has_words(words, Clients(book), book)
    assert [account.id for account in ACCOUNTS if keep(account)] == wanted


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["a b", "c"], ["a", "b", "c"]),
        (["+44 20 7946", "0801"], ["442079460801"]),
        (["+1 (202) 555"], ["1202555"]),
        (["+x y"], ["+x", "y"]),
        ([" "], []),
    ],
)
def test_words_in(parts: list[str], words: list[str]) -> None:
    assert search.words_in(parts) == words


def test_many_clients_are_read_in_one_walk(book: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Clients(book)
    single: list[int] = []
    monkeypatch.setattr(book, "client", single.append)
    for client_id in range(100, 100 + 2 * SINGLE_READS):
        clients.get(client_id)
    assert clients.name(2) == "Customer"
    assert 2 not in single
