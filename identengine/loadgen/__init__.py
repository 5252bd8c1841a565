"""A load generator that asks a server as many switches would, and measures the answers (``identengine load``).

:mod:`mix` reads the requests, :mod:`pattern` turns them into bytes cheaply, and :mod:`protocols` encodes them for
each interface. :mod:`target` is the server, :mod:`connection` one connection, and :mod:`run` the schedule of all
connections. :mod:`latency` and :mod:`scores` count the results. Rule: it reaches a server only over sockets, as a
switch does.
"""
