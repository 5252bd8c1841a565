"""The store: the versions of the book in LMDB, and the vault of the passwords.

:mod:`format` defines keys and rows. :mod:`check` examines a file before it is mapped, and :mod:`file` opens and
grows it. :mod:`keys` walks rows, :mod:`snapshot` reads one version, and :mod:`draft` writes the next.
:mod:`history` compares versions. :mod:`versions` is the store, :mod:`vault` encrypts passwords, and :mod:`folders`
creates and syncs folders. Rule: no other room knows the format of the file.
"""
