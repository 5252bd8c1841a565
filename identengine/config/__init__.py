"""The config of the server (interfaces.md 7): its shape, how it is read, and what each value may be.

:mod:`load` reads the file, :mod:`sections` and :mod:`switches` its tables, :mod:`readers` one value. The result is
the frozen Struct of :mod:`schema`. :mod:`changes` compares two of them, :mod:`codec` makes bytes of one.
"""
