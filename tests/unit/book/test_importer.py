"""Importing a book: one version or nothing, and nobody vanishes unseen (interfaces.md 1, engine.md 1.5, 8.1)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from identengine.book import importer as loader
from identengine.book import importrun
from identengine.book.importer import import_book
from identengine.book.report import ImportReport
from identengine.errors import LoadError
from identengine.model.records import Account, Client, ClientStatus, Did, DidStatus
from identengine.store import file as storefile
from identengine.store.draft import Draft
from identengine.store.vault import Vault
from identengine.store.versions import Store

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
VAULT = Vault.from_text(KEY)
ACCOUNTS = "id,client_id,name,ident_by,ident"
DIDS = "number,account_id"

Import = Callable[..., ImportReport]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


def book(folder: Path, **tables: str | list[str]) -> Path:
    """Write tables given as text or lines; a name like ``accounts_jsonl`` gives the ending."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in tables.items():
        stem, _, ending = name.partition("_")
        text = content if isinstance(content, str) else "\n".join(content) + "\n"
        (folder / f"{stem}.{ending or 'csv'}").write_text(text, newline="")
    return folder


@pytest.fixture
def load(store: Store, tmp_path: Path) -> Import:
    def run(tables: dict[str, str | list[str]], **options: object) -> ImportReport:
        return import_book(store, VAULT, book(tmp_path / "book", **tables), who="test", **options)  # type: ignore[arg-type]

    return run


def accounts_of(store: Store) -> list[Account]:
    with store.read() as snapshot:
        return list(snapshot.accounts())


def dids_of(store: Store) -> list[Did]:
    with store.read() as snapshot:
        return list(snapshot.dids())


def said(error: LoadError) -> list[str]:
    return [str(problem).rpartition("/")[2] for problem in error.problems]


def ten_accounts(*without: int) -> list[str]:
    return [ACCOUNTS, *(f"{n},1,a{n},ip,10.0.0.{n}" for n in range(1, 11) if n not in without)]


def whole() -> dict[str, str | list[str]]:
    return {
        "clients": ["id,name", "1,Alpha", "2,Beta"],
        "accounts": ten_accounts(),
        "dids": [DIDS, *(f"4420{n:04d},{n}" for n in range(1, 11))],
    }


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


def test_resellers_may_stand_below_their_clients(load: Import, store: Store) -> None:
    load({"clients": ["parent_id,id,name,status", "2,1,Alpha,blocked", "3,2,Beta,", ",3,Gamma,"]})
    with store.read() as snapshot:
        assert [(client.id, client.parent_id, client.status) for client in snapshot.clients()] == [
            (1, 2, ClientStatus.BLOCKED),
            (2, 3, ClientStatus.ACTIVE),
            (3, None, ClientStatus.ACTIVE),
        ]


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


# ---- what the new book lacks -------------------------------------------------------------------------------


def test_an_account_that_the_book_lacks_is_disabled(load: Import, store: Store) -> None:
    load(whole())
    report = load({"accounts": ten_accounts(4)})
    assert report.needs_yes is None  # one of ten is not more than a tenth
    assert report.accounts is not None
    assert report.accounts.disabled.first == (4,)
    assert [account.id for account in accounts_of(store) if account.disabled] == [4]
    again = load({"accounts": ten_accounts(4)})
    assert again.version is None
    assert again.accounts is not None
    assert again.accounts.kept.first == (4,)


def test_missing_keep_and_remove(load: Import, store: Store) -> None:
    load(whole())
    kept = load({"accounts": ten_accounts(4)}, missing="keep")
    assert kept.version is None
    assert kept.accounts is not None
    assert kept.accounts.kept.first == (4,)
    removed = load({"accounts": ten_accounts(4)}, missing="remove")
    assert removed.version == 2
    assert removed.accounts is not None
    assert removed.dids is not None
    assert (removed.accounts.removed.first, removed.dids.removed.first) == ((4,), ("44200004",))
    assert len(accounts_of(store)) == len(dids_of(store)) == 9


def test_a_did_of_a_removed_account_may_move_and_not_stay(load: Import, store: Store) -> None:
    load(whole())
    moved = [DIDS, *(f"4420{n:04d},{n if n != 4 else 5}" for n in range(1, 11))]
    assert load({"accounts": ten_accounts(4), "dids": moved}, missing="remove", dry_run=True).needs_yes is None
    with pytest.raises(LoadError) as caught:
        load({"accounts": ten_accounts(4), "dids": whole()["dids"]}, missing="remove")
    [problem] = said(caught.value)
    assert problem.startswith("dids.csv:5: account_id '4': there is no such account, neither in the accounts")
    assert store.head() == 1


