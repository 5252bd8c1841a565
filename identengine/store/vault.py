"""Passwords at rest: AES-256-GCM under keys that live outside the store (engine.md 1.7).

A vault holds one key or several: the first encrypts, all decrypt, so that a key can be rotated while tokens of
the old one are still about. A token is ``enc:<key id>:<base64url of nonce, ciphertext and tag>``; the key id
(8 hex digits, a hash of the key) tells at once whether the key at hand is the right one.

A key file holds one key a line, 32 bytes in base64; blank lines and lines with ``#`` are passed over. Others
must not be able to read it: mode 0600, or it is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import shlex
import stat
import string
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from identengine.errors import KeyFileError
from identengine.store.folders import sync_folder

KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_PREFIX = "enc:"
_CACHE_SIZE = 2_000_000
_ENVIRONMENT = "the environment's key"
_PASSWORD_LENGTH = 20
# Letters and digits alone, since switches' config files give other characters meanings of their own; without
# those that are mistaken for each other when read aloud.
_PASSWORD_LETTERS = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))


def default_key_file(store: Path) -> Path:
    """Return where the key of the store at ``store`` lives unless the config says otherwise: beside it."""
    # In "." and ".." the name does not stand.
    named = store if store.name not in ("", "..") else store.resolve()
    return named.parent / f"{named.name}.key"


def generate_password() -> str:
    """Return a new random password of 20 letters and digits (116 bits)."""
    return "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(_PASSWORD_LENGTH))


def key_id(token: str) -> str:
    """Return the key id of ``token``; ValueError where it is no token at all (its seal is not looked at)."""
    return _parts(token)[0]


class Vault:
    """Keys in use; made by :meth:`from_file` or :meth:`from_text`.

    ``key_ids`` are the ids of its keys, the one that encrypts first; ``path`` is the file they came from, None
    where they came from elsewhere: then ``place`` is what messages call that.
    """

    def __init__(self, keys: Sequence[bytes], path: Path | None = None, place: str = _ENVIRONMENT) -> None:
        self.path = path
        self._place = place if path is None else f"the key file {path}"
        if not keys:
            raise KeyFileError(f"{self._place} holds no key; a line with {KEY_BYTES} bytes in base64 is one")
        self._keys = tuple(keys)
        self._ciphers = {_id_of(key): AESGCM(key) for key in reversed(keys)}
        self.key_ids = tuple(dict.fromkeys(map(_id_of, keys)))
        self._revealed: dict[str, str] = {}
        self._kept = True
        """Whether the keys are where they came from; not those of :meth:`new` before :meth:`keep`."""

    def __repr__(self) -> str:
        return f"Vault(key_ids={self.key_ids})"  # never the keys themselves: a traceback may show this

    @classmethod
    def from_file(cls, path: Path, *, create: bool = False) -> Vault:
        """Return the vault of a key file; with ``create`` a missing one is made, with a new key.

        Raises KeyFileError where it is missing, unreadable, open to others (mode wider than 0600) or no key file.
        """
        if create and not _is_there(path):
            _make_key_file(path)
        return cls(_read_key_file(path), path)

    @classmethod
    def new(cls, path: Path) -> Vault:
        """Return a vault with a new key, for a key file that is not there yet; :meth:`keep` makes it."""
        vault = cls([secrets.token_bytes(KEY_BYTES)], path)
        vault._kept = False
        return vault

    def keep(self, owner: tuple[int, int] | None = None) -> None:
        """Write the key file of a :meth:`new` vault; do nothing for a vault that was read.

        ``owner`` is the user and group that the file shall belong to, by default this process's. Raise
        KeyFileError if the file exists already, since other passwords may depend on it.
        """
        if self._kept or self.path is None:
            return
        if not _place_file(self.path, _key_text(self._keys), replace=False, owner=owner):
            raise KeyFileError(
                f"{self._place} was made by somebody else meanwhile; nothing was changed, do it again"
            )
        self._kept = True

    @classmethod
    def from_text(cls, keys: str, place: str = _ENVIRONMENT) -> Vault:
        """Return the vault of keys in base64, comma separated, as an environment variable holds them.

        ``place`` is where they stood, for messages. Raises KeyFileError where they are no keys.
        """
        return cls(_parse_keys(keys.replace(",", "\n").splitlines(), "key", place), place=place)

    def joined(self, other: Vault) -> Vault:
        """Return a vault that has the keys of both, its own first.

        For a book whose passwords are in part under keys that have left the key file since.
        """
        keys = dict.fromkeys((*self._keys, *other._keys))
        return Vault(tuple(keys), place=f"{self._place}, with others besides,")

    def with_new_key(self) -> Vault:
        """Return a vault with a new key before those that there are; :meth:`save` makes it last."""
        return Vault((secrets.token_bytes(KEY_BYTES), *self._keys), self.path, self._place)

    def save(self) -> None:
        """Put the keys into the key file that they belong to, in one atomic step. Raises KeyFileError."""
        assert self.path is not None  # noqa: S101 - who made it from a text has nowhere to put it
        _place_file(self.path, _key_text(self._keys), replace=True)

    def encrypt(self, password: str) -> str:
        """Return the token of ``password`` under the first key; each call gives another one (random nonce)."""
        first = self.key_ids[0]
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[first].encrypt(nonce, password.encode(), first.encode())
        return f"{_PREFIX}{first}:{base64.urlsafe_b64encode(nonce + sealed).decode().rstrip('=')}"

    def decrypt(self, token: str) -> str:
        """Return the password in ``token``.

        Raises KeyFileError where it was made under a key that this vault lacks, ValueError where it is no token
        or a damaged one.
        """
        name, sealed = _parts(token)
        cipher = self._ciphers.get(name)
        if cipher is None:
            have = ", ".join(self.key_ids)
            raise KeyFileError(
                f"a password was encrypted under the key {name}, and {self._place} holds {have}; put the key "
                "there that was in use, or set the password again (`identengine accounts password set ID`)"
            )
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode()).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise ValueError("the token is damaged: it is not as it was when a password was encrypted") from None

    def reveal(self, token: str) -> str:
        """Return what :meth:`decrypt` does, from memory after the first time (engine.md 1.7, "on first use")."""
        password = self._revealed.get(token)
        if password is None:
            password = self.decrypt(token)
            if len(self._revealed) >= _CACHE_SIZE:
                self._revealed.clear()  # tokens of versions long gone; what is in use comes back at its next use
            self._revealed[token] = password
        return password


def drop_old_keys(path: Path) -> Vault:
    """Leave only the first key in the key file, in one atomic step, and return its vault."""
    vault = Vault(_read_key_file(path)[:1], path)
    vault.save()
    return vault


def _parts(token: str) -> tuple[str, bytes]:
    """Return key id and sealed bytes (nonce, ciphertext, tag) of ``token``."""
    name, colon, text = token.removeprefix(_PREFIX).partition(":")
    if token.startswith(_PREFIX) and colon and len(name) == 8 and set(name) <= set("0123456789abcdef"):
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        if len(sealed) >= _NONCE_BYTES + _TAG_BYTES:
            return name, sealed
    raise ValueError("no token of an encrypted password (enc:KEY:TEXT, as an export writes it)")


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"identengine key id\0" + key).hexdigest()[:8]


def _parse_keys(lines: Iterable[str], kind: str, place: str) -> list[bytes]:
    keys = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            # The text itself stays out of the message: it may well be a key with a slip in it.
            raise KeyFileError(f"{kind} {number} of {place} is no key; wanted are {KEY_BYTES} bytes in base64")
        keys.append(key)
    return keys


def _read_key_file(path: Path) -> list[bytes]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened, where a pipe would wait for ever
            raise KeyFileError(f"{path} is no regular file; a key file is")
        with path.open(encoding="ascii") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077:
                raise KeyFileError(
                    f"the key file {path} is open to others (mode {status.st_mode & 0o777:04o}); chmod 600 {path}"
                )
            lines = file.read(65536).splitlines()
    except FileNotFoundError:
        raise KeyFileError(
            f"the key file {path} is not there; it holds the key of all passwords, so put it back. If it is lost, "
            "or no password was kept yet, make another: "
            f"`(umask 077; head -c 32 /dev/urandom | base64 >{shlex.quote(str(path))})`. Then `identengine key "
            "rotate` names the accounts whose passwords have to be set again"
        ) from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} is no key file: it holds something else than base64 lines") from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error.strerror}") from error
    return _parse_keys(lines, "line", f"the key file {path}")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # of a folder that is closed to us, or a name too long; reading says which
        return True


def _key_text(keys: Iterable[bytes]) -> bytes:
    return b"".join(base64.b64encode(key) + b"\n" for key in keys)


def _make_key_file(path: Path) -> None:
    """Make a key file with a new key; one that somebody made at the same time stays as it is."""
    _place_file(path, _key_text([secrets.token_bytes(KEY_BYTES)]), replace=False)


def _place_file(path: Path, content: bytes, *, replace: bool, owner: tuple[int, int] | None = None) -> bool:
    """Put ``content`` at ``path``, durably and whole or not at all, mode 0600; returns whether it is there.

    It is not where ``replace`` is not asked for and there is a file already.
    """
    try:
        path = path.resolve()  # a link to the key file stays one
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mkstemp gives mode 0600
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                if owner is not None:
                    os.fchown(file.fileno(), *owner)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                old = path.stat()
                if old.st_uid != os.geteuid():
                    os.chown(temporary, old.st_uid, old.st_gid)  # root rotates; the engine must go on reading
                temporary.replace(path)
            else:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
            sync_folder(path.parent)
            return True
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be written: {error.strerror}") from error
