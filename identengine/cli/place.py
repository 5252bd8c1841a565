"""Where a command works: the store, the key of its passwords, the options, and in whose name it writes."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from identengine.errors import StoreError

if TYPE_CHECKING:
    from identengine.config import Config
    from identengine.store.versions import Store
    from identengine.vault import Vault


class Place(NamedTuple):
    """A store, and what was said about its key and its server."""

    store: Path
    key_file: Path | None
    config: Config | None

    def open(self, *, create: bool = False, readonly: bool = False) -> Store:
        """Open the store; says how to make one where none is. Raises StoreError."""
        from identengine.store.versions import Store

        if not create and not self.store.exists():
            raise StoreError(
                f"there is no store at {self.store}; `identengine import BOOK --store {self.store}` makes one"
            )
        return Store.open(self.store, create=create, readonly=readonly)

    def vault(self, *, create: bool = False) -> Vault:
        """Return the keys of the passwords; with ``create`` a missing key file is made. Raises KeyFileError."""
        from identengine.vault import Vault

        path = self.key_path()
        if path is None:
            return Vault.from_text(self.key_text() or "")
        return Vault.from_file(path, create=create)

    def vault_to_write(self) -> Vault:
        """Return the keys, and make a key file where there is none and no password was kept yet.

        A new key where passwords are kept would leave them unreadable, so there the missing file is an error.
        """
        path = self.key_path()
        if path is None or path.exists():
            return self.vault()
        unused = True
        if self.store.exists():
            with self.open(readonly=True) as opened, opened.read() as book:
                unused = all(account.password is None for account in book.accounts())
        return self.vault(create=unused)

    def vault_if_any(self) -> Vault | None:
        """Return the keys, None where no key file is: for what needs them only if there are passwords."""
        path = self.key_path()
        return None if path is not None and not path.exists() else self.vault()

    def key_text(self) -> str | None:
        """Return the keys themselves, where the environment or the config hold them."""
        if self.key_file is not None:
            return None
        if keys := os.environ.get("IDENTENGINE_KEY"):
            return keys
        if os.environ.get("IDENTENGINE_KEY_FILE") or self.config is None or self.config.store.key is None:
            return None
        return self.config.store.key.reveal()

    def key_path(self) -> Path | None:
        """Return the key file to use; None where :meth:`key_text` has the keys."""
        from identengine.vault import default_key_file

        if self.key_file is not None:
            return self.key_file
        if self.key_text() is not None:
            return None
        if path := os.environ.get("IDENTENGINE_KEY_FILE"):
            return Path(path)
        if self.config is not None and self.config.store.key_file is not None:
            return self.config.store.key_file
        return default_key_file(self.store)


def place(store: Path | None, config: Path | None, key_file: Path | None = None) -> Place:
    """Return the place that the options name; wrong usage where they name no store. Raises ConfigError."""
    loaded = None
    if config is not None:
        from identengine.config import load

        loaded = load(config)
    if store is None:
        if loaded is None:
            raise typer.BadParameter(
                "say where the store is: --store DIR, --config FILE or $IDENTENGINE_STORE", param_hint="--store"
            )
        store = loaded.store.path
    return Place(store, key_file, loaded)


def author(who: str | None) -> str:
    """Return in whose name a change is made, for the audit log."""
    if who is not None and who.strip():
        return who.strip()
    for variable in ("SUDO_USER", "USER"):
        if name := os.environ.get(variable):
            return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
