"""The column ``password``: what is given becomes the encrypted token that the store keeps (engine.md 1.7).

No message shows a password.
"""

from __future__ import annotations

from identengine.book.columns import read_string, refuse_control
from identengine.book.mistakes import Mistake
from identengine.errors import KeyFileError
from identengine.store.vault import Vault, key_id

MAX_PASSWORD = 255
"""Longest password, in characters."""


def password_token(value: object, before: str | None, vault: Vault | None, mistakes: list[Mistake]) -> str | None:
    """Return the token to keep for what stands in the column ``password``; it is shown to nobody."""
    if value is None or value in ("", before):
        return before
    if value == "-":
        return None
    try:
        return _token(read_string(value), before, vault)
    except ValueError as error:
        mistakes.append(Mistake("password", None, str(error)))
        return None


def _token(given: str, before: str | None, vault: Vault | None) -> str:
    """Return the token for a password or token that was given. Raises ValueError, which does not show it."""
    if vault is None:
        raise ValueError("a password can be kept only where the key file is")
    if any("\ud800" <= char <= "\udfff" for char in given):  # how bytes that are no text get here
        raise ValueError("a password in UTF-8 is wanted; these bytes are something else")
    try:
        if not given.isprintable():
            refuse_control(given)
    except ValueError:
        raise ValueError("a password without control characters (tab, line end) is wanted") from None
    encrypted = given.startswith("enc:")
    plain = _revealed(given, vault) if encrypted else given
    if len(plain) > MAX_PASSWORD:
        raise ValueError(f"a password of at most {MAX_PASSWORD} characters is wanted, this one has {len(plain)}")
    if before is not None and _same(before, plain, vault):
        return before
    if encrypted and key_id(given) == vault.key_ids[0]:
        return given
    return vault.encrypt(plain)  # a token of a key that is on its way out gets a new one too


def _revealed(token: str, vault: Vault) -> str:
    try:
        return vault.decrypt(token)
    except KeyFileError:
        raise ValueError("it was encrypted under another key; the password, or that key, is wanted") from None
    except ValueError:
        raise ValueError("it begins with enc: and is no encrypted password as an export writes it") from None


def _same(before: str, plain: str, vault: Vault) -> bool:
    """Whether ``before`` keeps just this password, so that its token may stay and the row is unchanged."""
    try:
        return vault.decrypt(before) == plain
    except (KeyFileError, ValueError):
        return False  # kept under a key that is gone: it is replaced
