"""HTTP in a process of its own (interfaces.md 6). It is a client of the decider, so no HTTP request delays a call.

The modules, from the socket inwards:

- :mod:`acceptor` accepts connections, and :mod:`admission` limits them.
- :mod:`framing` checks the bytes of requests, and :mod:`connection` limits the time of each request.
- :mod:`routes` has the paths, :mod:`roles` the tokens that may use them.
- :mod:`bodies` reads requests, :mod:`problems` has the errors, :mod:`openapi` describes the API.
- :mod:`deciderclient` asks for decisions, :mod:`statuscache` for the state of the server.
- :mod:`process` starts and stops all of them.
"""
