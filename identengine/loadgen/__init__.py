"""A load generator that asks a server as many switches would, and measures the answers (``identengine load``).

:mod:`mix` reads the requests, :mod:`pattern` turns them into bytes cheaply, and :mod:`order` decides which one
follows. :mod:`protocols` encodes them as JSON-RPC and for HTTP, :mod:`resp` and :mod:`radius` for the other
interfaces. :mod:`target` is the server, :mod:`connection` one connection, and :mod:`run` the schedule of all
connections. :mod:`latency` and :mod:`scores` count the results. Rule: it reaches a server only over sockets, as a
switch does.
"""
