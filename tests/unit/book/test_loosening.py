"""An import lists what it loosens, and what a person closed stays closed (engine.md 9.2, 9.3, 9.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from unit.book.importing import ACCOUNTS, DIDS, VAULT, Import, accounts_of, dids_of

from identengine.book.importrun import changed_row
from identengine.book.loosening import loosened
from identengine.book.report import ImportReport
from identengine.model.records import Account, Client, ClientStatus, IdentBy, SrcPolicy
from identengine.provisioning.edits import add, apply, set_columns, set_status, switch_parts
from identengine.provisioning.rows import ACCOUNTS as ACCOUNT_ROWS
from identengine.provisioning.rows import CLIENTS as CLIENT_ROWS
from identengine.store.format import Change
from identengine.store.versions import Store

ONE = Account(
    id=1,
    client_id=1,
    name="a",
    ident_by=IdentBy.IP,
    ident=("10.0.0.0/24", "192.0.2.1"),
    tech_prefix="77#",
    password=VAULT.encrypt("x"),
    gateways=("g1", "g2"),
    orig_enabled=False,
    src_policy=SrcPolicy.REJECT,
    orig_capacity=5,
    orig_cps=0.5,
    term_capacity=0,
    term_protocol="sip",
    term_port=5060,
)


def changed(before: Any, **fields: object) -> list[tuple[str, object, object]]:
    """Return the fields that a change loosens."""
    after = msgspec.structs.replace(before, **fields)
    return [(one.field, one.before, one.after) for one in loosened(changed_row(before, after))]


@pytest.mark.parametrize(
    "fields",
    [
        {"orig_enabled": True},
        {"term_enabled": True},
        {"src_policy": SrcPolicy.ALLOW_ANY},
        {"tech_prefix": None},
        {"tech_prefix": "7"},
        {"gateways": ()},
        {"term_protocol": None},
        {"term_port": None},
        {"orig_capacity": None},
        {"orig_capacity": 6},
        {"orig_cps": 1.0},
        {"term_capacity": 1},
        {"ident": ("10.0.0.0/8", "192.0.2.1")},
        {"ident": ("10.0.0.0/24", "192.0.2.1", "192.0.0.0/16")},
        {"ident": ("0.0.0.0/0",)},
    ],
)
def test_a_field_that_loosens(fields: dict[str, object]) -> None:
    [(field, value)] = fields.items()
    assert changed(ONE, **fields) == [(field, getattr(ONE, field), value)]


def test_a_password_that_is_dropped_loosens_and_is_not_shown() -> None:
    assert changed(ONE, password=None) == [("password", "set", "not set")]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "b", "notes": "x", "orig_tag": "y"},
        {"src_policy": SrcPolicy.OVERWRITE},
        {"tech_prefix": "88#"},
        {"tech_prefix": "77#1"},
        {"gateways": ("g1",)},
        {"term_protocol": "h323"},
        {"password": VAULT.encrypt("other")},
        {"orig_capacity": 4, "orig_cps": 0.0},
        {"ident": ("10.0.0.0/25",)},
        {"ident": ("10.0.0.0/24", "192.0.2.1", "192.0.2.2")},
        {"ident": ("2001:db8::/32",)},
    ],
)
def test_a_field_that_does_not_loosen(fields: dict[str, object]) -> None:
    assert changed(ONE, **fields) == []


def test_a_client_that_is_unblocked_and_gets_more() -> None:
    client = Client(id=1, name="A", status=ClientStatus.BLOCKED, capacity=5)
    assert [one[0] for one in changed(client, status=ClientStatus.ACTIVE, capacity=None)] == ["status", "capacity"]


# ---- what a person closed ----------------------------------------------------------------------------------

BOOK = {
    "clients": ["id,name,status", "1,A,active", "2,B,active"],
    "accounts": [f"{ACCOUNTS},orig_enabled,term_enabled", "1,1,a,ip,10.0.0.1,yes,yes", "2,2,b,ip,10.0.0.2,yes,no"],
}


@pytest.fixture
def by_hand(load: Import, store: Store) -> Callable[..., None]:
    load(BOOK)

    def run(edit: object) -> None:
        assert apply(store, "ann", "by hand", edit).version  # type: ignore[arg-type]

    return run


def held(report: ImportReport) -> list[tuple[str, int | str, str]]:
    assert report.held_closed_count == len(report.held_closed)
    return [(one.table, one.key, one.field) for one in report.held_closed]


def test_what_a_person_closed_stays_closed_until_reopen(
    load: Import, store: Store, by_hand: Callable[..., None]
) -> None:
    by_hand(set_status("1", ClientStatus.BLOCKED))
    by_hand(switch_parts("1", orig=True, term=True, on=False))
    by_hand(set_columns(ACCOUNT_ROWS, "2", {"orig_enabled": "no"}))
    for _ in range(2):
        report = load(BOOK)
        assert held(report) == [
            ("client", 1, "status"),
            ("account", 1, "orig_enabled"),
            ("account", 1, "term_enabled"),
            ("account", 2, "orig_enabled"),
        ]
        assert (report.version, report.changes, report.loosens) == (None, 0, ())
    one = report.held_closed[0]
    assert (one.before, one.after) == (ClientStatus.BLOCKED, ClientStatus.ACTIVE)
    report = load(BOOK, reopen=True)
    assert (report.version, report.held_closed) == (5, ())
    assert (report.loosens[0].table, report.loosens[0].field) == ("client", "status")
    assert report.loosens_count == 4
    assert [account.orig_enabled for account in accounts_of(store)] == [True, True]


def test_the_other_fields_of_a_row_that_stays_closed_change(
    load: Import, store: Store, by_hand: Callable[..., None]
) -> None:
    by_hand(switch_parts("1", orig=True, term=False, on=False))
    report = load(BOOK | {"accounts": [line.replace(",a,", ",new,") for line in BOOK["accounts"]]})
    assert held(report) == [("account", 1, "orig_enabled")]
    first = accounts_of(store)[0]
    assert (first.name, first.orig_enabled, first.term_enabled) == ("new", False, True)


def test_an_import_opens_what_an_import_closed(load: Import, store: Store) -> None:
    load(BOOK)
    closed = [line.replace("yes", "no") for line in BOOK["accounts"]]
    load(
        {"clients": [line.replace("active", "blocked") for line in BOOK["clients"]], "accounts": closed}, yes=True
    )
    report = load(BOOK)
    assert (held(report), report.loosens_count) == ([], 5)
    load({"accounts": BOOK["accounts"][:2]}, yes=True)  # account 2 is missing, and disabled
    assert [account.disabled for account in accounts_of(store)] == [False, True]
    assert held(load(BOOK)) == []
    assert not accounts_of(store)[1].disabled


def test_what_a_person_opened_again_is_open(load: Import, by_hand: Callable[..., None]) -> None:
    by_hand(set_status("1", ClientStatus.BLOCKED))
    by_hand(set_status("1", ClientStatus.ACTIVE))
    load({"clients": [line.replace("active", "blocked") for line in BOOK["clients"]]})
    assert held(load(BOOK)) == []


def test_what_a_person_added_closed_stays_closed(load: Import, by_hand: Callable[..., None]) -> None:
    by_hand(add(CLIENT_ROWS, {"id": "7", "name": "C", "status": "blocked"}))
    cells = {"id": "7", "client_id": "7", "name": "c", "ident_by": "ip", "ident": "10.0.0.7"}
    by_hand(add(ACCOUNT_ROWS, cells | {"orig_enabled": "no"}))
    row = "7,7,c,ip,10.0.0.7,yes,yes"
    report = load({"clients": [*BOOK["clients"], "7,C,active"], "accounts": [*BOOK["accounts"], row]})
    assert held(report) == [("client", 7, "status"), ("account", 7, "orig_enabled")]
    assert [(one.key, one.field) for one in report.loosens] == [(7, "term_enabled")]  # off is the default


def test_a_closed_row_keeps_its_state_if_the_file_has_no_such_column(
    load: Import, by_hand: Callable[..., None]
) -> None:
    by_hand(set_status("1", ClientStatus.BLOCKED))
    report = load({"clients": ["id,name", "1,A", "2,B"]})
    assert (report.version, held(report)) == (None, [])


# ---- rows that are missing, and a dry run ------------------------------------------------------------------


def test_missing_keep_holds_for_all_tables(load: Import, store: Store) -> None:
    load(BOOK | {"dids": [DIDS, "441,1", "442,2"]})
    few = {"clients": ["id", "1"], "accounts": ["id", "1"], "dids": [DIDS, "441,1"]}
    report = load(few, missing="keep")
    assert (report.version, report.changes) == (None, 0)
    assert report.dids is not None
    assert report.dids.kept.first == ("442",)
    report = load(few, yes=True)
    assert [did.number for did in dids_of(store)] == ["441"]


def test_a_dry_run_shows_the_changes_field_by_field(load: Import, store: Store) -> None:
    load(BOOK)
    found: list[Change] = []
    other = BOOK | {"accounts": [*BOOK["accounts"][:1], "1,1,new,ip,10.0.0.1,yes,yes", "3,1,c,ip,10.0.0.3,yes,no"]}
    before = accounts_of(store)
    report = load(other, dry_run=True, inspect=found.extend)
    assert (report.version, report.changes, store.head()) == (None, 3, 1)
    assert accounts_of(store) == before
    assert [(change.table, change.key) for change in found] == [("account", 1), ("account", 2), ("account", 3)]
    load(other, yes=True)
    assert list(store.diff(1, 2)) == found
