"""HTTP in a process of its own (interfaces.md 6): a client of the decider, so that no page delays a call.

From the socket inwards: :mod:`acceptor` lets connections in, :mod:`connection` bounds what one may take,
:mod:`routes` names what there is, :mod:`bodies` and :mod:`problems` what goes in and out, :mod:`roles` who may,
:mod:`deciderclient` asks for decisions and :mod:`statuscache` how the server is; :mod:`process` is their life.
"""
