"""An export imports again to the same book (interfaces.md 1)."""

from __future__ import annotations

import errno
import gzip
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identengine.book.columns import TABLES
from identengine.book.exporter import ExportError, Format, export_book
from identengine.book.importer import import_book
from identengine.book.numbers import book_number, book_prefix
from identengine.model.records import Account, Client, ClientStatus, Did, DidStatus, IdentBy, SrcPolicy
from identengine.store.draft import Draft
from identengine.store.vault import Vault
from identengine.store.versions import Store

VAULT = Vault.from_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")

Book = tuple[list[Client], list[Account], list[Did]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


def fill(store: Store, book: Book) -> None:
    def edit(draft: Draft) -> None:
        for client in book[0]:
            draft.put_client(client)
        for account in book[1]:
            draft.put_account(account)
        for did in book[2]:
            draft.put_did(did)

    store.change("test", "fill", edit)


def content(store: Store) -> Book:
    with store.read() as snapshot:
        return list(snapshot.clients()), list(snapshot.accounts()), list(snapshot.dids())


def export(
    store: Store, folder: Path, fmt: Format = "csv", gz: bool = False, overwrite: bool = False
) -> list[str]:
    with store.read() as snapshot:
        paths = export_book(snapshot, folder, fmt, gz, overwrite=overwrite)
    assert list(paths) == [table.name for table in TABLES]
    return sorted(path.name for path in paths.values())


EVERYTHING: Book = (
    [
        Client(id=1, name="Quote \" comma , apostrophe '", notes="two\nlines\r\nand, a\ttab\rand CR"),
        Client(
            id=2,
            name="Zoë 電話",
            status=ClientStatus.BLOCKED,
            parent_id=1,
            rate_table="r",
            routing_plan="p",
            term_rate_table="t",
            capacity=0,
            orig_capacity=1,
            term_capacity=2,
            orig_cps=0.25,
        ),
    ],
    [
        Account(id=1, client_id=1, name="=1+1", ident_by=IdentBy.IP, ident=("10.0.0.1", "2001:DB8::/32")),
        Account(
            id=2,
            client_id=2,
            name="full",
            ident_by=IdentBy.ANI,
            ident=("+44", "44*1#"),
            tech_prefix="+7:7#",
            password=VAULT.encrypt("s3cret"),
            gateways=("GW 1", 'g"2'),
            notes=" leading blanks are trimmed, inner   ones are not".strip(),
            orig_enabled=False,
            orig_rate_table="r",
            orig_routing_plan="p",
            orig_tag="t",
            src_policy=SrcPolicy.OVERWRITE,
            orig_capacity=9223372036854775807,
            orig_cps=1e300,
            term_enabled=True,
            term_rate_table="tr",
            term_tag="tt",
            term_routing_ip="::FFFF:192.0.2.1",
            term_capacity=0,
            term_protocol="SIP",
            term_proxy="proxy.example",
            term_port=5060,
        ),
        Account(id=3, client_id=2, name="-", ident_by=IdentBy.NAME, ident=("enc:x", "a,b"), orig_cps=30.0),
    ],
    [
        Did(number="+1", account_id=1),
        Did(number="442070001", account_id=2, status=DidStatus.BLOCKED),
        Did(number="442070002", account_id=2, status=DidStatus.ON_HOLD),
    ],
)


@pytest.mark.parametrize("fmt", ["csv", "jsonl", "excel"])
@pytest.mark.parametrize("gz", [False, True])
def test_the_same_book_comes_back(fmt: Format, gz: bool, store: Store, tmp_path: Path) -> None:
    fill(store, EVERYTHING)
    export(store, tmp_path / "out", fmt, gz)
    assert import_book(store, VAULT, tmp_path / "out", who="test").version is None
    with Store.open(tmp_path / "other", create=True) as other:
        assert import_book(other, VAULT, tmp_path / "out", who="test").version == 1
        assert content(other) == EVERYTHING


def test_what_an_export_looks_like(store: Store, tmp_path: Path) -> None:
    token = VAULT.encrypt("s3cret")
    accounts = [
        Account(id=1, client_id=1, name="a", ident_by=IdentBy.IP, ident=("10.0.0.1", "::1"), orig_cps=30.0),
        Account(id=2, client_id=1, name="b", ident_by=IdentBy.NAME, ident=("b",), password=token),
    ]
    fill(store, ([Client(id=1, name="A", capacity=5)], accounts, [Did(number="441", account_id=1)]))
    assert export(store, tmp_path) == ["accounts.csv", "clients.csv", "dids.csv"]
    assert (tmp_path / "clients.csv").read_text().splitlines()[1] == "1,A,active,,,,,5,,,,"
    assert (tmp_path / "accounts.csv").read_text().splitlines()[1:] == [
        "1,1,a,ip,10.0.0.1;::1,,-,,,true,,,,allow_any,,30,false,,,,,,,",
        f"2,1,b,name,b,,{token},,,true,,,,allow_any,,,false,,,,,,,",
    ]
    assert (tmp_path / "dids.csv").read_text() == "number,account_id,status\n441,1,active\n"
    export(store, tmp_path / "json", "jsonl", gz=True)
    lines = gzip.decompress((tmp_path / "json" / "accounts.jsonl.gz").read_bytes()).decode().splitlines()
    assert lines[0] == (
        '{"id":1,"client_id":1,"name":"a","ident_by":"ip","ident":["10.0.0.1","::1"],"orig_cps":30.0,"password":"-"}'
    )


def test_an_export_has_the_password_that_there_is_and_none_where_there_is_none(
    store: Store, tmp_path: Path
) -> None:
    fill(store, EVERYTHING)
    export(store, tmp_path / "out")
    account = EVERYTHING[1][0]

    def set_one(draft: Draft) -> None:
        draft.put_account(Account(**{**_fields(account), "password": VAULT.encrypt("new")}))

    store.change("test", "set a password", set_one)
    import_book(store, VAULT, tmp_path / "out", who="test")
    assert content(store) == EVERYTHING


def _fields(account: Account) -> dict[str, Any]:
    return {name: getattr(account, name) for name in account.__struct_fields__}


def test_an_empty_book(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out")
    assert import_book(store, VAULT, tmp_path / "out", who="test").version is None


def test_files_that_are_there_stay_unless_told(store: Store, tmp_path: Path) -> None:
    fill(store, EVERYTHING)
    (tmp_path / "dids.csv").write_text("mine")
    with pytest.raises(ExportError, match=r"dids\.csv already exists\. Choose another folder, or"):
        export(store, tmp_path)
    assert [path.name for path in tmp_path.glob("*.csv")] == ["dids.csv"]
    assert (tmp_path / "dids.csv").read_text() == "mine"
    export(store, tmp_path, overwrite=True)
    assert (tmp_path / "dids.csv").read_text() != "mine"
    with pytest.raises(ExportError, match=r"clients\.csv already exists, and a folder with two files of a table"):
        export(store, tmp_path, "jsonl", overwrite=True)
    with pytest.raises(ExportError, match="two files of a table"):
        export(store, tmp_path, "csv", gz=True, overwrite=True)


def test_a_folder_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=f"cannot be written: {os.strerror(errno.EEXIST)}"):
        export(store, tmp_path / "file")
    with pytest.raises(ExportError, match=f"cannot be written: {os.strerror(errno.ENOTDIR)}"):
        export(store, tmp_path / "file" / "below")


def test_an_export_that_breaks_off_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, EVERYTHING)
    with store.read() as snapshot:
        monkeypatch.setattr(snapshot, "dids", lambda: iter([EVERYTHING[2][0], None]))
        with pytest.raises(AttributeError):
            export_book(snapshot, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


# ---- any book ----------------------------------------------------------------------------------------------

_CONTROL = [chr(code) for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029)]
_letters = st.characters(codec="utf-8", exclude_characters=_CONTROL)
_plain = st.text(_letters, max_size=30)
_odd = st.sampled_from(['"', '""', ",", "-", ";", "'", "a\\b", "\ufeff", "#", "[]", "null", "1-2", "TRUE", '="1"'])
_formulas = st.text(st.sampled_from("='+-@\"1 "), max_size=6)
_texts = _odd | _formulas | _plain
text = _texts.map(str.strip).filter(bool)
item = _texts.map(lambda found: found.replace(";", "").strip()).filter(bool)
notes = st.text(st.characters(codec="utf-8", exclude_characters=[c for c in _CONTROL if c not in "\t\r\n"]))
notes = notes.map(str.strip).filter(bool)
limit = st.none() | st.integers(0, 2**63 - 1)
cps = st.none() | st.floats(0, allow_nan=False, allow_infinity=False).map(abs) | st.integers(0, 100).map(float)
numbers = st.text(st.sampled_from("0123456789*#+,\"'abx;"), min_size=1, max_size=30)


