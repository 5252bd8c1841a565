"""Books for the tests of imports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from identengine.book.report import ImportReport
from identengine.errors import LoadError
from identengine.model.records import Account, Did
from identengine.store.vault import Vault
from identengine.store.versions import Store

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


VAULT = Vault.from_text(KEY)


ACCOUNTS = "id,client_id,name,ident_by,ident"


DIDS = "number,account_id"


Import = Callable[..., ImportReport]


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
