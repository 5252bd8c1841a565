"""A book, a config and counters for the tests of RADIUS against a real server."""

from __future__ import annotations

from pathlib import Path

from support import HOST
from support.cli import done
from support.radclient import SECRET, SIGNED
from support.server import Server
from support.waiting import wait_for

from identengine.stats import file as counters

PASSWORD, OTHER_SECRET, FIXED = "Zeppelin-pass-71", "77d0a4e8529f3b1c", "cisco"
PASSWORDS = (PASSWORD, OTHER_SECRET)
PROXY, STRANGER, SIPPY, PROXIED = "127.0.0.2", "127.0.0.9", "127.0.0.4", "127.0.0.5"
"""Addresses of switches, and one that no switch has."""
ACCOUNTS = f"""\
id,client_id,name,ident_by,ident,password,orig_capacity,term_enabled,orig_tag,tech_prefix
1,1,trunk,ip,10.0.0.1,,5,,gold,
2,1,alice,name,alice,{PASSWORD},,,,
3,1,vendor,ip,10.0.0.3,,,true,,
4,1,prefixed,ip,10.0.0.4,,,,,77#
5,1,guarded,ip,10.0.0.5,{PASSWORD},,,,
"""
LISTEN = f'[listen]\nudp = ["{HOST}:0"]\nradius_auth = ["{HOST}:0"]\nradius_acct = ["{HOST}:0"]\n'
CONFIG = f"""{LISTEN}
[log]
level = "debug"
[[switch]]
name = "gw"
addresses = ["{HOST}"]
secret = "{SECRET}"
[[switch]]
name = "proxy"
addresses = ["{PROXY}"]
secret = "{OTHER_SECRET}"
[switch.radius]
require_message_authenticator = true
[[switch]]
name = "sippy"
addresses = ["{SIPPY}"]
secret = "{SECRET}"
[switch.radius]
require_message_authenticator = false
limit_proxy_state = true
ignore_password = "{FIXED}"
reply = ["cisco", "sip_avp"]
map = {{ call_id = ["Cisco-AVPair:call-id", 44], gateway = ["NAS-Port-Id"] }}
"""


def made(folder: Path) -> Path:
    """Import the book into ``folder/store``. Return the folder."""
    book = folder / "book"
    book.mkdir()
    (book / "clients.csv").write_text("id,name\n1,Acme\n")
    (book / "accounts.csv").write_text(ACCOUNTS)
    done("import", book, store=folder / "store")
    return folder


def trunk(call_id: str, *more: tuple[str, object], signed: bool = True) -> tuple[tuple[str, object], ...]:
    """Return the attributes of a call of the account ``trunk``."""
    call = (
        ("h323-remote-address", "10.0.0.1"),
        ("Calling-Station-Id", "4420"),
        ("Called-Station-Id", "44123"),
        ("Acct-Session-Id", call_id),
    )
    return (*call, *more, *((SIGNED,) if signed else ()))


def accounting(status: str, call_id: str, *more: tuple[str, object]) -> tuple[tuple[str, object], ...]:
    """Return the attributes of a report about a call."""
    return ("Acct-Status-Type", status), ("Acct-Session-Id", call_id), *more


def count(server: Server, name: str) -> int:
    """Return the value of a counter."""
    return counters.read(server.folder / "calls").values[name]


def grows(server: Server, name: str, before: int, by: int) -> None:
    """Wait until a counter has grown, by this number exactly."""
    wait_for(lambda: count(server, name) - before >= by)
    assert count(server, name) - before == by
