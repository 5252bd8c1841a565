"""Load: asks a server as many switches would, and measures how it answers (``identengine load``).

:mod:`mix` reads the requests, :mod:`pattern` makes bytes of them at little cost, and :mod:`protocols` encodes them
for each interface. :mod:`target` is the server, :mod:`connection` one connection, and :mod:`run` the schedule of
all connections. :mod:`latency` and :mod:`scores` count the results. Rule: it reaches a server over sockets alone,
as a switch does.
"""
