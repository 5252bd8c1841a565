"""``identengine init``: an empty store and the key of its passwords (interfaces.md 2).

Rule: init creates what is missing and replaces nothing. If stored passwords need a missing key, init fails.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import typer

from identengine.cli.options import AsJson, ConfigFile, KeyFile, StoreDir
from identengine.cli.output import emit, hint, say
from identengine.cli.workspace import find_workspace

_Owner: TypeAlias = tuple[int, int]
"""The ids of a user and a group."""


def init(
    store: StoreDir = None, config: ConfigFile = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Create an empty store and the key of its passwords.

    If the store or the key exists, it stays as it is. Root creates both for the owner of the store's folder.

    Example: identengine init --store STORE
    """
    here = find_workspace(store, config, key_file)
    place, key = here.store.absolute(), here.key_path()
    is_new, is_new_key = not here.exists(), key is not None and not key.exists()
    here.check_folder()
    vault = here.vault_to_write()
    if not is_new:
        here.open(readonly=True).close()  # an error if the store is damaged or not readable
    owner = _owner_for_root(place)
    # The key comes first: if it cannot be written, no store is left without one.
    vault.keep(owner)
    if is_new:
        with _acting_as(owner):
            here.open(create=True).close()
    warnings = [] if key is None else _warnings(place, key, is_new=is_new)
    if as_json:
        emit(
            {
                "store": str(place),
                "store_created": is_new,
                "key_file": None if key is None else str(key.absolute()),
                "key_created": is_new_key,
                "warnings": warnings,
            }
        )
        return
    for warning in warnings:
        hint(f"warning: {warning}")
    say(f"created an empty store: {place}" if is_new else f"the store exists: {place}")
    if key is None:
        say(f"its key comes from {here.key_source()}")
    else:
        say(f"created its key file: {key.absolute()}" if is_new_key else f"its key file exists: {key.absolute()}")


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(init)


def _owner_for_root(store: Path) -> _Owner | None:
    """Return the owner of the store's folder, or of the nearest existing one above it.

    Return None if this process is not root, or if the folder is root's.
    """
    if os.geteuid() != 0:
        return None
    status = next(folder for folder in (store, *store.parents) if folder.exists()).stat()
    return (status.st_uid, status.st_gid) if status.st_uid else None


@contextmanager
def _acting_as(owner: _Owner | None) -> Iterator[None]:
    """Let root create files as ``owner``.

    Creating them as root and changing their owner afterwards would be unsafe. The owner of the folder could put a
    link to another file in their place.
    """
    if owner is None:
        yield
        return
    group = os.getegid()
    os.setegid(owner[1])
    os.seteuid(owner[0])
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def _warnings(store: Path, key: Path, *, is_new: bool) -> list[str]:
    """Return a warning if the owners of store and key keep a server from reading both."""
    owner, keeper = store.stat().st_uid, key.stat().st_uid
    if owner != keeper:
        return [
            f"the store belongs to {_user(owner)}, its key file to {_user(keeper)}. The server must be able to"
            " read both."
        ]
    if owner == 0 and is_new:
        return [
            "the store and its key belong to root. If the server runs as another user, that user cannot read"
            " them. Run init as that user instead."
        ]
    return []


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
