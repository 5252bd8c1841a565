"""Resellers of a book: loops, and chains that are too deep (engine.md 8.1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.book.importing import Import, said

from identengine.book import importer
from identengine.errors import LoadError
from identengine.model.records import Client, ClientStatus
from identengine.store.draft import Draft
from identengine.store.vault import Vault
from identengine.store.versions import Store


def test_resellers_may_follow_their_clients(load: Import, store: Store) -> None:
    load({"clients": ["parent_id,id,name,status", "2,1,Alpha,blocked", "3,2,Beta,", ",3,Gamma,"]})
    with store.read() as snapshot:
        assert [(client.id, client.parent_id, client.status) for client in snapshot.clients()] == [
            (1, 2, ClientStatus.BLOCKED),
            (2, 3, ClientStatus.ACTIVE),
            (3, None, ClientStatus.ACTIVE),
        ]


def test_a_reseller_loop_is_reported_on_each_of_its_rows(load: Import) -> None:
    with pytest.raises(LoadError) as caught:
        load({"clients": ["id,name,parent_id", "1,A,2", "2,B,3", "3,C,1", "4,D,1"]})
    assert said(caught.value) == [
        "clients.csv:2: parent_id: reseller loop: 1 → 2 → 3 → 1",
        "clients.csv:3: parent_id: reseller loop: 2 → 3 → 1 → 2",
        "clients.csv:4: parent_id: reseller loop: 3 → 1 → 2 → 3",
    ]


def test_a_loop_with_a_client_that_is_not_in_the_book(load: Import, store: Store) -> None:
    load({"clients": ["id,name,parent_id", "1,A,", "2,B,1"]})
    with pytest.raises(LoadError) as caught:
        load({"clients": ["id,name,parent_id", "1,A,2"]})
    assert said(caught.value) == ["clients.csv:2: parent_id: reseller loop: 1 → 2 → 1"]


def test_skip_bad_skips_a_loop_and_the_clients_below_it(load: Import, store: Store) -> None:
    report = load({"clients": ["id,name,parent_id", "1,A,2", "2,B,1", "3,C,2", "4,D,"]}, skip_bad=True)
    assert report.problem_count == 3
    with store.read() as snapshot:
        assert [client.id for client in snapshot.clients()] == [4]


def test_an_old_row_that_counts_again_may_close_a_loop(load: Import, store: Store) -> None:
    load({"clients": ["id,name,parent_id", "1,A,2", "2,B,"]})
    report = load({"clients": ["id,name,parent_id,capacity", "1,A,,-1", "2,B,1,"]}, skip_bad=True)
    assert [problem.line for problem in report.problems] == [2, 3]
    with store.read() as snapshot:
        assert [client.parent_id for client in snapshot.clients()] == [2, None]


def chain(first: int, last: int, top: int | str = "") -> list[str]:
    """Return rows of clients. The reseller of each is the next client, and that of the last is ``top``."""
    return [*(f"{n},c,{n + 1}" for n in range(first, last)), f"{last},c,{top}"]


def test_a_chain_of_resellers_has_a_longest_length(load: Import, store: Store) -> None:
    load({"clients": ["id,name,parent_id", *chain(1, 32)]})
    with pytest.raises(LoadError) as caught:
        load({"clients": ["name,parent_id,id", "a,1,101", "b,32,102", "c,101,103"]})
    most = "expected a chain of at most 32 clients, got"
    assert said(caught.value) == [
        f"clients.csv:2: parent_id: {most} 33: 101 → 1 → 2 → 3 → 4 → 5 → …",
        f"clients.csv:4: parent_id: {most} 34: 103 → 101 → 1 → 2 → 3 → 4 → …",
    ]
    assert [problem.column for problem in caught.value.problems] == ["parent_id", "parent_id"]
    report = load({"clients": ["name,parent_id,id", "a,1,101", "b,32,102", "c,101,103"]}, skip_bad=True)
    assert [problem.line for problem in report.problems] == [2, 4]
    with store.read() as snapshot:
        assert [client.id for client in snapshot.clients()] == [*range(1, 33), 102]


def test_a_row_that_makes_the_chains_of_other_clients_too_long(load: Import, store: Store) -> None:
    load({"clients": ["id,name,parent_id", *chain(1, 31), "40,x,1", "41,y,"]})
    with pytest.raises(LoadError) as caught:
        load({"clients": ["id,name,parent_id", "50,new,", "31,c,50", "30,c,31"]})
    assert said(caught.value) == [
        "clients.csv:3: parent_id: expected a chain of at most 32 clients, got 33 with client 40 of the store: "
        "40 → 1 → 2 → 3 → 4 → 5 → …"
    ]
    report = load({"clients": ["id,name,parent_id", "50,new,", "31,c,50", "30,c,31"]}, skip_bad=True)
    assert [problem.line for problem in report.problems] == [3]
    with store.read() as snapshot:
        assert [client.parent_id for client in snapshot.clients() if client.id in (30, 31, 50)] == [31, None, None]


def test_a_chain_that_was_too_long_before_can_be_repaired_step_by_step(load: Import, store: Store) -> None:
    def too_deep(draft: Draft) -> None:
        for n in range(1, 101):
            draft.put_client(Client(id=n, name="c", parent_id=n + 1 if n < 100 else None))

    store.change("old", "an older program", too_deep)
    assert load({"clients": ["id,name,parent_id", "100,other name,", "200,new,90"]}).changes == 2
    assert load({"clients": ["id,name,parent_id", "50,c,"]}).changes == 1  # now they are 49 and 51
    with pytest.raises(LoadError, match=r"clients\.csv:2: parent_id: .*, got 41: 10 → 11"):
        load({"clients": ["id,name,parent_id", "10,named again,11"]})
    with pytest.raises(LoadError, match=r"clients\.csv:2: parent_id: .*, got 42: 50 → 60"):
        load({"clients": ["id,name,parent_id", "50,c,60"]})
    assert load({"clients": ["id,name,parent_id", "20,c,40"]}).changes == 1


def test_a_chain_of_many_resellers_is_reported_quickly(load: Import) -> None:
    count = 20_000
    report = load({"clients": ["id,name,parent_id", *chain(1, count)]}, skip_bad=True)
    assert (report.problem_count, report.changes) == (count - 32, 32)
    broken = ["id,name,parent_id", *chain(count + 1, 2 * count, 3 * count)]
    assert load({"clients": broken}, skip_bad=True).problem_count == count


def test_the_messages_of_a_loop_of_thousands_are_short(tmp_path: Path) -> None:
    count = 3000
    rows = "".join(f"{number},c,{number % count + 1}\n" for number in range(1, count + 1))
    book = tmp_path / "book"
    book.mkdir()
    (book / "clients.csv").write_text("id,name,parent_id\n" + rows)
    with Store.open(tmp_path / "store", create=True) as store, pytest.raises(LoadError) as caught:
        importer.import_book(store, Vault.from_text("A" * 43 + "="), book, who="test")
    assert caught.value.total == count
    assert str(caught.value.problems[0]).endswith("reseller loop: 1 → 2 → 3 → 4 → 5 → 6 → …")
