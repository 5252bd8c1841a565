"""The server under attack: a real ``identengine serve`` on loopback with every listener."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from benchmarks import machine, served
from benchmarks.hostile.inputs import TOKEN
from benchmarks.hostile.packets import SECRET
from benchmarks.hostile.subject import TIED
from identengine.model.records import Account, Client, IdentBy
from identengine.store.draft import Draft
from identengine.store.versions import Store

HOST = "127.0.0.1"
GOOD = "127.0.0.2"
"""Address of the good switch, on a network of its own without a token."""
FORGED = "127.0.0.3"
"""Address of a switch that has a token. The attacker forges it."""
GATEWAY = "127.0.0.5"
"""Address of the good gateway, which asks by RADIUS."""
UNKNOWN = "127.0.0.9"
"""Address of no switch."""
OWNED = "127.0.0.4"
"""Address of a switch that the attacker controls, with its token."""
_PATIENCE = 10.0
_CONFIG = """\
[store]
path = "{folder}/store"
[calls]
path = "{folder}/calls"
max_legs = 20000
[listen]
udp = ["127.0.0.1:0"]
tcp = ["127.0.0.1:0"]
tls = ["127.0.0.1:0"]
http = "127.0.0.1:0"
radius_auth = ["127.0.0.1:0"]
radius_acct = ["127.0.0.1:0"]
[tls]
certificate = "{folder}/server.pem"
key = "{folder}/server.key"
[[switch]]
name = "good"
addresses = ["{good}"]
[[switch]]
name = "guarded"
addresses = ["{forged}"]
token = "{token}"
secret = "{secret}"
[[switch]]
name = "owned"
addresses = ["{owned}"]
token = "{token}-too"
secret = "{secret}"
[[switch]]
name = "gateway"
addresses = ["{gateway}"]
secret = "{secret}"
"""


class Target(NamedTuple):
    """A running server."""

    pid: int
    """Pid of its first process."""
    decider: int
    http_process: int
    udp: int
    """Ports of the listeners."""
    tcp: int
    tls: int
    http: int
    radius: int
    accounting: int
    folder: Path


@contextmanager
def attacked(folder: Path, tied: int) -> Iterator[Target]:
    """Serve during the block, on the server's core. ``tied`` accounts share the address :data:`TIED`."""
    _fill(folder / "store", tied)
    _certify(folder)
    config = folder / "identengine.toml"
    names = {"good": GOOD, "forged": FORGED, "owned": OWNED, "gateway": GATEWAY}
    names |= {"token": TOKEN, "secret": SECRET}
    config.write_text(_CONFIG.format(folder=folder, **names))
    command = [sys.executable, "-m", "identengine", "serve", "--config", str(config)]
    with (folder / "log").open("w") as log, machine.on_core(machine.cores()[1]):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603 - ours
    try:
        ports = served.ready(process)
        yield Target(
            pid=process.pid,
            decider=child(process.pid, "ident-decider"),
            http_process=child(process.pid, "ident-http"),
            udp=ports["udp"],
            tcp=ports["tcp"],
            tls=ports["tls"],
            http=ports["http"],
            radius=ports["radius_auth"],
            accounting=ports["radius_acct"],
            folder=folder,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def child(pid: int, name: str) -> int:
    """Return the pid of the process with this name among a process and its descendants. Wait for its start."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        for each in machine.family(pid):
            with suppress(FileNotFoundError):  # it has just ended
                if Path(f"/proc/{each}/comm").read_text(encoding="utf-8").strip() == name:
                    return each
        time.sleep(0.05)
    raise AssertionError(f"no process has the name {name}")


def _fill(path: Path, tied: int) -> None:
    def fill(draft: Draft) -> None:
        draft.put_client(Client(id=1, name="one"))
        draft.put_account(Account(id=1, client_id=1, name="one", ident_by=IdentBy.IP, ident=("10.0.0.1",)))
        for number in range(tied):
            draft.put_account(
                Account(id=2 + number, client_id=1, name=f"tied {number}", ident_by=IdentBy.IP, ident=(TIED,))
            )

    with Store.open(path, create=True) as opened:
        opened.change("benchmark", "a made-up book", fill)


def _certify(folder: Path) -> None:
    """Write a certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
