"""Passwords in the rows of a book: kept, cleared, set and never shown."""

from __future__ import annotations

import pytest
from unit.book.row import ACCOUNT, KEY, mistakes, one_mistake

from identengine.book.mistakes import RowError
from identengine.book.records import account_from
from identengine.store.vault import Vault

OTHER_KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
NOT_ENCRYPTED = 'expected an encrypted password as an export writes it after "enc:"'
CONTROL = "expected a password without control characters such as a tab or line end"


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
            "encrypted under a key that this store does not have. Use the plain password.",
            id="another key",  # the token differs in each run, and the name of a test must not
        ),
        ("enc:hush", NOT_ENCRYPTED),
        ("hu\tsh", CONTROL),
        ("hush\n", CONTROL),
        ("hush\ud800", "expected UTF-8"),
        pytest.param("x" * 256, "expected at most 255 characters, got 256", id="a long password"),
        pytest.param(
            Vault.from_text(KEY).encrypt("x" * 256),
            "expected at most 255 characters, got 256",
            id="a long password, encrypted",
        ),
        (4711, "expected a string"),
    ],
)
def test_the_message_for_a_bad_password_does_not_show_it(password: object, expected: str) -> None:
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
    assert one_mistake(password=damaged) == NOT_ENCRYPTED


def test_a_password_under_a_key_that_is_gone_is_replaced() -> None:
    before = account_from(ACCOUNT | {"password": "x"}, None, Vault.from_text(OTHER_KEY))
    found = account_from(ACCOUNT | {"password": "x"}, before, Vault.from_text(KEY))
    assert found.password != before.password


def test_without_a_vault_all_but_a_password_can_be_set(vault: Vault) -> None:
    before = account_from(ACCOUNT | {"password": "x"}, None, vault)
    assert account_from({"name": "new"}, before, None).password == before.password
    with pytest.raises(RowError, match="the key file is required"):
        account_from({"password": "y"}, before, None)
