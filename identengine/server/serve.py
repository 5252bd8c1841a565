"""Connects the supervisor with the code of the processes that it forks."""

from __future__ import annotations

from identengine.config.schema import Config
from identengine.server.decider.process import decide
from identengine.server.link import Duty, Entries
from identengine.server.supervisor.start import supervise


def serve(config: Config, *, take_over: bool = False) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status of :func:`supervise`."""
    return supervise(config, Entries(decide, _serve_http), take_over=take_over)


def _serve_http(config: Config, duty: Duty) -> int:
    # Imported in the child: the HTTP framework takes more memory than the supervisor, and only the child needs it.
    from identengine.server.http.process import serve_http  # noqa: PLC0415 - as above

    return serve_http(config, duty)
