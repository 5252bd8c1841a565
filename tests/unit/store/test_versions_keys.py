"""Rotation of the key under which a store's passwords are encrypted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unit.store.rows import account, lines, put

from identengine.errors import KeyFileError, StoreError
from identengine.store.format import field_changes
from identengine.store.vault import Vault, key_id
from identengine.store.versions import Store


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.from_file(tmp_path / "store.key", create=True)


def test_rekey_covers_every_version_and_appears_in_no_diff(store: Store, vault: Vault) -> None:
    token = vault.encrypt("one")
    store.change(
        "ann", "1", put(account(1, password=token), account(2, password=vault.encrypt("two")), account(3))
    )
    store.change("ann", "2", put(account(1, password=token, name="renamed")))
    store.change("ann", "3", put(account(2, password=vault.encrypt("zwei"))))
    store.change("ann", "4", lambda draft: draft.delete_account(1))
    before = [[field_changes(c) for c in store.diff(v, v + 1)] for v in range(4)]
    infos = store.versions()
    new = Vault.from_text("Z" * 43 + "=," + "A" * 43 + "=")
    with pytest.raises(KeyFileError):
        store.rekey(new)
    both = Vault((os.urandom(32), *vault._keys))
    assert store.rekey(both, "ann") == 4
    assert store.rekey(both) == 0
    assert store.versions() == infos
    assert [[field_changes(c) for c in store.diff(v, v + 1)] for v in range(4)] == before
    with store.read(2) as snapshot:
        tokens = [a.password for a in snapshot.accounts() if a.password]
    assert {key_id(t) for t in tokens} == {both.key_ids[0]}
    assert [both.decrypt(t) for t in tokens] == ["one", "two"]
    assert "ann key rotated: 4 passwords re-encrypted" in lines(store.audit())


def test_rotation_leaves_one_new_key_that_decrypts_everything(store: Store, vault: Vault) -> None:
    assert vault.path is not None
    token = vault.encrypt("one")
    store.change("ann", "1", put(account(1, password=token)))
    assert store.rotate(vault.path) == 1
    new = Vault.from_file(vault.path)
    assert len(new.key_ids) == 1
    assert new.key_ids != vault.key_ids
    with store.read() as snapshot:
        row = snapshot.account(1)
    assert row is not None
    assert row.password is not None
    assert new.decrypt(row.password) == "one"


def test_a_rotation_names_the_accounts_whose_key_is_missing(store: Store, vault: Vault) -> None:
    assert vault.path is not None
    strange = Vault((os.urandom(32),))
    rows = [account(n, password=strange.encrypt("lost")) for n in range(1, 13)]
    damaged = vault.encrypt("x")[:-4] + "AAAA"
    store.change(
        "ann", "1", put(*rows, account(20, password=vault.encrypt("known")), account(21, password=damaged))
    )
    before = vault.path.read_bytes()
    with pytest.raises(
        KeyFileError,
        match=r"their key is missing: 13 \(of the accounts 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …\).*set ID",
    ):
        store.rotate(vault.path)
    assert vault.path.read_bytes() == before, "a failed rotation leaves no key behind"
    # The remedy that the message names works. Passwords of earlier versions are lost, but do not matter.
    again = [account(n, password=vault.encrypt("again")) for n in (*range(1, 13), 21)]
    store.change("ann", "2", put(*again))
    assert store.rotate(vault.path) == 14
    new = Vault.from_file(vault.path)
    with store.read() as snapshot:
        assert {new.decrypt(row.password or "") for row in snapshot.accounts()} == {"again", "known"}


def test_a_rotation_that_cannot_write_the_key_file_changes_nothing(
    store: Store, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vault.path is not None
    store.change("ann", "1", put(account(1, password=vault.encrypt("one"))))

    def no_room(vault: Vault) -> None:
        raise KeyFileError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Vault, "save", no_room)
        with pytest.raises(KeyFileError, match="no room"):
            store.rotate(vault.path)
    with store.read() as snapshot:
        row = snapshot.account(1)
    assert row is not None
    assert vault.decrypt(row.password or "") == "one"
    assert store.rotate(vault.path) == 1


def test_a_password_under_a_retired_key_is_rejected(store: Store, vault: Vault) -> None:
    # An import may read the key file before a rotation and write after it. No key would decrypt its passwords.
    assert vault.path is not None
    store.rotate(vault.path)
    with pytest.raises(StoreError, match=r"password of account 1 .* rotated away"):
        store.change("ann", "1", put(account(1, password=vault.encrypt("x"))))
    assert store.head() == 0
    store.change("ann", "1", put(account(1, password=Vault.from_file(vault.path).encrypt("x"))))


def test_rollback_works_after_a_rotation(store: Store, vault: Vault) -> None:
    assert vault.path is not None
    store.change("ann", "1", put(account(1, password=vault.encrypt("one"))))
    store.change("ann", "2", lambda draft: draft.delete_account(1))
    store.rotate(vault.path)
    store.rollback(1, "ann")
    with store.read() as snapshot:
        row = snapshot.account(1)
    assert row is not None
    assert row.password is not None
    assert Vault.from_file(vault.path).decrypt(row.password) == "one"
