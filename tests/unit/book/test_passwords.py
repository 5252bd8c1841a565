"""Passwords of a book's rows: kept, cleared, set and shown to nobody."""

from __future__ import annotations

import pytest
from unit.book.row import ACCOUNT, KEY, mistakes, one_mistake

from identengine.book.mistakes import RowError
from identengine.book.records import account_from
from identengine.store.vault import Vault

OTHER_KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="


def test_a_password_is_kept_cleared_and_set(vault: Vault) -> None:
    first = account_from(ACCOUNT | {"password": "s3cret"}, None, vault)
    assert first.password is not None
    assert first.password.startswith("enc:")
    nothings: list[dict[str, object]] = [{}, {"password": ""}, {"password": None}]
    for nothing in nothings:
        assert account_from(ACCOUNT | nothing, first, vault).password == first.password
    assert account_from(ACCOUNT | {"password": "-"}, first, vault).password is None
    other = account_from(ACCOUNT | {"password": "0ther"}, first, vault)
    assert other.password is not None
    assert vault.decrypt(other.password) == "0ther"


def test_an_equal_password_changes_nothing(vault: Vault) -> None:
    first = account_from(ACCOUNT | {"password": "s3cret"}, None, vault)
    assert account_from(ACCOUNT | {"password": "s3cret"}, first, vault) == first
    assert account_from(ACCOUNT | {"password": vault.encrypt("s3cret")}, first, vault) == first


def test_a_token_of_the_same_key_is_taken_as_it_is(vault: Vault) -> None:
    token = vault.encrypt("s3cret")
    assert account_from(ACCOUNT | {"password": token}, None, vault).password == token


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        pytest.param(
            Vault.from_text(OTHER_KEY).encrypt("hush"),
            "it was encrypted under another key; the password, or that key, is wanted",
            id="another key",  # the token is another one each time, and a test's name must not be
        ),
        ("enc:hush", "it begins with enc: and is no encrypted password as an export writes it"),
        ("hu\tsh", "a password without control characters (tab, line end) is wanted"),
        ("hush\n", "a password without control characters (tab, line end) is wanted"),
        ("hush\ud800", "a password in UTF-8 is wanted; these bytes are something else"),
        pytest.param(
            "x" * 256, "a password of at most 255 characters is wanted, this one has 256", id="a long password"
        ),
        pytest.param(
            Vault.from_text(KEY).encrypt("x" * 256),
            "a password of at most 255 characters is wanted, this one has 256",
            id="a long password, encrypted",
        ),
        (4711, "a text is wanted, in quotes"),
    ],
)
def test_a_bad_password_is_told_and_not_shown(password: object, expected: str) -> None:
    [(column, value, said)] = mistakes(password=password)
    assert (column, value, said) == ("password", None, expected)


def test_a_token_of_an_older_key_is_encrypted_anew() -> None:
    token = Vault.from_text(OTHER_KEY).encrypt("hush")
    both = Vault.from_text(f"{KEY},{OTHER_KEY}")
    kept = account_from(ACCOUNT | {"password": token}, None, both).password
    assert kept is not None
    assert Vault.from_text(KEY).decrypt(kept) == "hush"


def test_a_damaged_token(vault: Vault) -> None:
    token = vault.encrypt("hush")
    damaged = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    assert (
        one_mistake(password=damaged) == "it begins with enc: and is no encrypted password as an export writes it"
    )


def test_a_password_under_a_key_that_is_gone_is_replaced() -> None:
    before = account_from(ACCOUNT | {"password": "x"}, None, Vault.from_text(OTHER_KEY))
    found = account_from(ACCOUNT | {"password": "x"}, before, Vault.from_text(KEY))
    assert found.password != before.password


def test_without_a_vault_all_but_a_password_can_be_set(vault: Vault) -> None:
    before = account_from(ACCOUNT | {"password": "x"}, None, vault)
    assert account_from({"name": "new"}, before, None, partial=True).password == before.password
    with pytest.raises(RowError, match="only where the key file is"):
        account_from({"password": "y"}, before, None, partial=True)
