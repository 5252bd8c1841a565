"""Books of CSV and JSONL with any content.

Invariant: a book is imported, or it is a LoadError that names its mistakes, never another exception. A book that
was imported can be exported and imported again without a change.
"""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fuzz.mutation import TOKENS, mutated
from fuzz.rounds import Case, Rounds, rounds
from fuzz.values import TEXTS, to_json, value

from identengine.book.columns import ACCOUNTS, CLIENTS, DIDS, Table
from identengine.book.exporter import export_book
from identengine.book.importer import import_book
from identengine.book.importrun import Missing
from identengine.errors import LoadError
from identengine.identify.builder import build
from identengine.model.options import IdentifyOptions
from identengine.store.vault import Vault
from identengine.store.versions import Store

OF_CSV = (
    *TOKENS,
    b'""',
    b'"\n',
    b";",
    b"\t",
    b",,,,",
    b"=1+1",
    b"'",
    b"\xff\xfe",
    b"\x1f\x8b",
    b"\r\r\n",
    b"id,id\n",
)
RIGHT: dict[str, tuple[Any, ...]] = {
    "id": (1, 2, 3, 4, 5),
    "client_id": (1,),
    "account_id": (1,),
    "parent_id": ("", "", "", 1),
    "name": ("one", "two", "three", "Größe"),
    "status": ("active", "blocked", "active", "ACTIVE", "on_hold"),
    "ident_by": ("ip", "name", "ani"),
    "ident": ("10.0.0.1", "10.0.0.0/24", "10.0.0.1; 10.0.0.2", "acme", "442071", "2001:db8::/32"),
    "number": ("4420001", "+44 20 002", "4420003"),
    "orig_enabled": ("true", "false", "yes", "0", True),
    "term_enabled": ("true", "no", False),
    "capacity": ("", 0, 10, "10"),
    "orig_cps": ("", 0.5, "10"),
    "src_policy": ("allow_any", "reject", "overwrite"),
    "password": ("", "secret"),
    "tech_prefix": ("", "77#"),
    "term_port": ("", 5060),
    "term_routing_ip": ("", "10.9.9.9"),
}


@rounds(150)
def test_books(cases: Rounds) -> None:
    vault = Vault((bytes(32),))
    for case in cases.within_memory():
        with (
            case,
            TemporaryDirectory(prefix="fuzz") as folder,
            Store.open(Path(folder, "store"), create=True) as store,
        ):
            book = Path(folder, "book")
            book.mkdir()
            case.input = tables = [table(case, of) for of in (CLIENTS, ACCOUNTS, DIDS) if case.often(0.95)]
            for name, content in tables:
                (book / name).write_bytes(content)
            missing: Missing = case.choice(("disable", "keep", "remove"))
            try:
                import_book(store, vault, book, who="fuzz", missing=missing, skip_bad=case.often(0.6), yes=True)
            except LoadError as refused:
                assert_named(refused)
                continue
            with store.read() as read:
                build(IdentifyOptions(), 1, bytes(32), read.clients(), read.accounts(), read.dids())
            again(store, vault, Path(folder, "exported"), case)


def assert_named(refused: LoadError) -> None:
    """Check that an error names its mistakes."""
    assert refused.problems
    assert all(str(problem) for problem in refused.problems)


def again(store: Store, vault: Vault, folder: Path, case: Case) -> None:
    """Export a store and import it into another one. Check that both hold the same rows."""
    with store.read() as read:
        export_book(read, folder / "book", "jsonl" if case.often(0.5) else "csv", case.often(0.2))
    with Store.open(folder / "store", create=True) as other:
        import_book(other, vault, folder / "book", who="fuzz", yes=True)
        with store.read() as one, other.read() as two:
            assert list(one.clients()) == list(two.clients())
            assert list(one.dids()) == list(two.dids())
            assert [row.id for row in one.accounts()] == [row.id for row in two.accounts()]


def table(case: Case, of: Table) -> tuple[str, bytes]:
    """Return the name and the content of a file."""
    columns = [name for name in of.columns if name in of.required or case.often(0.4)]
    if case.often(0.03):
        columns.append(case.choice(("x", "", "id", "nmae", "é")))
    rows = [[cell(case, name, number) for name in columns] for number in range(case.choice((1, 1, 4, 12)))]
    kind = case.choice(("csv", "jsonl"))
    content = in_csv(case, columns, rows) if kind == "csv" else in_json(case, columns, rows)
    if case.often(0.15):
        content = mutated(case, content, 4, OF_CSV)
    if case.often(0.1):
        content = gzip.compress(content, mtime=0)
        content = mutated(case, content, 2) if case.often(0.2) else content
        kind += ".gz"
    return f"{of.name}.{kind}", content


def cell(case: Case, name: str, number: int) -> Any:
    """Return the value of a cell, most of them right."""
    if case.often(0.01):
        return case.choice(TEXTS) if case.often(0.6) else value(case)
    if name in ("id", "number") and case.often(0.95):
        return number + 1 if name == "id" else f"442000{number}"
    return case.choice(RIGHT.get(name, ("",)))


def in_csv(case: Case, columns: list[str], rows: list[list[Any]]) -> bytes:
    """Return a table as CSV."""
    text = io.StringIO()
    ends = case.choice(("\n", "\r\n"))
    writer = csv.writer(text, delimiter=";" if case.often(0.05) else ",", lineterminator=ends)
    writer.writerow(columns)
    writer.writerows([["" if one is None else str(one) for one in row] for row in rows])
    return case.choice((b"", b"", b"\xef\xbb\xbf")) + text.getvalue().encode(errors="surrogatepass")


def in_json(case: Case, columns: list[str], rows: list[list[Any]]) -> bytes:
    """Return a table as JSON lines."""
    return b"".join(
        to_json(case, dict(zip(columns, row, strict=True))).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"
        for row in rows
    )
