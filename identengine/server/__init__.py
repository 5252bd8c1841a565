"""The processes of ``serve``: the supervisor, the decider and the HTTP process, and the link between them."""