def test_a_did_moves_freely_and_one_that_the_book_lacks_is_removed(load: Import, store: Store) -> None:
    load(whole())
    report = load({"dids": [DIDS, "44200001,2", *(f"4420{n:04d},{n}" for n in range(2, 10))]})
    assert report.version == 2
    assert report.dids is not None
    assert (report.dids.changed.first, report.dids.removed.first) == (("44200001",), ("44200010",))
    assert dids_of(store)[0].account_id == 2


# ---- what changed ------------------------------------------------------------------------------------------


def test_the_rows_that_changed_are_named_a_hundred_of_them(load: Import) -> None:
    accounts = [ACCOUNTS, *(f"{n},1,a{n},name,n{n}" for n in range(1, 202))]
    load(whole() | {"accounts": accounts})
    report = load({"accounts": [line.replace(",a", ",b") if line != accounts[201] else line for line in accounts]})
    assert report.accounts is not None
    assert report.accounts.changed.first == tuple(range(1, 101))
    assert (report.accounts.changed.total, report.accounts.unchanged) == (200, 1)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_column_that_is_not_there_and_clears_something_is_warned_of(load: Import, ending: str) -> None:
    rows = [f"{n},1,a{n},ip,10.0.0.{n},{n}#,{'no' if n == 3 else ''},secret" for n in range(1, 11)]
    full = [ACCOUNTS + ",tech_prefix,orig_enabled,password", *rows]
    load(whole() | {"accounts": full})
    columns = ACCOUNTS.split(",")
    lines = [",".join(line.split(",")[:5]) for line in full]
    if ending == "jsonl":
        lines = [json.dumps(dict(zip(columns, line.split(","), strict=True))) for line in lines[1:]]
    report = load({f"accounts_{ending}": lines})
    assert report.accounts is not None
    assert report.accounts.changed.first == tuple(range(1, 11))
    warned = [str(warning).partition(f"accounts.{ending}: ")[2] for warning in report.warnings]
    assert warned == [
        "tech_prefix: this column is not there, which clears it in 10 of the accounts (1, 2, 3, 4, 5, …)",
        "orig_enabled: this column is not there, which sets it to true in 1 of the accounts (3)",
    ]
    assert load({f"accounts_{ending}": lines}).warnings == ()


def test_an_empty_cell_clears_without_a_warning(load: Import) -> None:
    load(whole() | {"clients": ["id,name,notes", "1,Alpha,old", "2,Beta,"]})
    report = load({"clients": ["id,name,notes", "1,Alpha,", "2,Beta,"]})
    assert report.clients is not None
    assert (report.clients.changed.first, report.warnings) == ((1,), ())


def test_the_warning_of_a_column_is_never_cut_off_by_others(load: Import) -> None:
    hosts = [f"{n},1,a{n},ip,10.0.{n}.1/24" for n in range(1, 151)]
    load(whole() | {"accounts": [ACCOUNTS + ",notes", *(f"{line},x" for line in hosts)]})
    report = load({"accounts": [ACCOUNTS, *hosts]})
    assert (len(report.warnings), report.warning_count, report.warnings[0].column) == (100, 151, "notes")


# ---- too much for an import that was not told to -----------------------------------------------------------


def test_disabling_more_than_a_tenth_wants_yes(load: Import, store: Store) -> None:
    load(whole())
    report = load({"accounts": ten_accounts(4, 5)})
    assert report.needs_yes == "it would disable 2 of 10 enabled accounts (20 %: 4, 5)"
    assert (report.version, store.head()) == (None, 1)
    assert report.accounts is not None
    assert report.accounts.disabled.total == 2
    tried = load({"accounts": ten_accounts(4, 5)}, dry_run=True)
    assert (tried.needs_yes, tried.dry_run, tried.version, store.head()) == (report.needs_yes, True, None, 1)
    tried = load({"accounts": ten_accounts(4, 5)}, dry_run=True, yes=True)
    assert (tried.needs_yes, tried.dry_run, tried.version, store.head()) == (None, True, None, 1)
    done = load({"accounts": ten_accounts(4, 5)}, yes=True)
    assert (done.needs_yes, done.version) == (None, 2)


def test_a_book_that_switches_accounts_off_itself_counts_too(load: Import, store: Store) -> None:
    load(whole())
    off = [
        ACCOUNTS + ",orig_enabled",
        *(f"{n},1,a{n},ip,10.0.0.{n},{'no' if n < 3 else ''}" for n in range(1, 11)),
    ]
    report = load({"accounts": off})
    assert report.needs_yes == "it would disable 2 of 10 enabled accounts (20 %: 1, 2)"
    assert report.accounts is not None
    assert report.accounts.switched_off.first == (1, 2)
    assert load({"accounts": off}, yes=True).version == 2
    assert load({"accounts": off}).version is None


