"""Load: asks a server as many switches would, and measures how it answers (``identengine load``).

:mod:`mix` is what is asked, :mod:`pattern` makes bytes of it at little cost, :mod:`tongues` is how each interface
is spoken, :mod:`target` whom to ask, :mod:`peer` one connection, :mod:`run` the schedule of all of them, and
:mod:`scores` what came of it.
"""
