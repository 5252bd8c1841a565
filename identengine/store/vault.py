"""Encryption of stored passwords: AES-256-GCM under keys outside the store (engine.md 1.7).

A vault holds one or more keys. The first key encrypts, and all keys decrypt. A key can therefore be rotated while
tokens of the old key are still in use. A token is ``enc:<key id>:<base64url of nonce, ciphertext and tag>``. The
key id (8 hex digits, a hash of the key) shows at once which key the token needs.

A key file holds one key per line, 32 bytes in base64. Blank lines and lines that begin with ``#`` are ignored. The
file is rejected if other users can read it (mode wider than 0600).
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
# Letters and digits only, since other characters have a meaning in config files of switches. Characters that are
# easily confused when read aloud are left out.
_PASSWORD_LETTERS = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))


def default_key_file(store: Path) -> Path:
    """Return the default path of the key file of the store at ``store``, which is next to it."""
    # "." and ".." are not names of a folder.
    named = store if store.name not in ("", "..") else store.resolve()
    return named.parent / f"{named.name}.key"


def generate_password() -> str:
    """Return a new random password of 20 letters and digits (116 bits)."""
    return "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(_PASSWORD_LENGTH))


def key_id(token: str) -> str:
    """Return the key id of ``token`` without decrypting it. Raise ValueError if it is not a token."""
    return _parts(token)[0]


class Vault:
    """A set of keys, created by :meth:`from_file` or :meth:`from_text`.

    ``key_ids`` are the ids of its keys, that of the encrypting key first. ``path`` is the key file, or None if the
    keys come from elsewhere. In this case messages name the origin as ``place``.
    """

    def __init__(self, keys: Sequence[bytes], path: Path | None = None, place: str = _ENVIRONMENT) -> None:
        self.path = path
        self._place = place if path is None else f"the key file {path}"
        if not keys:
            raise KeyFileError(f"{self._place} holds no key: expected a line with {KEY_BYTES} bytes in base64")
        self._keys = tuple(keys)
        self._ciphers = {_id_of(key): AESGCM(key) for key in reversed(keys)}
        self.key_ids = tuple(dict.fromkeys(map(_id_of, keys)))
        self._revealed: dict[str, str] = {}
        self._kept = True
        """True if the keys are stored at their origin. False for those of :meth:`new` until :meth:`keep`."""

    def __repr__(self) -> str:
        return f"Vault(key_ids={self.key_ids})"  # never the keys, since a traceback may show this

    @classmethod
    def from_file(cls, path: Path, *, create: bool = False) -> Vault:
        """Return the vault of a key file. With ``create``, create a missing file with a new key.

        Raise KeyFileError if it is missing, unreadable, accessible to others (mode wider than 0600) or not a key
        file.
        """
        if create and not _is_there(path):
            _make_key_file(path)
        return cls(_read_key_file(path), path)

    @classmethod
    def new(cls, path: Path) -> Vault:
        """Return a vault with a new key, for a key file that does not exist yet. :meth:`keep` creates the file."""
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
                f"{self._place} has been created by another process. Nothing was changed. Try again"
            )
        self._kept = True

    @classmethod
    def from_text(cls, keys: str, place: str = _ENVIRONMENT) -> Vault:
        """Return the vault of keys in base64, separated by commas, as an environment variable holds them.

        ``place`` names their origin in messages. Raise KeyFileError if a key is invalid.
        """
        return cls(_parse_keys(keys.replace(",", "\n").splitlines(), "key", place), place=place)

    def joined(self, other: Vault) -> Vault:
        """Return a vault with the keys of both, its own first.

        A book may hold passwords under keys that have since been removed from the key file.
        """
        keys = dict.fromkeys((*self._keys, *other._keys))
        return Vault(tuple(keys), place=f"{self._place}, together with earlier keys,")

    def with_new_key(self) -> Vault:
        """Return a vault with a new key before the existing ones. :meth:`save` stores it."""
        return Vault((secrets.token_bytes(KEY_BYTES), *self._keys), self.path, self._place)

    def save(self) -> None:
        """Replace the key file atomically by one with these keys. Raise KeyFileError if that fails."""
        assert self.path is not None  # noqa: S101 - a vault from a text has no file
        _place_file(self.path, _key_text(self._keys), replace=True)

    def encrypt(self, password: str) -> str:
        """Return a token of ``password`` under the first key. Each call returns another token (random nonce)."""
        first = self.key_ids[0]
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[first].encrypt(nonce, password.encode(), first.encode())
        return f"{_PREFIX}{first}:{base64.urlsafe_b64encode(nonce + sealed).decode().rstrip('=')}"

    def decrypt(self, token: str) -> str:
        """Return the password in ``token``.

        Raise KeyFileError if this vault does not have the key of the token, ValueError if the token is invalid or
        damaged.
        """
        name, sealed = _parts(token)
        cipher = self._ciphers.get(name)
        if cipher is None:
            have = ", ".join(self.key_ids)
            raise KeyFileError(
                f"a password was encrypted under the key {name}, but {self._place} holds {have}. Put the former "
                "key back, or set the password again (`identengine accounts password set ID`)"
            )
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode()).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise ValueError("the token is damaged: its content does not verify") from None

    def reveal(self, token: str) -> str:
        """Return the password like :meth:`decrypt`, but cache it (engine.md 1.7, "on first use")."""
        password = self._revealed.get(token)
        if password is None:
            password = self.decrypt(token)
            if len(self._revealed) >= _CACHE_SIZE:
                self._revealed.clear()  # most tokens are of old versions; those in use are cached again
            self._revealed[token] = password
        return password


def drop_old_keys(path: Path) -> Vault:
    """Atomically remove all keys but the first from the key file. Return its vault."""
    vault = Vault(_read_key_file(path)[:1], path)
    vault.save()
    return vault


def _parts(token: str) -> tuple[str, bytes]:
    """Return the key id and the encrypted bytes (nonce, ciphertext, tag) of ``token``."""
    name, colon, text = token.removeprefix(_PREFIX).partition(":")
    if token.startswith(_PREFIX) and colon and len(name) == 8 and set(name) <= set("0123456789abcdef"):
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        if len(sealed) >= _NONCE_BYTES + _TAG_BYTES:
            return name, sealed
    raise ValueError("expected the token of an encrypted password (enc:KEY:TEXT, as an export writes it)")


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
            # The message does not quote the text, since it may be a key with a typing error.
            raise KeyFileError(f"{kind} {number} of {place}: expected a key of {KEY_BYTES} bytes in base64")
        keys.append(key)
    return keys


def _read_key_file(path: Path) -> list[bytes]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # checked before opening, since opening a pipe would block
            raise KeyFileError(f"{path} is not a key file: it is not a regular file")
        with path.open(encoding="ascii") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077:
                raise KeyFileError(
                    f"the key file {path} is accessible to other users (mode {status.st_mode & 0o777:04o}). "
                    f"Run `chmod 600 {shlex.quote(str(path))}`"
                )
            lines = file.read(65536).splitlines()
    except FileNotFoundError:
        raise KeyFileError(
            f"the key file {path} is missing. It holds the key of all passwords, so restore it. If it is lost, or "
            "no password was stored yet, create a new one: "
            f"`(umask 077; head -c 32 /dev/urandom | base64 >{shlex.quote(str(path))})`. Then `identengine key "
            "rotate` lists the accounts whose passwords must be set again"
        ) from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} is not a key file: expected lines of base64") from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error.strerror}") from error
    return _parse_keys(lines, "line", f"the key file {path}")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the folder is not accessible or the name is too long, which reading will report
        return True


def _key_text(keys: Iterable[bytes]) -> bytes:
    return b"".join(base64.b64encode(key) + b"\n" for key in keys)


def _make_key_file(path: Path) -> None:
    """Create a key file with a new key. Keep a file that another process created at the same time."""
    _place_file(path, _key_text([secrets.token_bytes(KEY_BYTES)]), replace=False)


def _place_file(path: Path, content: bytes, *, replace: bool, owner: tuple[int, int] | None = None) -> bool:
    """Write ``content`` to ``path`` atomically with mode 0600, and sync it. Return True if it was written.

    The file is not written if one exists already, unless ``replace`` is set.
    """
    try:
        path = path.resolve()  # a symbolic link to the key file is kept
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
                    os.chown(temporary, old.st_uid, old.st_gid)  # a key file that root replaces must stay readable for the engine
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
