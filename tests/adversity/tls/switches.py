"""The switches of the tests of TLS, and how they connect."""

from __future__ import annotations

from pathlib import Path

from support import HOST
from support.books import ip_account, put_rows
from support.switch import Switch, Wire
from support.tls import Authority

from identengine.model.records import Client

LISTEN = f'[listen]\nudp = ["{HOST}:0"]\ntcp = ["{HOST}:0"]\ntls = ["{HOST}:0"]\n'


SWITCHES = """
[[switch]]
name = "certified"
addresses = ["127.0.0.1"]
certificate = "SBC1.example"
[[switch]]
name = "plain"
addresses = ["127.0.0.2"]
"""


GOOD = {"src_ip": "10.0.0.1", "dst_number": "44171"}


LINES = Wire("tls", "lines", "json")


def made(folder: Path, authority: Authority) -> Path:
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    authority.certify(folder)
    return folder


def pings(switch: Switch) -> bool:
    return "result" in switch.exchange("ping", {})