def test_only_accounts_that_were_on_count(load: Import) -> None:
    load(whole())
    load({"accounts": ten_accounts(1)})
    report = load({"accounts": ten_accounts(1, 2)})
    assert report.needs_yes == "it would disable 1 of 9 enabled accounts (11 %: 2)"


def test_removing_more_than_a_tenth_wants_yes(load: Import, store: Store) -> None:
    load(whole())
    report = load({"accounts": ten_accounts(4, 5), "dids": [DIDS]}, missing="remove")
    assert report.needs_yes == (
        "it would remove 2 of 10 enabled accounts (20 %: 4, 5) and remove 10 of 10 DIDs"
        " (100 %: 44200001, 44200002, 44200003, 44200004, 44200005, …)"
    )
    assert store.head() == 1


def test_the_dids_of_removed_accounts_count_as_removed(load: Import, store: Store) -> None:
    tables = whole()
    tables["dids"] = [DIDS, *(f"4420{n:04d},4" for n in range(10))]
    load(tables)
    report = load({"accounts": ten_accounts(4)}, missing="remove")
    assert report.needs_yes is not None
    assert report.needs_yes.startswith("it would remove 10 of 10 DIDs")
    assert store.head() == 1


# ---- all or nothing, and the good rows only ----------------------------------------------------------------


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


def test_a_mistake_is_told_once_and_not_again_by_what_hangs_on_it(load: Import) -> None:
    tables = {
        "clients": ["id,name,parent_id,capacity", "1,Alpha,,-1", "2,Beta,1,"],
        "accounts": [ACCOUNTS, "1,1,a,ip,10.0.0.1", "2,2,b,ip,10.1"],
        "dids": [DIDS, "441,1", "442,2"],
    }
    with pytest.raises(LoadError) as caught:
        load(tables)
    assert said(caught.value) == [
        "clients.csv:2: capacity '-1': a whole number from 0 (nothing passes) is wanted, or nothing (unlimited)",
        "accounts.csv:3: ident '10.1': an IPv4 address has four parts (10.0.0.1)",
    ]


def test_without_bad_rows_what_hangs_on_them_is_bad_too(load: Import, store: Store) -> None:
    tables = {
        "clients": ["id,name,parent_id,capacity", "1,Alpha,,-1", "2,Beta,1,", "3,Gamma,2,", "4,Delta,,"],
        "accounts": [ACCOUNTS, "1,3,a,ip,10.0.0.1", "2,4,b,ip,10.0.0.2", "3,4,c,ip,x"],
        "dids": [DIDS, "441,1", "442,2", "443,3"],
    }
    report = load(tables, skip_bad=True)
    assert [str(problem).rpartition("/")[2] for problem in report.problems] == [
        "clients.csv:2: capacity '-1': a whole number from 0 (nothing passes) is wanted, or nothing (unlimited)",
        "clients.csv:3: parent_id '1': the client on line 2 has mistakes of its own and is left out",
        "clients.csv:4: parent_id '2': the client on line 3 has mistakes of its own and is left out",
        "accounts.csv:2: client_id '3': the client on line 4 has mistakes of its own and is left out",
        "accounts.csv:4: ident 'x': an IPv4 or IPv6 address is wanted (10.0.0.1, 2001:db8::1)",
        "dids.csv:2: account_id '1': the account on line 2 has mistakes of its own and is left out",
        "dids.csv:4: account_id '3': the account on line 4 has mistakes of its own and is left out",
    ]
    assert report.problem_count == 7
    with store.read() as snapshot:
        assert tuple(snapshot.counts) == (1, 1, 1)


def test_a_bad_row_protects_what_it_stands_for(load: Import, store: Store) -> None:
    load(whole())
    accounts = [*ten_accounts(4, 5), "4,1,a4,ip,10.1", "5,1"]
    dids = [DIDS, "44200001,1,", *(f"4420{n:04d},{n}" for n in range(2, 10)), "4420-0010,77"]
    report = load({"accounts": accounts, "dids": dids}, skip_bad=True)
    assert (report.version, report.changes, report.problem_count) == (None, 0, 4)
    assert report.accounts is not None
    assert report.dids is not None
    assert (report.accounts.skipped, report.accounts.disabled.total) == (2, 0)
    assert (report.dids.skipped, report.dids.removed.total) == (2, 0)
    assert not any(account.disabled for account in accounts_of(store))


