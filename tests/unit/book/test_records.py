"""Rows that change a part of a record, and warnings."""

from __future__ import annotations

import pytest
from unit.book.row import CLIENT, DID, account, mistakes

from identengine.book import columns
from identengine.book.accountwarnings import account_warnings
from identengine.book.mistakes import RowError
from identengine.book.records import account_from, client_from, did_from
from identengine.model.records import DidStatus
from identengine.store.vault import Vault


def test_with_partial_the_other_columns_stay(vault: Vault) -> None:
    before = account(tech_prefix="77", gateways="g1", orig_capacity="5", password="x", notes="n")
    after = account_from({"orig_capacity": "6", "notes": ""}, before, vault)
    assert (after.orig_capacity, after.notes) == (6, None)
    assert (after.tech_prefix, after.gateways, after.password, after.ident) == (
        before.tech_prefix,
        before.gateways,
        before.password,
        before.ident,
    )


def test_with_partial_a_new_kind_looks_at_the_old_ident(vault: Vault) -> None:
    before = account(ident_by="name", ident="10.0.0.1;acme")
    with pytest.raises(RowError, match="ident: expected an IPv4 or IPv6 address"):
        account_from({"ident_by": "ip"}, before, vault)
    assert account_from({"ident_by": "ip", "ident": "::1"}, before, vault).ident == ("::1",)


def test_with_partial_a_kept_number_loses_no_plus(vault: Vault) -> None:
    before = account(ident_by="ani", ident="++44")
    assert before.ident == ("+44",)
    assert account_from({"name": "new"}, before, vault).ident == ("+44",)


@pytest.mark.parametrize(
    ("cells", "message"),
    [({"id": "8"}, "the id cannot be changed from 7 to 8"), ({"name": ""}, "a value is required")],
)
def test_with_partial_the_key_and_required_columns_stay(cells: dict[str, str], message: str, vault: Vault) -> None:
    with pytest.raises(RowError, match=message):
        account_from(cells, account(), vault)


def test_with_partial_a_client_and_a_did() -> None:
    client = client_from(CLIENT | {"parent_id": "2", "capacity": "5"})
    assert client_from({"parent_id": ""}, client) == client_from(CLIENT | {"capacity": "5"})
    did = did_from(DID)
    assert did_from({"status": "on_hold"}, did).status is DidStatus.ON_HOLD
    with pytest.raises(RowError, match='the number cannot be changed from "442070001" to "1"'):
        did_from({"number": "1"}, did)


@pytest.mark.parametrize(
    ("cells", "columns"),
    [
        ({"term_enabled": "yes", "term_port": "5060", "term_protocol": "sip"}, ["term_port", "term_protocol"]),
        ({"term_enabled": "yes", "term_tag": "x"}, []),
        ({"term_enabled": "no", "term_port": "5060"}, []),
        ({"orig_enabled": "no", "term_enabled": "yes", "term_port": "5060"}, []),
        ({"ident_by": "name", "ident": "acme"}, ["password"]),
        ({"ident_by": "name", "ident": "acme", "password": "x"}, []),
        ({"ident_by": "name", "ident": "acme", "orig_enabled": "no"}, []),
    ],
)
def test_settings_that_are_allowed_and_warned_of(cells: dict[str, object], columns: list[str]) -> None:
    assert [mistake.column for mistake in account_warnings(account(**cells))] == columns


def test_the_key_of_a_row_that_is_wrong_elsewhere() -> None:
    assert [columns.id_in(value) for value in (" 7 ", 7, "x", None, "", "0")] == [7, 7, None, None, None, None]
    assert [columns.number_in(value) for value in ("+44 (20)", "é", None, "-")] == ["4420", None, None, None]


@pytest.mark.parametrize("gateways", [";", " ; ;", [""], ["", " "]], ids=repr)
def test_a_list_without_an_item_never_means_any(gateways: object) -> None:
    ((column, _, expected),) = mistakes(gateways=gateways)
    assert column == "gateways"
    assert expected.startswith("expected at least one item, got ")


def test_a_list_that_is_not_set() -> None:
    assert account(gateways=[]).gateways == account(gateways=None).gateways == ()
