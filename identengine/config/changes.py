"""Compares two configs: which sections a running server can change, and which need a restart."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from identengine.config.schema import Config
from identengine.record.segments import default_folder

RELOADABLE: Final = {
    "identify": "[identify]",
    "codes": "[reasons]",
    "http": "[http]",
    "limits": "[limits]",
    "record": "[record]",
    "log": "[log]",
    "postgresql": "[postgresql]",
    "switches": "[[switch]]",
    "tokens": "[[token]]",
}
"""Fields of :class:`Config` that can change while a server runs, and their sections."""
FIXED: Final = {"store": "[store]", "calls": "[calls]", "listen": "[listen]", "tls": "[tls]"}
"""Fields that are read only at start. The certificate files that ``[tls]`` names are read again on SIGHUP."""
FIXED_KEY: Final = "[http] tls"
"""A key of a reloadable section that is read only at start, because clients of the bound socket rely on it."""


class Changes(NamedTuple):
    """The difference between the config of a running server and a new config."""

    config: Config
    """The config to use: the new one, with the old values of the sections and keys in ``fixed``."""
    changed: tuple[str, ...]
    """Sections that change, written as in the file: ``[limits]``, ``[[switch]]``."""
    fixed: tuple[str, ...]
    """Sections that differ and need a restart, or a single key with its section."""


def changes(old: Config, new: Config) -> Changes:
    """Return the config that a server running with ``old`` uses after it read ``new``, and the differences."""
    fixed = [name for name in FIXED if getattr(new, name) != getattr(old, name)]
    labels = [FIXED[name] for name in fixed]
    config = msgspec.structs.replace(new, **{name: getattr(old, name) for name in fixed})
    if new.record.path == default_folder(new.store.path):  # next to the store in use
        record = msgspec.structs.replace(new.record, path=default_folder(old.store.path))
        config = msgspec.structs.replace(config, record=record)
    if new.http.tls != old.http.tls:
        config = msgspec.structs.replace(config, http=msgspec.structs.replace(new.http, tls=old.http.tls))
        if "listen" not in fixed:  # the default of the key depends on [listen], which is in the list already
            labels.append(FIXED_KEY)
    changed = [label for name, label in RELOADABLE.items() if getattr(config, name) != getattr(old, name)]
    return Changes(config, tuple(changed), tuple(labels))
