"""The checks of ``serve --check``: errors that would prevent a start of the server, found without starting it.

Rule: nothing is bound that a running server may use, and nothing is locked or written. A *problem* would prevent
the start, or leave a listener that refuses every peer. A *missing* file, such as a store that has not been
imported yet, is a warning, since a server can start without it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from identengine.calls.folder import hazard, user_name
from identengine.calls.journal import room
from identengine.calls.journalfile import NAME, READABLE, unreadable
from identengine.config.readers import Endpoint
from identengine.config.schema import Config
from identengine.errors import ConfigError, KeyFileError, StoreError, expected
from identengine.net.tcp.revocation import now, revoked_certificates
from identengine.net.tcp.tls import context_of
from identengine.server.supervisor.handover import OTHER_FORMAT
from identengine.server.supervisor.lock import PROTOCOL, formats_in
from identengine.store.file import require
from identengine.store.vault import default_key_file

_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_CAP_NET_BIND_SERVICE = 1 << 10


def problems(config: Config) -> list[str]:
    """Return the problems that would keep a server with this config from serving, each with its key."""
    return [*_addresses(config), *_calls(config), *_formats(config.calls.path), *certificates(config)]


def certificates(config: Config) -> list[str]:
    """Return the problems of the files of ``[tls]``, if a listener uses them."""
    if not (config.listen.tls or (config.listen.http and config.http.tls)):
        return []
    found: list[str] = []
    for read in (context_of, revoked_certificates):
        try:
            read(config.tls)
        except ConfigError as error:
            found += error.problems
    return found


def _expired_crl(config: Config) -> list[str]:
    """Return a message if the list of revoked certificates has expired. A server starts with it."""
    with contextlib.suppress(ConfigError):
        revoked = revoked_certificates(config.tls)
        if revoked is not None and (why := revoked.expired(now())):
            return [f"[tls] client_crl: {why}, but stays in use. Put a new list into {config.tls.client_crl}."]
    return []


def missing(config: Config) -> list[str]:
    """Return a message for each missing file that a server can start without.

    If root checks the config of a service, the folder of the set of calls may belong to the user of the service. A
    missing key of a missing store is not reported: the command that creates the store creates the key as well.
    """
    found = [*_other_owner(config.calls.path), *_expired_crl(config)]
    key_file = config.store.key_file or default_key_file(config.store.path)
    try:
        require(config.store.path)
    except StoreError as error:
        found.append(str(error))
        if config.store.key is None and not os.path.lexists(key_file):
            return found
    try:
        config.store.vault()
    except KeyFileError as error:
        found.append(str(error))
    return found


def _formats(folder: Path) -> list[str]:
    """Return the problem if a server of another format has calls in a folder, which a take-over would lose."""
    there = formats_in(folder)
    if there is None:
        return []
    pid, formats = there
    if formats.mirror not in READABLE:
        why = f"Its calls cannot be taken over, since {unreadable(formats.mirror)}"
    elif formats.protocol != PROTOCOL:
        protocol = expected(f"version {PROTOCOL} of the hand-over protocol", formats.protocol)
        why = f"Its calls cannot be taken over: {protocol}"
    else:
        return []
    return [f"[calls] path: {folder} is in use by the server of process {pid}. {why}. {OTHER_FORMAT}"]


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


def _owner(folder: Path) -> int:
    """Return the uid of the owner of a folder, or that of this process if the folder cannot be seen."""
    try:
        return folder.stat().st_uid
    except OSError:
        return os.geteuid()


def _other_owner(folder: Path) -> list[str]:
    """Return a message if only another user than root, who checks the config, can start the server."""
    owner = _owner(folder)
    if os.geteuid() or not owner or hazard(folder, [owner]):
        return []
    return [
        f"[calls] path: {folder} belongs to the user {user_name(owner)}. Start the server as that user, since it "
        "does not start as root."
    ]


def _calls(config: Config) -> list[str]:
    """Return the problems of the folder of the set of calls: other writers, access and free space."""
    path = config.calls.path
    found = hazard(path, [] if os.geteuid() else [_owner(path)])  # root may check for the user of the service
    if found is not None:
        return [f"[calls] path: the set of calls cannot be kept in {path}: {found.why}. {found.remedy}"]
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
