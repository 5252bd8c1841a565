"""The config of the server (interfaces.md 7): its shape, how it is read, and the values that each key accepts.

:mod:`load` reads the file, :mod:`sections` and :mod:`switches` read its tables, and :mod:`readers` reads single
values. The result is the frozen Struct of :mod:`schema`. :mod:`changes` compares two configs, and :mod:`codec`
encodes one as bytes. ``sample.toml`` is a config with every key, for operators.
"""