def test_a_row_that_nobody_can_name_protects_all_that_are_absent(load: Import, store: Store) -> None:
    load(whole())
    report = load({"accounts": [*ten_accounts(4), "x,1,a4,ip,10.0.0.4"]}, skip_bad=True)
    assert report.version is None
    assert report.accounts is not None
    assert (report.accounts.kept.first, report.accounts.disabled.total) == ((4,), 0)
    [warning] = report.warnings
    assert (warning.line, warning.expected) == (
        11,
        "this row may be any of the 1 accounts that the table lacks; they are kept",
    )


@pytest.mark.parametrize("first_is_bad", [False, True])
def test_of_two_rows_with_one_id_the_second_is_never_taken(load: Import, store: Store, first_is_bad: bool) -> None:
    first = "1,1,first,ip,10.1" if first_is_bad else "1,1,first,ip,10.0.0.1"
    tables = {"clients": ["id,name", "1,A"], "accounts": [ACCOUNTS, first, "1,1,second,ip,10.0.0.2"]}
    report = load(tables, skip_bad=True)
    assert [account.name for account in accounts_of(store)] == ([] if first_is_bad else ["first"])
    assert "it stands on line 2 already; once is wanted" in [problem.expected for problem in report.problems]


# ---- loops of resellers ------------------------------------------------------------------------------------


def test_a_loop_of_resellers_is_told_on_each_of_its_rows(load: Import) -> None:
    with pytest.raises(LoadError) as caught:
        load({"clients": ["id,name,parent_id", "1,A,2", "2,B,3", "3,C,1", "4,D,1"]})
    assert said(caught.value) == [
        "clients.csv:2: parent_id '2': no client may stand below itself; here 1 below 2 below 3 below 1",
        "clients.csv:3: parent_id '3': no client may stand below itself; here 2 below 3 below 1 below 2",
        "clients.csv:4: parent_id '1': no client may stand below itself; here 3 below 1 below 2 below 3",
    ]


def test_a_loop_with_a_client_that_the_book_lacks(load: Import, store: Store) -> None:
    load({"clients": ["id,name,parent_id", "1,A,", "2,B,1"]})
    with pytest.raises(LoadError) as caught:
        load({"clients": ["id,name,parent_id", "1,A,2"]})
    assert said(caught.value) == [
        "clients.csv:2: parent_id '2': no client may stand below itself; here 1 below 2 below 1"
    ]


def test_without_bad_rows_a_loop_is_left_out_with_what_is_below_it(load: Import, store: Store) -> None:
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


# ---- chains of resellers -----------------------------------------------------------------------------------


def chain(first: int, last: int, top: int | str = "") -> list[str]:
    """Rows of clients each of which stands below the next one; the last below ``top``."""
    return [*(f"{n},c,{n + 1}" for n in range(first, last)), f"{last},c,{top}"]


def test_a_chain_of_resellers_has_an_end(load: Import, store: Store) -> None:
    load({"clients": ["id,name,parent_id", *chain(1, 32)]})
    with pytest.raises(LoadError) as caught:
        load({"clients": ["name,parent_id,id", "a,1,101", "b,32,102", "c,101,103"]})
    most = "a client and the resellers above it may be 32 at most; here they are"
    assert said(caught.value) == [
        f"clients.csv:2: parent_id '1': {most} 33: 101 below 1 below 2 below 3 below 4 below 5 below …",
        f"clients.csv:4: parent_id '101': {most} 34: 103 below 101 below 1 below 2 below 3 below 4 below …",
    ]
    assert [problem.column for problem in caught.value.problems] == ["parent_id", "parent_id"]
    report = load({"clients": ["name,parent_id,id", "a,1,101", "b,32,102", "c,101,103"]}, skip_bad=True)
    assert [problem.line for problem in report.problems] == [2, 4]
    with store.read() as snapshot:
        assert [client.id for client in snapshot.clients()] == [*range(1, 33), 102]


def test_a_row_that_brings_clients_too_deep_which_it_does_not_name(load: Import, store: Store) -> None:
    load({"clients": ["id,name,parent_id", *chain(1, 31), "40,x,1", "41,y,"]})
    with pytest.raises(LoadError) as caught:
        load({"clients": ["id,name,parent_id", "50,new,", "31,c,50", "30,c,31"]})
    assert said(caught.value) == [
        "clients.csv:3: parent_id '50': a client and the resellers above it may be 32 at most; of client 40, "
        "which stays below this one, they would be 33: 40 below 1 below 2 below 3 below 4 below 5 below …"
    ]
    report = load({"clients": ["id,name,parent_id", "50,new,", "31,c,50", "30,c,31"]}, skip_bad=True)
    assert [problem.line for problem in report.problems] == [3]
    with store.read() as snapshot:
        assert [client.parent_id for client in snapshot.clients() if client.id in (30, 31, 50)] == [31, None, None]


