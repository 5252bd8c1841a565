"""The store that a command works on, the keys of its passwords, and the author of a change."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from identengine.errors import StoreError

if TYPE_CHECKING:
    from identengine.config.schema import Config
    from identengine.store.vault import Vault
    from identengine.store.versions import Store


MAX_WHO = 255
"""Longest name of an author in the audit log, in characters."""
_DATA, _LOCK = "data.mdb", "lock.mdb"
"""The files of a store. The names are repeated here, since the store's modules import heavy libraries."""
_HARMLESS = (_LOCK, "lost+found")
_NAMED = 3


class Workspace(NamedTuple):
    """A store, and what the options of the command specify about its key and its server."""

    store: Path
    key_file: Path | None
    config: Config | None

    def open(self, *, create: bool = False, readonly: bool = False) -> Store:
        """Open the store. Raise StoreError if it is missing, or if it has to be created among other files."""
        return self._store_type().open(self.store, create=create, readonly=readonly)

    @contextmanager
    def filled(self) -> Iterator[Store]:
        """Yield the store, created if it is missing. If the block fails, a new store is removed.

        Raise as :meth:`open`.
        """
        with self._store_type().filled(self.store) as opened:
            yield opened

    def _store_type(self) -> type[Store]:
        """Return the class of stores, after a check of the folder. A crash is explained from now on."""
        from identengine.cli.crashes import explain_crashes
        from identengine.store.versions import Store

        self.check_folder()
        explain_crashes(self.store)
        return Store

    def check_folder(self) -> None:
        """Raise StoreError if the folder is not a store and holds other files, so that it cannot become one."""
        if not self.exists() and (others := self._other_files()):
            raise StoreError(
                f"{self.store} is not a store: the folder holds other files ({others})."
                " Choose an empty or new folder."
            )

    def exists(self) -> bool:
        """Return True if there is a store, even a damaged one."""
        return self.store.is_file() or (self.store / _DATA).exists()

    def head(self) -> int:
        """Return the newest version, or 0 if there is no version or no store. Raise StoreError."""
        if not self.exists():
            return 0
        with self.open(readonly=True) as opened:
            return opened.head()

    def _other_files(self) -> str:
        """Return the names of the first files that keep the folder from becoming a store, or an empty text."""
        if not self.store.is_dir():
            return ""
        key = self.key_path()
        paths = sorted(path for path in self.store.iterdir() if key is None or path.absolute() != key.absolute())
        found = [path.name for path in paths if not path.name.startswith(".") and path.name not in _HARMLESS]
        return ", ".join(found[:_NAMED]) + (", …" if len(found) > _NAMED else "")

    def vault(self) -> Vault:
        """Return the keys of the passwords. Raise KeyFileError."""
        from identengine.store.vault import Vault

        path = self.key_path()
        if path is not None:
            return Vault.from_file(path)
        if keys := os.environ.get("IDENTENGINE_KEY"):
            return Vault.from_text(keys, "$IDENTENGINE_KEY")
        assert self.config is not None  # noqa: S101 - keys that no file or variable holds are in the config
        return self.config.store.vault()

    def vault_to_write(self) -> Vault:
        """Return the keys, or a new key to keep if there is neither a key file nor a password.

        Stored passwords would be unreadable under a new key. So if there are any, a missing key file is an error.
        Raise KeyFileError.
        """
        from identengine.store.vault import Vault

        path = self.key_path()
        if path is None or path.exists():
            return self.vault()
        unused = True
        if self.exists():
            with self.open(readonly=True) as opened, opened.read() as book:
                unused = all(account.password is None for account in book.accounts())
        return Vault.new(path) if unused else self.vault()

    def vault_if_any(self) -> Vault | None:
        """Return the keys, or None if the key file or variable is missing. Only passwords make it necessary."""
        path = self.key_path()
        if path is not None:
            return self.vault() if path.exists() else None
        key = self.config.store.key if self.config is not None else None
        held = os.environ.get("IDENTENGINE_KEY") or (key is not None and key.is_set())
        return self.vault() if held else None

    def key_path(self) -> Path | None:
        """Return the key file to use, or None if the environment or the config holds the keys themselves."""
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

    def key_source(self) -> str:
        """Return the name of the place that holds the keys if they are in no key file."""
        return "$IDENTENGINE_KEY" if os.environ.get("IDENTENGINE_KEY") else "the config ([store] key)"


def find_workspace(store: Path | None, config: Path | None, key_file: Path | None = None) -> Workspace:
    """Return the workspace that the options name. Raise ConfigError, or BadParameter if they name no store."""
    loaded = None
    if config is not None:
        from identengine.config.load import load

        loaded = load(config, serving=False)
    if store is None:
        if loaded is None:
            raise typer.BadParameter(
                "name the store with --store DIR, --config FILE or $IDENTENGINE_STORE", param_hint="--store"
            )
        store = loaded.store.path
    return Workspace(store, key_file, loaded)


def author(who: str | None) -> str:
    """Return the author of a change, for the audit log: ``who``, or else the login name."""
    if who is not None and who.strip():
        if len(who.strip()) > MAX_WHO:
            raise typer.BadParameter(
                f"expected a name of at most {MAX_WHO} characters, got {len(who.strip()):,}", param_hint="--who"
            )
        return who.strip()
    for variable in ("SUDO_USER", "USER"):
        if name := os.environ.get(variable):
            return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
