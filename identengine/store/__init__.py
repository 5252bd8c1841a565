"""The store: the versions of the book on LMDB, which nothing outside of this package knows of.

``format`` says what stands where, ``check`` looks at a file before it is mapped, ``file`` opens and grows it,
``keys`` walks rows, ``snapshot`` reads one version, ``draft`` writes the next, ``history`` compares versions;
``versions`` is the store.
"""
