"""The checks of ``serve --check``: errors that would prevent a start of the server, found without starting it.

Rule: nothing is bound that a running server may use, and nothing is locked or written. A *problem* would prevent
the start, or leave a listener that refuses every peer. A *missing* file, such as a store that has not been
imported yet, is a warning, since a server can start without it.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from identengine.calls.journal import room
from identengine.calls.journalfile import NAME
from identengine.config.readers import Endpoint
from identengine.config.schema import Config
from identengine.errors import ConfigError, KeyFileError, StoreError, expected
from identengine.net.tcp.tls import context_of
from identengine.store.file import require
from identengine.store.vault import default_key_file

_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_CAP_NET_BIND_SERVICE = 1 << 10


def problems(config: Config) -> list[str]:
    """Return the problems that would keep a server with this config from serving, each with its key."""
    return [*_addresses(config), *_calls(config), *certificates(config)]


def certificates(config: Config) -> list[str]:
    """Return the problems of the files of ``[tls]``, if a listener uses them."""
    if not (config.listen.tls or (config.listen.http and config.http.tls)):
        return []
    try:
        context_of(config.tls)
    except ConfigError as error:
        return list(error.problems)
    return []


def missing(config: Config) -> list[str]:
    """Return a message for the store or its key if the server starts without it.

    A missing key of a missing store is not reported: the command that creates the store creates the key as well.
    """
    key_file = config.store.key_file or default_key_file(config.store.path)
    try:
        require(config.store.path)
    except StoreError as error:
        found = [str(error)]
        if config.store.key is None and not os.path.lexists(key_file):
            return found
    else:
        found = []
    try:
        config.store.vault()
    except KeyFileError as error:
        found.append(str(error))
    return found


def _addresses(config: Config) -> list[str]:
    """Return the problems of the addresses. Each is tried with a port that the system chooses."""
    listen = config.listen
    lists: dict[str, tuple[Endpoint, ...]] = {
        "udp": listen.udp,
        "tcp": listen.tcp,
        "tls": listen.tls,
        "radius_auth": listen.radius_auth,
        "radius_acct": listen.radius_acct,
        "http": (listen.http,) if listen.http else (),
    }
    found = []
    for key, endpoints in lists.items():
        for one in endpoints:
            try:
                with socket.socket(
                    socket.AF_INET6 if ":" in one.host else socket.AF_INET, socket.SOCK_DGRAM
                ) as udp:
                    udp.bind((one.host, 0))
            except OSError as error:
                wrong = expected("an address of this machine", str(one))
                found.append(f"[listen] {key}: {wrong} ({error.strerror})")
                continue
            if 0 < one.port < _first_free_port() and not _may_bind_low_ports():
                found.append(
                    f"[listen] {key}: {one}: ports below {_first_free_port()} need root, or a unit with "
                    "AmbientCapabilities=CAP_NET_BIND_SERVICE"
                )
    return found


def _first_free_port() -> int:
    try:
        return int(_UNPRIVILEGED.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1024


def _may_bind_low_ports() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    mask = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(mask, 16) & _CAP_NET_BIND_SERVICE)


def _is_there(folder: Path) -> bool:
    """Return True if a folder is visible.

    A folder is not visible if access to its parent is denied. The message then names the parent.
    """
    try:
        return folder.exists()
    except PermissionError:
        return False


def _calls(config: Config) -> list[str]:
    """Return the problems of the folder of the set of calls: access and free space."""
    path = config.calls.path
    try:
        there = next(folder for folder in (path, *path.absolute().parents) if _is_there(folder))
    except OSError as error:
        return [f"[calls] path: {path}: {error.strerror}. Choose another path."]
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        problem = "is not writable" if there.is_dir() else "is not a folder"
        return [
            f"[calls] path: {there} {problem}, so the set of calls cannot be kept in {path}. Let "
            "RuntimeDirectory= of the unit create the folder, or choose another path."
        ]
    disk = os.statvfs(there)
    try:
        taken = (path / NAME).stat().st_blocks * 512
    except OSError:
        taken = 0
    needed, free = room(config.calls.max_legs), disk.f_bavail * disk.f_frsize + taken
    if needed <= free:
        return []
    return [
        f"[calls] max_legs: {config.calls.max_legs} legs need {needed >> 20} MiB in {path}, and {free >> 20} MiB "
        "are free. Free space there, or allow fewer legs."
    ]
