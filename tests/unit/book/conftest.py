"""A store and a vault for each test, and imports into the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.book.importing import VAULT, Import, book
from unit.book.row import KEY

from identengine.book.importer import import_book
from identengine.book.report import ImportReport
from identengine.store.vault import Vault
from identengine.store.versions import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def load(store: Store, tmp_path: Path) -> Import:
    def run(tables: dict[str, str | list[str]], **options: object) -> ImportReport:
        return import_book(store, VAULT, book(tmp_path / "book", **tables), who="test", **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def vault() -> Vault:
    return Vault.from_text(KEY)
