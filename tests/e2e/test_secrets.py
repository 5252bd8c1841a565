"""No password, token or digest appears in any output: the test runs the whole program, then searches its output.

The server runs at level debug, with both formats of its log. It gets valid, wrong and broken messages. Its config
gets mistakes, its processes die, and its key disappears. The commands run at the same time. Only the command that
shows a secret on request (`accounts password show`) is not part of the test.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from collections.abc import Iterator
from hashlib import md5, sha256
from itertools import product
from pathlib import Path

import msgspec
import pytest
from support import HOST
from support.books import ip_account, put_rows
from support.cli import run
from support.operator import asked
from support.radiuspackets import AUTHENTICATOR
from support.radiuspackets import request as packet
from support.server import Server, serving
from support.switch import read_all, request
from support.waiting import wait_for

from identengine.model.records import Client
from identengine.store.vault import default_key_file
from identengine.wire.radius.authenticators import SharedSecret
from identengine.wire.radius.packet import ACCOUNTING_REQUEST, STATUS_SERVER

PASSWORD, SECOND = "Zeppelin-pass-71", "Second-pass-0815"
TOKEN, NOC_TOKEN, RADIUS = "Switch-token-4711", "Noc-token-2222", "Radius-secret-99"
WRONG_PASSWORD, WRONG_TOKEN, TYPED = "Guessed-pass-33", "Guessed-token-55", "Typed-pass-77"
NUMBER = 9182736455463728
"""A secret whose quotes were forgotten."""
CLIENTS = "id;name\n1;shop\n".replace(";", ",")
ACCOUNTS = (
    "id,client_id,name,ident_by,ident,password\n"
    f"1,1,phone,name,phone,{PASSWORD}\n2,1,trunk,ip,10.0.0.2,{SECOND}\n3,1,open,ip,10.0.0.3,\n"
)
SWITCH = f"""
[listen]
udp = ["{HOST}:0"]
tcp = ["{HOST}:0"]
radius_auth = ["{HOST}:0"]
radius_acct = ["{HOST}:0"]
[limits]
datagram_age_ms = 60000
[[switch]]
name = "sbc"
addresses = ["{HOST}"]
token = {{ env = "SBC_TOKEN" }}
secret = "{RADIUS}"
[switch.radius]
ignore_password = "{SECOND}"
require_message_authenticator = false
[[token]]
name = "noc"
role = "read"
token = {{ env = "NOC_TOKEN" }}
"""
MISTAKES = f"""
[[switch]]
name = "sbc"
addresses = ["{HOST}"]
token = ["{TOKEN}"]
secret = {NUMBER}
ignore_password = {{ value = "{PASSWORD}" }}
certificate = 7
password = "{SECOND}"
[[switch]]
name = "sbc2"
addresses = ["10.0.0.0/33"]
token = {{ env = "{WRONG_TOKEN}", default = "{TOKEN}" }}
[[token]]
name = "noc"
role = "nonsense"
token = {NUMBER}
"""


def digest(password: str) -> dict[str, str]:
    known = {"username": "phone", "realm": "r", "nonce": "Nonce-1234567", "uri": "sip:b", "method": "INVITE"}
    first = md5(f"phone:r:{password}".encode()).hexdigest()
    second = md5(b"INVITE:sip:b").hexdigest()
    return known | {"response": md5(f"{first}:Nonce-1234567:{second}".encode()).hexdigest()}


RIGHT, WRONG = digest(PASSWORD), digest(WRONG_PASSWORD)


def secrets(key: str) -> set[str]:
    """Return all texts that must not appear: each secret, also hashed and encoded."""
    plain = {PASSWORD, SECOND, TOKEN, NOC_TOKEN, RADIUS, WRONG_PASSWORD, WRONG_TOKEN, TYPED, str(NUMBER)}
    plain |= {RIGHT["response"], WRONG["response"], *(line for line in key.split() if len(line) > 16)}
    hashed = {hash_of(one.encode()).hexdigest() for one in plain for hash_of in (md5, sha256)}
    coded = {base64.b64encode(one.encode()).decode().rstrip("=") for one in plain}
    return plain | hashed | coded | {one.encode().hex() for one in plain}


def messages() -> Iterator[bytes]:
    """Yield valid, wrong and broken messages of a switch."""
    fields = {"dst_number": "44", "src_ip": "10.0.0.9", "token": TOKEN}
    for password in (PASSWORD, WRONG_PASSWORD, [PASSWORD], {"password": PASSWORD}, NUMBER):
        yield request("authorize", name="phone", password=password, **fields)
        yield request("explain", name="phone", password=password, **fields)
    for brought in (RIGHT, WRONG, RIGHT["response"], [RIGHT], {**WRONG, "response": [WRONG["response"]]}, NUMBER):
        yield request("authorize", name="phone", digest=brought, **fields)
        yield request("update", call_id="c", name="phone", digest=brought, **fields)
    for token in (WRONG_TOKEN, [TOKEN], {"token": TOKEN}, NUMBER):
        yield request("authorize", **(fields | {"token": token}))
        yield request("auth", token=token)
        yield request("ping", token=token)
    yield request("auth", token=TOKEN)
    yield request("authorize", **{f"pass word {PASSWORD}": PASSWORD, **fields})
    yield request("authorize", password=PASSWORD, **(fields | {"src_ip": "no address", "name": "phone"}))
    whole = request("authorize", name="phone", password=PASSWORD, **fields)
    yield from (whole[:-1], whole[:-20], whole + b"}", whole.replace(b'"', b"'"), b"\xff" + whole, b"[" + whole)
    yield whole.replace(b'"2.0"', b'"1.0"')
    yield whole.replace(b'"authorize"', b'"nonsense"')
    yield whole.replace(b'"password"', b'"password": "' + SECOND.encode() + b'", "password"')
    yield b"%d:%b," % (len(whole), whole)
    packed = msgspec.msgpack.encode(json.loads(whole))
    yield from (packed, packed[:-3], len(packed).to_bytes(4, "big") + packed)


def ask(server: Server) -> str:
    """Send every message over UDP and over a TCP connection of its own. Return the answers."""
    answers: list[bytes] = []
    sent = list(messages())
    with server.udp() as udp:
        for message in sent:
            udp.send(message)
        udp.send(request("ping", "last", token=TOKEN))
        while b'"last"' not in (answer := udp.receive_raw()):
            answers.append(answer)
    for message in sent:
        with server.tcp() as tcp:
            tcp.send(message)
            tcp.end_sending()
            answers.append(read_all(tcp.socket))
    return b"\n".join(answers).decode(errors="replace")


def packets(secret: str) -> Iterator[bytes]:
    """Yield Access-Requests with valid, wrong and broken credentials, and packets that are dropped."""
    shared = SharedSecret(secret.encode())
    for number, password in enumerate((PASSWORD, WRONG_PASSWORD, SECOND, "x" * 128)):
        fields = ("User-Name", "phone"), ("User-Password", password), ("Called-Station-Id", "44")
        yield packet(*fields, secret=shared)
        yield packet(*fields, ("Digest-Response", password), ("Reply-Message", password), secret=shared)[:-1]
        chap = bytes((number,)) + md5(bytes((number,)) + password.encode() + AUTHENTICATOR).digest()
        yield packet(("User-Name", "phone"), ("CHAP-Password", chap), ("Called-Station-Id", "44"), secret=shared)
    for fields_of_digest in (RIGHT, WRONG):
        names = {"uri": "URI", "username": "Username"}
        pairs = [(f"Digest-{names.get(name, name.title())}", value) for name, value in fields_of_digest.items()]
        yield packet(*pairs, ("Called-Station-Id", "44"), secret=shared)
    for report in (("Acct-Status-Type", 1), ("User-Password", PASSWORD)), (("Acct-Status-Type", 99),), ():
        yield packet(*report, ("User-Name", PASSWORD), code=ACCOUNTING_REQUEST, secret=shared)


def ask_by_radius(server: Server) -> str:
    """Send every packet with the right secret and with a wrong one, to both ports. Return the replies."""
    replies: list[bytes] = []
    for port, secret in product(("radius_auth", "radius_acct"), (RADIUS, WRONG_TOKEN)):
        for one in packets(secret):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:  # from another port, it is no duplicate
                peer.connect((HOST, server.ports[port]))
                peer.settimeout(20)
                peer.send(one)
                peer.send(SharedSecret(RADIUS.encode()).request(STATUS_SERVER, 200, os.urandom(16), b""))
                while not replies or replies[-1][1] != 200:
                    replies.append(peer.recv(5000))
                replies.append(bytes(20))
    return b"\n".join(replies).decode("latin-1")


def commands(server: Server, folder: Path) -> Iterator[str]:
    """Run the commands of an operator, and yield their output and errors."""
    config = ("--config", server.config)
    book = folder / "wrong"
    book.mkdir(exist_ok=True)
    (book / "clients.csv").write_text(CLIENTS)
    (book / "accounts.csv").write_text(
        f"id,client_id,name,ident_by,ident,password\nx,1,a,name,a,{PASSWORD}\n2,9,b,ip,10.0.0.2,enc:{SECOND}\n"
        f"3,1,c,nothing,c,{TYPED}\x07\n4,1,d,name,d,{TYPED * 1000}\n5,1,e,name,e,{PASSWORD},{SECOND}\n"
    )
    for account, typed in (("3", SECOND), ("1", TYPED), ("nobody", TYPED), ("2", f"{TYPED}\x00")):
        result = run("accounts", "password", "set", account, *config, stdin=f"{typed}\n")
        yield result.out + result.err
    for words in (
        ("import", book),
        ("import", book, "--skip-bad", "--dry-run"),
        ("accounts", "list"),
        ("accounts", "show", "1"),
        ("accounts", "search", PASSWORD[:9]),
        ("accounts", "set", "1", f"password={TYPED}"),
        ("accounts", "add", "client_id=1", "name=new", "ident_by=name", "ident=new", f"password={TYPED}"),
        ("audit",),
        ("versions",),
        ("diff", "1", "2"),
        ("explain", "name=phone", f"digest={RIGHT['response']}"),
        ("identify", "name=phone", f"password={TYPED}"),
        ("export", folder / "exported"),
        ("calls",),
        ("stats",),
        ("top", "--once", "--every", "0.2"),
        ("serve", "--check"),
    ):
        for form in ((), ("--json",)):
            result = run(*words, *config, *form)
            yield result.out + result.err
    for name in (folder / "exported").iterdir():
        yield name.read_text()


def hup(server: Server, config: str, text: str) -> None:
    """Make the server read another config, and wait until ``text`` appears in its log afterwards."""
    length = len(server.log)
    server.write_config(config)
    server.signal(signal.SIGHUP)
    wait_for(lambda: text in server.log[length:])


WRITTEN = (
    "RADIUS packets from",
    "decider_died",
    "wrong token",
    "internal_error",
    "bad_password",
    "[[switch]]",
    "invalid_request",
)
"""Texts in the log that show that the test did its work."""


def test_no_output_contains_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBC_TOKEN", TOKEN)
    monkeypatch.setenv("NOC_TOKEN", NOC_TOKEN)
    book, store = tmp_path / "book", tmp_path / "store"
    book.mkdir()
    (book / "clients.csv").write_text(CLIENTS)
    (book / "accounts.csv").write_text(ACCOUNTS)
    seen = [(imported := run("import", book, store=store)).out + imported.err]
    seen.append(run("accounts", "password", "set", "2", store=store, stdin=f"{SECOND}\n").out)
    key_file = default_key_file(store)
    unwanted = secrets(key_file.read_text())
    text, programs = (f'[log]\nlevel = "debug"\nformat = "{form}"\n' for form in ("text", "json"))
    server = Server(tmp_path, text + SWITCH)
    try:
        seen += [ask(server), by_radius := ask_by_radius(server)]
        assert by_radius.count("account=1;") == 3, "PAP, CHAP and a digest are right"
        accepted = server.authorize(name="phone", password=PASSWORD, dst_number="44", token=TOKEN)
        assert accepted["accepted"], "the secrets of the test are valid"
        by_digest = server.authorize(name="phone", digest=RIGHT, dst_number="44", token=TOKEN)
        assert by_digest["accepted"]
        for config in (text + MISTAKES, f"[log\n{TOKEN} = {PASSWORD}", f"token = {TOKEN}"):
            hup(server, config, "nothing was changed")
            seen += [(checked := run("serve", "--check", "--config", server.config)).out, checked.err]
        hup(server, programs + SWITCH, '"event":"config_reread"')
        seen.append(ask(server))
        server.logged('"reason":"bad_password"')
        hidden = key_file.rename(tmp_path / "hidden.key")
        server.logged('"event":"key_file_lost"')
        os.kill(server.decider, signal.SIGKILL)
        server.logged('"event":"book_key_missing"')
        status = asked(server, ask="status")
        assert (len(status["alarms"]), status["unready"]) == (1, []), "calls without passwords are still decided"
        assert status["alarms"][0].count("stays in use") == 1
        seen.append(ask(server))
        hidden.rename(key_file)
        server.logged('"event":"book_alarm_over"')
        seen += commands(server, tmp_path)
    finally:
        status = server.stop()
    assert status == 0
    written = "\n".join([*seen, *server.lines, server.log])
    assert [wanted for wanted in WRITTEN if wanted not in written] == [], "the test did its work"
    assert [written[max(0, at - 200) : at + 60] for secret in unwanted if (at := written.find(secret)) >= 0] == []


def test_no_password_is_ever_logged(tmp_path: Path) -> None:
    folder = tmp_path
    put_rows(folder / "store", [ip_account(1, "10.0.0.1")], [Client(id=1, name="one")])
    with serving(folder, '[log]\nformat = "json"\nlevel = "debug"') as server:
        for _ in range(3):
            server.authorize(name="joe", password="hush-hush", src_ip="192.0.2.1\n{", dst_number="1")
        server.ask_udp(request(password=["hush-hush"]))
        server.logged("rejected invalid_request")
        server.stop()
        assert "hush" not in server.log
        logged = [json.loads(line) for line in server.log.splitlines()]
        rejects = [line["message"] for line in logged if "rejected" in line["message"]]
    assert rejects
    assert all(r"192.0.2.1\n{" in line for line in rejects)
