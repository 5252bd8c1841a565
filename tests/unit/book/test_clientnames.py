"""Names of clients where an id is expected (interfaces.md 1)."""

from __future__ import annotations

import pytest
from unit.book.importing import ACCOUNTS, Import, accounts_of, said

from identengine.book.clientnames import name_in
from identengine.errors import LoadError
from identengine.store.versions import Store

CLIENTS = ["id,name", "1,Alpha", "2,Beta", "3,Twin", "4,Twin", "5,7"]


def test_a_name_stands_for_the_id_of_its_only_client(load: Import, store: Store) -> None:
    load({"clients": CLIENTS, "accounts": [ACCOUNTS, "1,Beta,a,ip,::1", "2, Alpha ,b,ip,::2", "3,5,c,ip,::3"]})
    assert [account.client_id for account in accounts_of(store)] == [2, 1, 5]
    report = load({"accounts": ["id,client_id", "1,Alpha", "2,1", "3,5"]})
    assert report.accounts is not None
    assert report.accounts.changed.first == (1,)


def test_a_name_that_no_client_or_several_have(load: Import) -> None:
    with pytest.raises(LoadError) as caught:
        load({"clients": CLIENTS, "accounts": [ACCOUNTS, "1,Twin,a,ip,::1", "2,Alhpa,b,ip,::2", "3,7,c,ip,::3"]})
    assert said(caught.value) == [
        'accounts.csv:2: client_id: 2 clients have the name "Twin": 3, 4. Use the id instead of the name.',
        'accounts.csv:3: client_id: expected the id or name of a client, got "Alhpa"; did you mean "Alpha"?',
        "accounts.csv:4: client_id: no client 7 in this book or in the store",
    ]


def test_a_reseller_by_name_may_follow_its_clients(load: Import, store: Store) -> None:
    load({"clients": ["id,name,parent_id", "1,Alpha,Gamma", "2,Beta,1", "3,Gamma,"]})
    with store.read() as book:
        assert [client.parent_id for client in book.clients()] == [3, 1, None]
    load({"clients": ["id,parent_id", "3,", "1,"]})
    load({"clients": ["id,parent_id", "3,Beta"]})
    with store.read() as book:
        assert [client.parent_id for client in book.clients()] == [None, 1, 2]


def test_a_reseller_by_name_that_is_wrong(load: Import) -> None:
    with pytest.raises(LoadError) as caught:
        load({"clients": ["id,name,parent_id", "1,Alpha,Unknown", "2,Beta,Beta"]})
    assert sorted(said(caught.value)) == [
        'clients.csv:2: parent_id: expected the id or name of a client, got "Unknown"',
        "clients.csv:3: parent_id: reseller loop: 2 → 2",
    ]


@pytest.mark.parametrize("value", ["", "  ", "7", " +7", "-7", "7.0", 7, None, True])
def test_a_cell_without_a_name(value: object) -> None:
    assert name_in(value) is None
