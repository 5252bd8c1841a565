"""Importing a book: one version or nothing, and every change is reported (interfaces.md 1, engine.md 1.5, 8.1)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from unit.book.importing import ACCOUNTS, DIDS, VAULT, Import, accounts_of, book, dids_of, said, whole

from identengine.book import importrun
from identengine.book.importer import import_book
from identengine.errors import LoadError
from identengine.model.records import Did, DidStatus
from identengine.store import file as storefile
from identengine.store.versions import Store

LIMIT = 'expected a whole number from 0 (no calls) up or an empty cell (no limit), got "-1"'


def test_a_book_becomes_a_version(load: Import, store: Store) -> None:
    report = load(whole())
    assert (report.version, report.changes, store.head()) == (1, 22, 1)
    assert report.clients is not None
    assert report.accounts is not None
    assert report.dids is not None
    assert (report.clients.added, report.accounts.added, report.dids.added) == (2, 10, 10)
    assert dids_of(store)[0] == Did(number="44200001", account_id=1)
    [info] = store.versions()
    assert (info.who, info.clients, info.accounts, info.dids) == ("test", 2, 10, 10)
    assert info.what.startswith("import ")


def test_the_same_book_again_makes_no_version(load: Import, store: Store) -> None:
    load(whole())
    report = load(whole())
    assert (report.version, report.changes, store.head()) == (None, 0, 1)
    assert report.accounts is not None
    assert report.accounts.unchanged == 10


def test_json_lines_say_the_same_as_csv(load: Import, store: Store) -> None:
    csv = {
        "clients": ["id,name,capacity,orig_cps", "1,Alpha,5,0.5"],
        "accounts": [ACCOUNTS + ",gateways,term_enabled,term_port", "7,1,a,ip,10.0.0.1;::1,g1;g2,yes,5060"],
        "dids": ["number,account_id,status", "+44 20-1,7,on_hold"],
    }
    load(csv)
    json_lines = {
        "clients_jsonl": '{"id": 1, "name": "Alpha", "capacity": 5, "orig_cps": 0.5, "notes": null}\r\n\r\n',
        "accounts_jsonl": [
            '{"id":"7","client_id":1,"name":"a","ident_by":"ip","ident":["10.0.0.1","::1"],'
            '"gateways":["g1","g2"],"term_enabled":true,"term_port":5060}'
        ],
        "dids_jsonl": '\ufeff{"number":"44201","account_id":7,"status":"on_hold"}',
    }
    report = load(json_lines)
    assert (report.version, report.changes, store.head()) == (None, 0, 1)
    assert dids_of(store) == [Did(number="44201", account_id=7, status=DidStatus.ON_HOLD)]


def test_gzip_is_unpacked(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "clients.csv.gz").write_bytes(gzip.compress(b"id,name\n1,Alpha\n"))
    (folder / "dids.jsonl.gz").write_bytes(gzip.compress(b""))
    assert import_book(store, VAULT, folder, who="test").version == 1


def test_a_table_that_is_not_there_is_left_as_it_is(load: Import, store: Store) -> None:
    load(whole())
    report = load({"clients": ["id,name", "1,Alpha!"]})
    assert (report.accounts, report.dids) == (None, None)
    assert report.clients is not None
    assert report.clients.kept.first == (2,)
    with store.read() as snapshot:
        assert tuple(snapshot.counts) == (2, 10, 10)


def test_an_empty_cell_unsets_and_a_password_stays(load: Import, store: Store) -> None:
    header = ACCOUNTS + ",orig_tag,password"
    load({"clients": ["id,name", "1,A"], "accounts": [header, "1,1,a,name,acme,vip,s3cret"]})
    [before] = accounts_of(store)
    load({"accounts": [header, "1,1,a,name,acme,,"]})
    [after] = accounts_of(store)
    assert (before.orig_tag, after.orig_tag) == ("vip", None)
    assert after.password == before.password
    assert load({"accounts": [header, "1,1,a,name,acme,,s3cret"]}).version is None
    load({"accounts": [header, "1,1,a,name,acme,,-"]})
    assert accounts_of(store)[0].password is None


def test_the_rows_that_changed_are_named_a_hundred_of_them(load: Import) -> None:
    accounts = [ACCOUNTS, *(f"{n},1,a{n},name,n{n}" for n in range(1, 202))]
    load(whole() | {"accounts": accounts})
    report = load({"accounts": [line.replace(",a", ",b") if line != accounts[201] else line for line in accounts]})
    assert report.accounts is not None
    assert report.accounts.changed.first == tuple(range(1, 101))
    assert (report.accounts.changed.total, report.accounts.unchanged) == (200, 1)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_column_that_is_not_there_leaves_what_each_row_has(load: Import, store: Store, ending: str) -> None:
    rows = [f"{n},1,a{n},ip,10.0.0.{n},{n}#,{'no' if n == 3 else ''},secret" for n in range(1, 11)]
    load(whole() | {"accounts": [ACCOUNTS + ",tech_prefix,orig_enabled,password", *rows]})
    before = accounts_of(store)
    lines = ["id,name", *(f"{n},b{n}" for n in range(1, 10)), "10,a10"]
    if ending == "jsonl":
        lines = [json.dumps({"id": int(line.split(",")[0]), "name": line.split(",")[1]}) for line in lines[1:]]
    report = load({f"accounts_{ending}": lines})
    assert report.accounts is not None
    assert (report.accounts.changed.first, report.accounts.unchanged) == (tuple(range(1, 10)), 1)
    assert report.warnings == ()
    assert accounts_of(store) == [replace(one, name=f"b{one.id}" if one.id < 10 else "a10") for one in before]


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_cell_clears_except_in_columns_that_could_open_an_account(
    load: Import, store: Store, empty: str
) -> None:
    columns = ",tech_prefix,gateways,orig_capacity,password,orig_enabled,term_enabled,src_policy"
    rows = [ACCOUNTS + columns, "1,1,a,ip,10.0.0.1,7#,g1,5,secret,no,yes,reject"]
    load({"clients": ["id,name", "1,A"], "accounts": rows})
    [before] = accounts_of(store)
    cells = f"{empty},{empty},{empty},,{empty},{empty},{empty}"  # blanks are a password
    load({"accounts": [ACCOUNTS + columns, f"1,1,a,ip,10.0.0.1,{cells}"]})
    assert accounts_of(store) == [replace(before, tech_prefix=None, gateways=(), orig_capacity=None)]


def test_an_empty_status_keeps_a_client_blocked_and_a_did_on_hold(load: Import, store: Store) -> None:
    load(
        whole()
        | {"clients": ["id,name,status", "1,A,blocked", "2,B,"], "dids": [DIDS + ",status", "44,1,on_hold"]}
    )
    report = load({"clients": ["id,status", "1,", "2,"], "dids_jsonl": '{"number": "44", "status": null}'})
    assert (report.version, report.changes) == (None, 0)
    with store.read() as book:
        assert [client.status for client in book.clients()] == ["blocked", "active"]


def test_a_new_row_needs_the_required_columns(load: Import) -> None:
    load(whole())
    with pytest.raises(LoadError) as caught:
        load({"accounts": ["id,name", "1,b1", "11,new"]})
    said_of = "this column is missing, and the account on line 3 is new"
    assert said(caught.value) == [
        f"accounts.csv:1: {name}: {said_of}" for name in ("client_id", "ident_by", "ident")
    ]
    with pytest.raises(LoadError) as caught:
        load({"accounts_jsonl": '{"id": 11, "name": "new"}'})
    assert [problem.column for problem in caught.value.problems] == ["client_id", "ident_by", "ident"]


def test_a_required_cell_cannot_be_cleared(load: Import) -> None:
    load(whole())
    with pytest.raises(LoadError) as caught:
        load({"clients": ["id,name", "1,"]})
    assert said(caught.value) == ["clients.csv:2: name: a value is required"]


def test_an_empty_cell_clears_without_a_warning(load: Import) -> None:
    load(whole() | {"clients": ["id,name,notes", "1,Alpha,old", "2,Beta,"]})
    report = load({"clients": ["id,name,notes", "1,Alpha,", "2,Beta,"]})
    assert report.clients is not None
    assert (report.clients.changed.first, report.warnings) == ((1,), ())


def test_equal_warnings_are_one(load: Import) -> None:
    names = [f"{n},1,a{n},name,u{n}" for n in range(1, 151)]
    hosts = ["151,1,h,ip,10.0.0.1/24;10.0.0.2/24", "152,1,i,ani,44(0)20"]
    report = load({"clients": ["id,name", "1,A"], "accounts": [ACCOUNTS, *names, *hosts]})
    assert [str(warning).rpartition("/book/")[2] for warning in report.warnings] == [
        "accounts.csv: password: 150 accounts log in by name without a password: lines 2, 3, 4 and more. They "
        'send no calls while [identify] passwordless_name is "deny" (the default). Set passwords.',
        "accounts.csv: ident: 2 networks have bits set after the mask: line 152. The bits were cleared.",
        'accounts.csv:153: ident: "44(0)20" is stored as "44020", with the 0 of the national form. Remove (0).',
    ]
    assert report.warning_count == 3


@pytest.mark.parametrize(("zeros", "warned"), [(6, True), (5, False)])
def test_many_limits_of_0_are_warned_of(load: Import, zeros: int, warned: bool) -> None:
    rows = [f"{n},1,a{n},ip,10.0.0.{n},{0 if n <= zeros else 5}" for n in range(1, 11)]
    report = load({"clients": ["id,name", "1,A"], "accounts": [ACCOUNTS + ",orig_capacity", *rows]})
    text = "limits of 0 let nothing pass, and 6 of 10 limits are 0. Leave the cell empty for no limit."
    assert [warning.expected for warning in report.warnings] == [text] * warned


def test_a_range_of_dids_is_its_numbers(load: Import, store: Store) -> None:
    tables = whole() | {"dids": [DIDS, "+44 20 7946 0100-+44 20 7946 0102,1", "0207946000-0207946001,2"]}
    report = load(tables)
    assert report.dids is not None
    assert (report.dids.rows, report.dids.added) == (2, 5)
    assert [(did.number, did.account_id) for did in dids_of(store)] == [
        *(("0207946000", 2), ("0207946001", 2)),
        *((f"44207946010{n}", 1) for n in range(3)),
    ]
    assert load(tables).version is None
    with pytest.raises(LoadError) as caught:
        load({"dids": [DIDS, "442079460100-442079460102,1", "442079460102,1"]})
    assert said(caught.value) == ['dids.csv:3: number: "442079460102" is already on line 2']


def test_one_bad_row_and_nothing_changes(load: Import, store: Store) -> None:
    load(whole())
    tables = whole()
    tables["clients"] = ["id,name", "1,New name", "2,Beta"]
    tables["dids"] = [DIDS, "44200001,99"]
    with pytest.raises(LoadError):
        load(tables)
    assert store.head() == 1
    with store.read() as snapshot:
        assert [client.name for client in snapshot.clients()] == ["Alpha", "Beta"]


def test_a_mistake_is_reported_once_and_not_again_for_dependent_rows(load: Import) -> None:
    tables = {
        "clients": ["id,name,parent_id,capacity", "1,Alpha,,-1", "2,Beta,1,"],
        "accounts": [ACCOUNTS, "1,1,a,ip,10.0.0.1", "2,2,b,ip,10.1"],
        "dids": [DIDS, "441,1", "442,2"],
    }
    with pytest.raises(LoadError) as caught:
        load(tables)
    assert said(caught.value) == [
        f"clients.csv:2: capacity: {LIMIT}",
        'accounts.csv:3: ident: expected an IPv4 address of four parts (10.0.0.1), got "10.1"',
    ]


def test_skip_bad_skips_rows_that_depend_on_bad_rows(load: Import, store: Store) -> None:
    tables = {
        "clients": ["id,name,parent_id,capacity", "1,Alpha,,-1", "2,Beta,1,", "3,Gamma,2,", "4,Delta,,"],
        "accounts": [ACCOUNTS, "1,3,a,ip,10.0.0.1", "2,4,b,ip,10.0.0.2", "3,4,c,ip,x"],
        "dids": [DIDS, "441,1", "442,2", "443,3"],
    }
    report = load(tables, skip_bad=True)
    assert [str(problem).rpartition("/")[2] for problem in report.problems] == [
        f"clients.csv:2: capacity: {LIMIT}",
        "clients.csv:3: parent_id: client 1 was skipped because of mistakes on line 2",
        "clients.csv:4: parent_id: client 2 was skipped because of mistakes on line 3",
        "accounts.csv:2: client_id: client 3 was skipped because of mistakes on line 4",
        'accounts.csv:4: ident: expected an IPv4 or IPv6 address (10.0.0.1, 2001:db8::1), got "x"',
        "dids.csv:2: account_id: account 1 was skipped because of mistakes on line 2",
        "dids.csv:4: account_id: account 3 was skipped because of mistakes on line 4",
    ]
    assert report.problem_count == 7
    with store.read() as snapshot:
        assert tuple(snapshot.counts) == (1, 1, 1)


def test_probable_mistakes_are_warned_of(load: Import) -> None:
    header = ACCOUNTS + ",term_enabled,term_port"
    rows = ["1,1,a,ip,10.0.0.7/24,,", "2,1,b,name,acme,,", "3,1,c,ip,10.0.0.1,yes,5060"]
    report = load({"clients": ["id,name", "1,A"], "accounts": [header, *rows]})
    assert report.version == 1
    assert [(warning.line, warning.column) for warning in report.warnings] == [
        (2, "ident"),
        (3, "password"),
        (4, "term_port"),
    ]


def test_the_first_hundred_are_listed_and_all_are_counted(load: Import) -> None:
    lines = [ACCOUNTS + ",gateways", *(f"{n},1,a,ip,10.0.0.1,any" for n in range(1, 251))]
    report = load({"clients": ["id,name", "1,A"], "accounts": lines})
    assert (len(report.warnings), report.warning_count) == (1, 1)
    with pytest.raises(LoadError) as caught:
        load({"accounts": [ACCOUNTS, *(f"{n},9,a,name,u{n}" for n in range(1, 251))]})
    assert (len(caught.value.problems), caught.value.total) == (100, 250)
    gone = load({"accounts": [ACCOUNTS]}, dry_run=True)
    assert gone.accounts is not None
    assert (len(gone.accounts.disabled.first), gone.accounts.disabled.total) == (100, 250)


def test_a_dry_run_says_what_would_change_and_changes_nothing(load: Import, store: Store) -> None:
    report = load(whole(), dry_run=True)
    assert (report.dry_run, report.version, report.changes, store.head()) == (True, None, 22, 0)


def test_progress_is_reported_from_the_first_byte_to_the_last(
    load: Import, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importrun, "_PROGRESS_ROWS", 3)
    told: list[tuple[int, int, str]] = []
    load(whole(), progress=lambda *now: told.append(now))
    assert {table for _, _, table in told} == {"clients", "accounts", "dids"}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] == told[-1][1]
    assert len({total for _, total, _ in told}) == 1


def test_an_edit_that_the_store_calls_again_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storefile, "INITIAL_MAP", 1 << 20)  # so that the map grows in the middle of the import
    tables = whole()
    tables["dids"] = [DIDS, *(f"4420{n:07d},{n % 10 + 1}" for n in range(20_000))]
    told: list[tuple[int, int, str]] = []
    with Store.open(tmp_path / "small", create=True) as store:
        folder = book(tmp_path / "book", **tables)
        report = import_book(store, VAULT, folder, who="test", progress=lambda *now: told.append(now))
        assert told.count(told[0]) > 1
        assert report.dids is not None
        assert (report.version, report.dids.rows, report.dids.added) == (1, 20_000, 20_000)
        assert len(dids_of(store)) == 20_000
