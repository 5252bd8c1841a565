"""A real FreeRADIUS that passes all requests on to another server, on loopback."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support import HOST
from support.ports import free_port
from support.programs import program
from support.radclient import SECRET, SIGNED, send
from support.waiting import PATIENCE, wait_for

PACKAGES = "freeradius freeradius-utils"
_CONFIG = """\
name = radiusd
raddbdir = "{folder}"
logdir = "{folder}"
run_dir = "{folder}"
libdir = "/usr/lib/freeradius"
pidfile = "{folder}/radiusd.pid"
log {{
    destination = stdout
}}
security {{
    status_server = yes
    allow_vulnerable_openssl = yes
}}
thread pool {{
    start_servers = 4
    max_servers = 4
    min_spare_servers = 1
    max_spare_servers = 4
}}
client nas {{
    ipaddr = 127.0.0.0/8
    secret = "{nas_secret}"
    require_message_authenticator = no
    limit {{
        max_connections = 0
    }}
}}
home_server auth {{
    type = auth
    ipaddr = {host}
    port = {auth}
    secret = "{secret}"
    src_ipaddr = {source}
    response_window = 5
    status_check = status-server
    check_interval = 6
    num_answers_to_alive = 3
}}
home_server acct {{
    type = acct
    ipaddr = {host}
    port = {acct}
    secret = "{secret}"
    src_ipaddr = {source}
    response_window = 5
    status_check = status-server
    check_interval = 6
    num_answers_to_alive = 3
}}
home_server_pool auth {{
    type = fail-over
    home_server = auth
}}
home_server_pool acct {{
    type = fail-over
    home_server = acct
}}
realm engine {{
    auth_pool = auth
    acct_pool = acct
    nostrip
}}
modules {{
}}
server default {{
    listen {{
        type = auth
        ipaddr = {host}
        port = {own_auth}
    }}
    listen {{
        type = acct
        ipaddr = {host}
        port = {own_acct}
    }}
    authorize {{
        update control {{
            Proxy-To-Realm := "engine"
        }}
    }}
    preacct {{
        update control {{
            Proxy-To-Realm := "engine"
        }}
    }}
    pre-proxy {{
        if (&proxy-request:Packet-Type == Access-Request) {{
            update proxy-request {{
                Message-Authenticator := 0x00
            }}
        }}
    }}
}}
"""


class Proxy(NamedTuple):
    """A running FreeRADIUS."""

    auth: int
    """The port for authentication of its own clients, whose secret is that of :mod:`support.radclient`."""
    acct: int
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        """Return everything that FreeRADIUS wrote."""
        return self.log_file.read_text()


@contextlib.contextmanager
def proxying(folder: Path, auth: int, acct: int, source: str, secret: str) -> Iterator[Proxy]:
    """Run a FreeRADIUS that passes requests on to two ports of this machine, from the address ``source``."""
    daemon = program("freeradius", PACKAGES)
    folder.mkdir()
    own_auth, own_acct = free_port(), free_port()
    (folder / "dictionary").write_text("")
    (folder / "radiusd.conf").write_text(
        _CONFIG.format(
            folder=folder, host=HOST, auth=auth, acct=acct, source=source, secret=secret, nas_secret=SECRET,
            own_auth=own_auth, own_acct=own_acct,
        )
    )  # fmt: skip
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([daemon, "-f", "-X", "-d", str(folder)], stdout=stream, stderr=stream)
    proxy = Proxy(own_auth, own_acct, process, log)
    try:
        wait_for(lambda: process.poll() is not None or "Ready to process requests" in proxy.log)
        assert process.poll() is None, proxy.log
        assert send(own_auth, "status", SIGNED).replies, proxy.log
        yield proxy
    finally:
        process.terminate()
        process.wait(PATIENCE)
