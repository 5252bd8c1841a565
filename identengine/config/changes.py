"""Compares two configs: what a running server changes, and what it cannot change without a restart."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from identengine.config.schema import Config

RELOADABLE: Final = {
    "identify": "[identify]",
    "codes": "[reasons]",
    "http": "[http]",
    "limits": "[limits]",
    "log": "[log]",
    "postgresql": "[postgresql]",
    "switches": "[[switch]]",
    "tokens": "[[token]]",
}
"""Fields of :class:`Config` that change while a server runs, and their sections."""
FIXED: Final = {"store": "[store]", "calls": "[calls]", "listen": "[listen]", "tls": "[tls]"}
"""Fields that are read at start alone. The certificate files that ``[tls]`` names are read again."""
FIXED_KEY: Final = "[http] tls"
"""The one key of a reloadable section that is read at start alone: clients of the bound socket rely on it."""


class Changes(NamedTuple):
    """The difference between a config in force and a new one."""

    config: Config
    """The config in force from now on: the new one, with the old values of everything in ``fixed``."""
    changed: tuple[str, ...]
    """Sections that change, as in the file: ``[limits]``, ``[[switch]]``."""
    fixed: tuple[str, ...]
    """Sections, or one key with its section, that differ and need a restart."""


def changes(old: Config, new: Config) -> Changes:
    """Return what a server that runs with ``old`` does with ``new``."""
    fixed = [name for name in FIXED if getattr(new, name) != getattr(old, name)]
    labels = [FIXED[name] for name in fixed]
    config = msgspec.structs.replace(new, **{name: getattr(old, name) for name in fixed})
    if new.http.tls != old.http.tls:
        config = msgspec.structs.replace(config, http=msgspec.structs.replace(new.http, tls=old.http.tls))
        if "listen" not in fixed:  # else the default of the key may follow from [listen], which is named already
            labels.append(FIXED_KEY)
    changed = [label for name, label in RELOADABLE.items() if getattr(config, name) != getattr(old, name)]
    return Changes(config, tuple(changed), tuple(labels))
