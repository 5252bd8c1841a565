"""The process that holds the sockets and keeps the others running; :func:`serve` is all that others need."""

from identengine.server.supervisor.start import serve

__all__ = ["serve"]
