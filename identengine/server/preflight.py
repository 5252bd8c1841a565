"""What a start of the server would trip over, looked at without a start (``serve --check``).

Nothing is bound that a running server may have, nothing is locked or written. What is wrong would end a start, or
leave a listener that refuses everybody; what a server can begin without, as a store that is still to be imported,
is a warning.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from identengine.calls.journal import room
from identengine.calls.journalfile import NAME
from identengine.config.readers import Endpoint
from identengine.config.schema import Config
from identengine.errors import ConfigError, KeyFileError, StoreError
from identengine.net.tcp.tls import context_of
from identengine.store.file import require

_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_CAP_NET_BIND_SERVICE = 1 << 10


def problems(config: Config) -> list[str]:
    """Return what would keep a server with this config from serving, each with its key."""
    return [*_addresses(config), *_calls(config), *certificates(config)]


def certificates(config: Config) -> list[str]:
    """Return what is wrong with the files of ``[tls]``, where something is served with them."""
    if not (config.listen.tls or (config.listen.http and config.http.tls)):
        return []
    try:
        context_of(config.tls)
    except ConfigError as error:
        return list(error.problems)
    return []


def missing(config: Config) -> list[str]:
    """Return what a server would begin without."""
    found = []
    for look in (lambda: require(config.store.path), config.store.vault):
        try:
            look()
        except (StoreError, KeyFileError) as error:
            found.append(str(error))
    return found


def _addresses(config: Config) -> list[str]:
    """Try each address with a port that the system chooses: whether it is this machine's."""
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
                found.append(f"[listen] {key}: {one}: {error.strerror}; the address of this machine is wanted")
                continue
            if 0 < one.port < _first_free_port() and not _may_bind_low_ports():
                found.append(
                    f"[listen] {key}: {one}: a port below {_first_free_port()} is for root, or for a unit with "
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
    """Whether there is something. What stands below a folder that is closed to us is not: that folder is named."""
    try:
        return folder.exists()
    except PermissionError:
        return False


def _calls(config: Config) -> list[str]:
    """Look whether the folder of the set of calls can be had, and its room."""
    path = config.calls.path
    try:
        there = next(folder for folder in (path, *path.absolute().parents) if _is_there(folder))
    except OSError as error:
        return [f"[calls] path: {path}: {error.strerror}; another path is wanted"]
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there.is_dir() else "is no folder"
        return [
            f"[calls] path: {there} {what}, so that the set of calls cannot be kept in {path}; "
            "RuntimeDirectory= of its unit makes the folder, or another path"
        ]
    disk = os.statvfs(there)
    try:
        taken = (path / NAME).stat().st_blocks * 512
    except OSError:
        taken = 0
    wanted, free = room(config.calls.max_legs), disk.f_bavail * disk.f_frsize + taken
    if wanted <= free:
        return []
    return [
        f"[calls] max_legs: {config.calls.max_legs} of them take {wanted >> 20} MiB in {path}, and there are "
        f"{free >> 20} MiB; make room there, or set fewer"
    ]
