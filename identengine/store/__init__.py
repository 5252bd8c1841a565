"""The store: the versions of the book on LMDB, which nothing outside of this package knows of.

``format`` says what stands where, ``check`` looks at a file before it is mapped, ``file`` opens and grows it,
``views`` reads one version and writes the next, ``history`` compares and tells; ``versions`` is the store.
"""
