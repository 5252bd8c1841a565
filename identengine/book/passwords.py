"""The column ``password``: a plain or encrypted password becomes the token that the store keeps (engine.md 1.7).

No message quotes a password.
"""

from __future__ import annotations

from identengine.book.columns import reject_control
from identengine.book.mistakes import Mistake
from identengine.errors import KeyFileError, expected
from identengine.store.vault import Vault, key_id

MAX_PASSWORD = 255
"""Longest password, in characters."""


def password_token(value: object, before: str | None, vault: Vault | None, mistakes: list[Mistake]) -> str | None:
    """Return the token to store for the cell ``value``, or None for no password.

    An empty cell keeps the token ``before``, and ``-`` clears it. Mistakes are added to ``mistakes``.
    """
    if value is None or value in ("", before):
        return before
    if value == "-":
        return None
    try:
        if not isinstance(value, str):
            raise ValueError(expected("a string"))  # noqa: TRY004, TRY301 - a mistake like all others of the cell
        return _token(value, before, vault)
    except ValueError as error:
        mistakes.append(Mistake("password", None, str(error)))
        return None


def _token(given: str, before: str | None, vault: Vault | None) -> str:
    """Return the token for a password or an encrypted password. Raise ValueError, which does not quote it."""
    if vault is None:
        raise ValueError("the key file is required to store a password")
    if any("\ud800" <= char <= "\udfff" for char in given):  # bytes that are not UTF-8 arrive like this
        raise ValueError(expected("UTF-8"))
    try:
        if not given.isprintable():
            reject_control(given)
    except ValueError:
        raise ValueError(expected("a password without control characters such as a tab or line end")) from None
    encrypted = given.startswith("enc:")
    plain = _decrypted(given, vault) if encrypted else given
    if len(plain) > MAX_PASSWORD:
        raise ValueError(expected(f"at most {MAX_PASSWORD} characters", len(plain)))
    if before is not None and _same(before, plain, vault):
        return before
    if encrypted and key_id(given) == vault.key_ids[0]:
        return given
    return vault.encrypt(plain)  # also encrypts a token of an older key again, under the current key


def _decrypted(token: str, vault: Vault) -> str:
    try:
        return vault.decrypt(token)
    except KeyFileError:
        raise ValueError("encrypted under a key that this store does not have. Use the plain password.") from None
    except ValueError:
        raise ValueError('expected an encrypted password as an export writes it after "enc:"') from None


def _same(before: str, plain: str, vault: Vault) -> bool:
    """Return True if the token ``before`` holds this password, so that the row is unchanged."""
    try:
        return vault.decrypt(before) == plain
    except (KeyFileError, ValueError):
        return False  # encrypted under a key that is gone: the new token replaces it