def accepted(read: Callable[[str], str]) -> Callable[[str], bool]:
    """Return a function that returns True if an import accepts a number in normal form."""

    def accepts(number: str) -> bool:
        try:
            return bool(read("+" + number))
        except ValueError:
            return False

    return accepts


number = numbers.filter(accepted(book_number))
prefix = numbers.filter(accepted(book_prefix))
ani = number.filter(lambda found: not set(found) & set(";,"))
address = st.sampled_from(
    ["10.0.0.1", "::1", "::FFFF:10.0.0.2", "10.0.0.0/8", "2001:DB8::/32", "0.0.0.0/0", "::/0"]
)


def optional(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str | None]:
    return st.none() | strategy


clients = st.builds(
    Client,
    id=st.just(1),
    name=text,
    status=st.sampled_from(ClientStatus),
    rate_table=optional(text),
    routing_plan=optional(text),
    term_rate_table=optional(text),
    capacity=limit,
    orig_capacity=limit,
    term_capacity=limit,
    orig_cps=cps,
    notes=optional(notes),
)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    kind = draw(st.sampled_from(IdentBy))
    one = {IdentBy.IP: address, IdentBy.NAME: item, IdentBy.ANI: ani}[kind]
    return Account(
        id=draw(st.integers(1, 2**63 - 1)),
        client_id=1,
        name=draw(text),
        ident_by=kind,
        ident=tuple(draw(st.lists(one, min_size=1, max_size=4, unique=True))),
        tech_prefix=draw(optional(prefix)),
        password=draw(optional(text.map(VAULT.encrypt))),
        gateways=tuple(draw(st.lists(item, max_size=3, unique_by=str.casefold))),
        notes=draw(optional(notes)),
        orig_enabled=draw(st.booleans()),
        orig_rate_table=draw(optional(text)),
        orig_routing_plan=draw(optional(text)),
        orig_tag=draw(optional(text)),
        src_policy=draw(st.sampled_from(SrcPolicy)),
        orig_capacity=draw(limit),
        orig_cps=draw(cps),
        term_enabled=draw(st.booleans()),
        term_rate_table=draw(optional(text)),
        term_tag=draw(optional(text)),
        term_routing_ip=draw(optional(st.just("2001:DB8::7"))) if kind is IdentBy.ANI else None,
        term_capacity=draw(limit),
        term_protocol=draw(optional(text)),
        term_proxy=draw(optional(text)),
        term_port=draw(st.none() | st.integers(1, 65535)),
    )


dids = st.builds(Did, number=number, account_id=st.just(0), status=st.sampled_from(DidStatus))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    client=clients,
    accounts=st.lists(accounts(), max_size=4, unique_by=lambda account: account.id),
    dids=st.lists(dids, max_size=4, unique_by=lambda did: did.number),
    fmt=st.sampled_from(["csv", "jsonl", "excel"]),
    gz=st.booleans(),
)
def test_any_book_comes_back(
    client: Client, accounts: list[Account], dids: list[Did], fmt: Format, gz: bool
) -> None:
    owned = [Did(number=did.number, account_id=accounts[0].id, status=did.status) for did in dids if accounts]
    book = ([client], sorted(accounts, key=lambda each: each.id), sorted(owned, key=lambda each: each.number))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Store.open(folder / "one", create=True) as one, Store.open(folder / "two", create=True) as two:
            fill(one, book)
            export(one, folder / "out", fmt, gz)
            assert import_book(two, VAULT, folder / "out", who="test").problem_count == 0
            assert content(two) == content(one) == book
            assert import_book(one, VAULT, folder / "out", who="test").version is None
