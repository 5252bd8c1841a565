"""FreeRADIUS 3, module ``files``: the account by the exact key of the call, tech prefixes by regular expressions.

This is its fastest set-up that knows tech prefixes: one thread (``-s``; more threads are slower with so little
work), no proxying, accounting or sessions, and no cached answers. Each request has its own authenticator, as from
a real client. The set-up counts no calls. A second virtual server adds a Message-Authenticator to each answer, and
its requests have one too, as the defence against CVE-2024-3596 demands.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from socket import SOCK_DGRAM

from msgspec.structs import replace

from benchmarks.generator import Options
from benchmarks.peers import Entry, MissingError, Peer, Served, entries
from benchmarks.peers.asking import Ask, by_datagrams, datagram
from benchmarks.peers.processes import find, free_port, running, version
from benchmarks.switches import (
    ACCESS_REQUEST,
    CALLED,
    CALLING,
    NAS_ADDRESS,
    SECRET,
    SIGNED,
    USER_NAME,
    attribute,
    packet,
    radius_options,
)
from benchmarks.workload import Call, Workload

_VENDOR, _ACCOUNT = 64999, 1
_DICTIONARY = f"""\
$INCLUDE /usr/share/freeradius/dictionary
VENDOR Benchmark {_VENDOR}
BEGIN-VENDOR Benchmark
ATTRIBUTE Benchmark-Account {_ACCOUNT} integer
END-VENDOR Benchmark
"""
_CONFIG = """\
prefix = /usr
raddbdir = {folder}
confdir = {folder}
logdir = {folder}
run_dir = {folder}
libdir = /usr/lib/freeradius
max_request_time = 30
cleanup_delay = 0
max_requests = 65536
hostname_lookups = no
log {{
    destination = files
    file = {folder}/radius.log
    auth = no
}}
security {{
    allow_core_dumps = no
    max_attributes = 200
    reject_delay = 0
    status_server = no
}}
proxy_requests = no
client loopback {{
    ipaddr = 127.0.0.0/8
    secret = {secret}
    require_message_authenticator = no
}}
thread pool {{
    start_servers = 1
    max_servers = 1
    min_spare_servers = 1
    max_spare_servers = 1
    max_requests_per_server = 0
    max_queue_size = 65536
}}
modules {{
    files {{
        key = "%{{User-Name}}"
        filename = {folder}/users
    }}
    always reject {{
        rcode = reject
    }}
}}
{servers}
"""
_SERVER = """\
server {name} {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
    }}
    authorize {{
        {first}
        files
        if (notfound || noop) {{
            reject
        }}
    }}
    authenticate {{
    }}
}}
"""
_SIGN = "update reply {\n            Message-Authenticator := 0x00\n        }"
_ACCEPT, _VENDOR_SPECIFIC = 2, 26
_HEAD = 20
"""Size of the header before the attributes (code, id, length, authenticator), in bytes."""
_OPTIONS = Options(count=1, channels=16, id_at=1, id_bytes=1, random_at=4, random_bytes=16)
"""An id has one byte, so 64 requests in flight over 16 sockets never repeat one."""
SIGNED_CASE = "FreeRADIUS with Message-Authenticator"
_CAVEATS = ("exact keys only", "does not count calls", "RADIUS packets of its own")


@contextlib.contextmanager
def _serve(folder: Path, workload: Workload) -> Iterator[Served]:
    program = find("freeradius")
    if program is None:
        raise MissingError(PEER.packages)
    port, signing = free_port(SOCK_DGRAM), free_port(SOCK_DGRAM)
    servers = _SERVER.format(name="default", port=port, first="")
    servers += _SERVER.format(name="signing", port=signing, first=_SIGN)
    (folder / "dictionary").write_text(_DICTIONARY)
    (folder / "users").write_text("".join(map(_user, entries(workload))))
    (folder / "radiusd.conf").write_text(_CONFIG.format(folder=folder, servers=servers, secret=SECRET))
    # FreeRADIUS is slow compared with the others. The first calls of a workload include one of each account.
    calls = workload.calls[: len(workload.book.accounts)]
    asks = [_ask(call, place) for place, call in enumerate(calls)]
    signed = [_ask(call, place, SIGNED) for place, call in enumerate(calls)]
    command: list[str | Path] = [program, "-f", "-s", "-d", folder]
    with running(command, folder / "log", lambda: bool(datagram(asks[0], port, _OPTIONS))) as pid:
        case = by_datagrams(
            "FreeRADIUS files", pid, port, _OPTIONS, folder, asks, account=_account, caveats=_CAVEATS
        )
        options = replace(radius_options(1, None), channels=_OPTIONS.channels)
        signing_case = by_datagrams(
            SIGNED_CASE, pid, signing, options, folder, signed, account=_account, caveats=_CAVEATS
        )
        yield Served(version(program, "-v"), pid, (case, signing_case))


def _user(entry: Entry) -> str:
    prefix = f'Called-Station-Id =~ "^{entry.tech_prefix}", ' if entry.tech_prefix else ""
    return f"{entry.key} {prefix}Auth-Type := Accept\n\tBenchmark-Account := {entry.account_id}\n"


def _ask(call: Call, place: int, first: bytes = b"") -> Ask:
    """Return an Access-Request (RFC 2865) as a gateway sends it, with the key as User-Name."""
    request = call.request
    attributes = (
        first
        + attribute(USER_NAME, call.key.encode())
        + attribute(CALLING, (request.src_number or "").encode())
        + attribute(CALLED, (request.dst_number or "").encode())
        + attribute(NAS_ADDRESS, IPv4Address("127.0.0.1").packed)
    )
    return Ask(packet(ACCESS_REQUEST, attributes), call.account_id, _answered(call.account_id), lane=place)


def _answered(account_id: int) -> bytes:
    """Return the attribute that names the account."""
    return attribute(_VENDOR_SPECIFIC, struct.pack(">IBBI", _VENDOR, _ACCOUNT, 6, account_id))


def _account(answer: bytes) -> int | None:
    """Return the account that an answer names, or None if it accepts no call."""
    if answer[0] != _ACCEPT:
        return None
    place = _HEAD
    while place < len(answer):
        kind, length = answer[place : place + 2]
        if kind == _VENDOR_SPECIFIC:
            vendor, own, _, account_id = struct.unpack(">IBBI", answer[place + 2 : place + length])
            if (vendor, own) == (_VENDOR, _ACCOUNT):
                return int(account_id)
        place += max(length, 2)
    return None


PEER = Peer("FreeRADIUS", "freeradius", _serve)
