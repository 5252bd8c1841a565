"""The store: the versions of the book on LMDB, which nothing outside of this package knows of.

``format`` says what stands where, ``check`` looks at a file before it is mapped, ``file`` opens and
grows it, ``views`` reads one version and writes the next, ``history`` compares and tells, ``store`` is what the rest uses.
"""

from identengine.store.format import AuditEntry, Change, Changes, VersionInfo, field_changes
from identengine.store.store import Store, rotate_key_file
from identengine.store.views import Counts, Draft, Scratch, Snapshot

__all__ = [
    "AuditEntry",
    "Change",
    "Changes",
    "Counts",
    "Draft",
    "Scratch",
    "Snapshot",
    "Store",
    "VersionInfo",
    "field_changes",
    "rotate_key_file",
]
