"""How many files a process may have open (RLIMIT_NOFILE), and how many a server with this config needs."""

from __future__ import annotations

import resource

from identengine.config.schema import Config

MARGIN = 128
"""Descriptors besides the connections of switches: the store, its reader, the set of calls, logs, commands."""


def needed(config: Config) -> int:
    """Return how many descriptors the process needs that holds all connections the config allows."""
    listen = config.listen
    listeners = sum(map(len, (listen.udp, listen.tcp, listen.tls, listen.radius_auth, listen.radius_acct)))
    return config.limits.connections + listeners + MARGIN


def allow(config: Config, process: int = 0) -> None:
    """Raise the limit of a process as far as is needed and its hard limit allows; 0 is our own, for children too.

    Raise OSError if there is no such process.
    """
    soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)
    wanted = needed(config)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (most, hard))


def shortage(config: Config) -> str | None:
    """Return what to say where the hard limit does not allow what the config needs."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = needed(config)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return None
    return (
        f"[limits] connections: {config.limits.connections} of them need {wanted} open files, and this process "
        f"may have {hard}: further connections would wait; set LimitNOFILE={wanted} in its unit (or `ulimit -n "
        f"{wanted}`), or fewer connections"
    )
