"""Where a command works: the store, the key of its passwords, the options, and in whose name it writes."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from identengine.errors import StoreError

if TYPE_CHECKING:
    from identengine.config.schema import Config
    from identengine.store.vault import Vault
    from identengine.store.versions import Store


MAX_WHO = 255
"""Longest name in the audit log that a command takes, in characters."""
_DATA, _LOCK = "data.mdb", "lock.mdb"
"""The files of a store, named here too since the store's modules bring heavy libraries."""
_NO_MATTER = (_LOCK, "lost+found")
_NAMED = 3


class Workspace(NamedTuple):
    """A store, and what was said about its key and its server."""

    store: Path
    key_file: Path | None
    config: Config | None

    def open(self, *, create: bool = False, readonly: bool = False) -> Store:
        """Open the store; says how to make one where none is. Raises StoreError."""
        from identengine.store.versions import Store

        if not self.there():
            if others := self._other_files():
                raise StoreError(
                    f"{self.store} is no store: the folder holds other files ({others}); an empty or new folder is"
                    " wanted"
                )
            if not create:
                raise StoreError(
                    f"there is no store at {self.store}; `identengine import BOOK --store {self.store}` makes one"
                )
        return Store.open(self.store, create=create, readonly=readonly)

    def there(self) -> bool:
        """Whether a store is there, be it a damaged one."""
        return self.store.is_file() or (self.store / _DATA).exists()

    def head(self) -> int:
        """Return the newest version; 0 where there is none, or no store. Raises StoreError."""
        if not self.there():
            return 0
        with self.open(readonly=True) as opened:
            return opened.head()

    def _other_files(self) -> str:
        """Name the first files that stand where a store is to be made, and that are nobody's leftovers."""
        if not self.store.is_dir():
            return ""
        names = sorted(path.name for path in self.store.iterdir())
        found = [name for name in names if not name.startswith(".") and name not in _NO_MATTER]
        return ", ".join(found[:_NAMED]) + (", …" if len(found) > _NAMED else "")

    def vault(self) -> Vault:
        """Return the keys of the passwords. Raises KeyFileError."""
        from identengine.store.vault import Vault

        path = self.key_path()
        if path is not None:
            return Vault.from_file(path)
        if keys := os.environ.get("IDENTENGINE_KEY"):
            return Vault.from_text(keys, "$IDENTENGINE_KEY")
        assert self.config is not None  # noqa: S101 - what is in no file nor the environment is there
        return self.config.store.vault()

    def vault_to_write(self) -> Vault:
        """Return the keys; where there is no key file and no password was kept yet, a new one, still to be kept.

        A new key where passwords are kept would leave them unreadable, so there the missing file is an error.
        """
        from identengine.store.vault import Vault

        path = self.key_path()
        if path is None or path.exists():
            return self.vault()
        unused = True
        if self.there():
            with self.open(readonly=True) as opened, opened.read() as book:
                unused = all(account.password is None for account in book.accounts())
        return Vault.new(path) if unused else self.vault()

    def vault_if_any(self) -> Vault | None:
        """Return the keys, None where no key file is: for what needs them only if there are passwords."""
        path = self.key_path()
        return None if path is not None and not path.exists() else self.vault()

    def key_path(self) -> Path | None:
        """Return the key file to use; None where the environment or the config hold the keys themselves."""
        from identengine.store.vault import default_key_file

        if self.key_file is not None:
            return self.key_file
        if os.environ.get("IDENTENGINE_KEY"):
            return None
        if path := os.environ.get("IDENTENGINE_KEY_FILE"):
            return Path(path)
        if self.config is not None and self.config.store.key is not None:
            return None
        if self.config is not None and self.config.store.key_file is not None:
            return self.config.store.key_file
        return default_key_file(self.store)


def find_workspace(store: Path | None, config: Path | None, key_file: Path | None = None) -> Workspace:
    """Return the workspace that the options name. Raise ConfigError, or BadParameter if they name no store."""
    loaded = None
    if config is not None:
        from identengine.config.load import load

        loaded = load(config)
    if store is None:
        if loaded is None:
            raise typer.BadParameter(
                "say where the store is: --store DIR, --config FILE or $IDENTENGINE_STORE", param_hint="--store"
            )
        store = loaded.store.path
    return Workspace(store, key_file, loaded)


def author(who: str | None) -> str:
    """Return in whose name a change is made, for the audit log."""
    if who is not None and who.strip():
        if len(who.strip()) > MAX_WHO:
            raise typer.BadParameter(f"at most {MAX_WHO} characters are wanted", param_hint="--who")
        return who.strip()
    for variable in ("SUDO_USER", "USER"):
        if name := os.environ.get(variable):
            return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
