"""Puts the server together: the supervisor, and the code of the processes that it forks."""

from __future__ import annotations

from identengine.config.schema import Config
from identengine.server.decider.process import decide
from identengine.server.link import Duty, Entries
from identengine.server.supervisor.start import supervise


def serve(config: Config, *, take_over: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status of :func:`supervise`."""
    return supervise(config, Entries(decide, _serve_http), take_over=take_over)


def _serve_http(config: Config, duty: Duty) -> int:
    # In the child alone: the framework takes more memory than a whole supervisor, and nobody else needs it.
    from identengine.server.http.process import serve_http  # noqa: PLC0415 - as above

    return serve_http(config, duty)