def test_what_an_older_program_let_stand_too_deep_can_be_mended_step_by_step(load: Import, store: Store) -> None:
    def too_deep(draft: Draft) -> None:
        for n in range(1, 101):
            draft.put_client(Client(id=n, name="c", parent_id=n + 1 if n < 100 else None))

    store.change("old", "an older program", too_deep)
    assert load({"clients": ["id,name,parent_id", "100,other name,", "200,new,90"]}).changes == 2
    assert load({"clients": ["id,name,parent_id", "50,c,"]}).changes == 1  # now they are 49 and 51
    with pytest.raises(LoadError, match=r"clients\.csv:2: parent_id '11': .* here they are 41: 10 below 11"):
        load({"clients": ["id,name,parent_id", "10,named again,11"]})
    with pytest.raises(LoadError, match=r"clients\.csv:2: parent_id '60': .* here they are 42: 50 below 60"):
        load({"clients": ["id,name,parent_id", "50,c,60"]})
    assert load({"clients": ["id,name,parent_id", "20,c,40"]}).changes == 1


def test_a_chain_of_many_resellers_is_told_at_once(load: Import) -> None:
    count = 20_000
    report = load({"clients": ["id,name,parent_id", *chain(1, count)]}, skip_bad=True)
    assert (report.problem_count, report.changes) == (count - 32, 32)
    broken = ["id,name,parent_id", *chain(count + 1, 2 * count, 3 * count)]
    assert load({"clients": broken}, skip_bad=True).problem_count == count


# ---- reports -----------------------------------------------------------------------------------------------


def test_what_will_bite_is_warned_of(load: Import) -> None:
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
    lines = [ACCOUNTS, *(f"{n},1,a,name,u{n}" for n in range(1, 251))]
    report = load({"clients": ["id,name", "1,A"], "accounts": lines})
    assert (len(report.warnings), report.warning_count) == (100, 250)
    with pytest.raises(LoadError) as caught:
        load({"accounts": [ACCOUNTS, *(f"{n},9,a,name,u{n}" for n in range(1, 251))]})
    assert (len(caught.value.problems), caught.value.total) == (100, 250)
    gone = load({"accounts": [ACCOUNTS]}, dry_run=True)
    assert gone.accounts is not None
    assert (len(gone.accounts.disabled.first), gone.accounts.disabled.total) == (100, 250)


def test_a_dry_run_says_what_would_change_and_changes_nothing(load: Import, store: Store) -> None:
    report = load(whole(), dry_run=True)
    assert (report.dry_run, report.version, report.changes, store.head()) == (True, None, 22, 0)


def test_progress_is_told_from_the_first_byte_to_the_last(
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


def test_a_loop_of_thousands_is_told_in_few_words_each(tmp_path: Path) -> None:
    count = 3000
    rows = "".join(f"{number},c,{number % count + 1}\n" for number in range(1, count + 1))
    book = tmp_path / "book"
    book.mkdir()
    (book / "clients.csv").write_text("id,name,parent_id\n" + rows)
    with Store.open(tmp_path / "store", create=True) as store, pytest.raises(LoadError) as caught:
        loader.import_book(store, Vault.from_text("A" * 43 + "="), book, who="test")
    assert caught.value.total == count
    assert str(caught.value.problems[0]).endswith("here 1 below 2 below 3 below 4 below 5 below 6 below …")


def test_removing_many_disabled_accounts_wants_yes(tmp_path: Path) -> None:
    book = tmp_path / "book"
    book.mkdir()
    (book / "clients.csv").write_text("id,name\n1,c\n")
    header = "id,client_id,name,ident_by,ident,orig_enabled\n"
    every = [f"{n},1,a,ip,10.0.0.{n},{'true' if n <= 10 else 'false'}\n" for n in range(1, 21)]
    (book / "accounts.csv").write_text(header + "".join(every))
    with Store.open(tmp_path / "store", create=True) as store:
        loader.import_book(store, Vault.from_text("A" * 43 + "="), book, who="test")
        (book / "accounts.csv").write_text(header + "".join(every[:10]))
        report = loader.import_book(store, Vault.from_text("A" * 43 + "="), book, who="test", missing="remove")
        assert report.needs_yes is not None
        assert "remove 10 of 20 accounts" in report.needs_yes
        assert store.head() == 1
