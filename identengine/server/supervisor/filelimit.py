"""The limit on open files of a process (RLIMIT_NOFILE), and the number that a server with its config needs."""

from __future__ import annotations

import resource

from identengine.config.schema import Config

MARGIN = 128
"""Descriptors for all but connections of switches: the store, its reader, the set of calls, logs, commands."""


def needed(config: Config) -> int:
    """Return the number of descriptors that a decider needs to hold all connections that the config allows."""
    listen = config.listen
    listeners = sum(map(len, (listen.udp, listen.tcp, listen.tls, listen.radius_auth, listen.radius_acct)))
    return config.limits.connections + listeners + MARGIN


def allow(config: Config, process: int = 0) -> None:
    """Raise the limit of a process to the number that is needed, or to its hard limit if that is lower.

    ``process`` 0 is this process, whose children inherit the limit. Raise OSError if there is no such process.
    """
    soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    needs = needed(config)
    if soft != resource.RLIM_INFINITY and soft < needs:
        most = needs if hard == resource.RLIM_INFINITY else min(needs, hard)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (most, hard))


def shortage(config: Config) -> str | None:
    """Return a warning if the hard limit is below the number that the config needs, else None."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needs = needed(config)
    if hard == resource.RLIM_INFINITY or hard >= needs:
        return None
    return (
        f"[limits] connections: {config.limits.connections} connections need {needs} open files, and this process "
        f"may open {hard}. Further connections would wait. Set LimitNOFILE={needs} in its unit (or `ulimit -n "
        f"{needs}`), or allow fewer connections."
    )
